//! OpenPGP for treeferry: who signed a commit or a summary, by keyrings.
//!
//! ```text
//! keyring   keyrings: read, merged, written, listed
//! standing  what a certificate is worth at a time: expiry, revocation, bindings
//! verify    signatures against keyrings, with the verdicts that `gpgv` gives
//! signer    signs with a secret key in memory
//! places    where keyrings lie
//! ```
//!
//! The packets and the cryptography are those of the crate `pgp`; what follows from them, and what
//! they leave to whoever uses them, is here: which self-signatures hold, what has expired or was
//! revoked, whether a subkey belongs to its key, and which algorithms are refused.
//! Nothing here reads the clock or the environment.

mod keyring;
mod places;
mod signer;
mod standing;
mod verify;

pub use keyring::{CertInfo, Imported, KeyState, Keyring, SubkeyInfo, UserInfo};
pub use places::{KeyringPlaces, read_keyrings, remote_keyring};
pub use signer::OpenPgpSigner;
pub use verify::{IssuerKey, OpenPgpVerifier, issuers_of};

use treeferry_core::format::FormatError;

fn format_error(what: &'static str, error: &pgp::errors::Error) -> FormatError {
    // The library's errors print over several lines, with stack traces where there are any.
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default().trim().to_owned();
    FormatError::new(what, line)
}

fn upper_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}
