//! What a signature is, and who is trusted.
//!
//! ```text
//! verdict   what became of the signatures over something        (values)
//! data      what is signed, in memory or not
//! metadata  where signatures stand in an `a{sv}`
//! combine   any of, all of, k of n
//! ed25519, spki, dummy   the kinds of `ostree sign`
//! keys      files of keys and where they lie
//! policy    what must be signed by whom; from a remote's configuration too
//! ```
//!
//! Signatures stand beside what they sign: commits in their detached metadata, summaries in
//! `summary.sig`, deltas in the wrapper of their superblock; each time in an `a{sv}`, of each kind
//! under a key of its own. OpenPGP is a crate of its own, behind the same traits.

mod combine;
mod data;
mod dummy;
mod ed25519;
mod keys;
mod metadata;
mod policy;
mod remote;
mod spki;
mod verdict;

use std::fmt::Debug;

use async_trait::async_trait;

pub use combine::{AllOf, AnyOf, Threshold};
pub use data::{SignedData, SignedDataReader};
pub use dummy::{DummyKey, DummySigner, DummyVerifier};
pub use ed25519::{Ed25519PublicKey, Ed25519SecretKey, Ed25519Signer, Ed25519Verifier};
pub use keys::{KeyDirectories, KeyFileText, parse_base64_lines, parse_pem_blocks};
pub use metadata::{Signatures, add_signature, remove_signatures, signatures_in};
pub use policy::{Trust, VerifyPolicy, require};
pub use remote::{DummyKeys, SignVerify, SignVerifyKeys};
pub use spki::{SpkiPublicKey, SpkiSecretKey, SpkiSigner, SpkiVerifier};
pub use verdict::{Checked, KeyId, Outcome, Refusal, SignatureDetails, Status, UserId, Verdict};

use crate::error::Result;
use crate::format::gvariant::Dict;

/// A kind of signature: where it stands, and what it is called in configurations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Scheme {
    /// Raw ed25519 keys, 32 bytes.
    Ed25519,
    /// Keys in X.509's SubjectPublicKeyInfo, as PEM or DER.
    Spki,
    /// No signature at all, for tests of whoever signs: anybody can make it.
    Dummy,
    /// OpenPGP, also called GPG.
    OpenPgp,
}

impl Scheme {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ed25519, Self::Spki, Self::Dummy, Self::OpenPgp];

    /// Returns the key under which signatures stand in an `a{sv}`, as an `aay`.
    pub fn metadata_key(self) -> &'static str {
        match self {
            Self::Ed25519 => "ostree.sign.ed25519",
            Self::Spki => "ostree.sign.spki",
            Self::Dummy => "ostree.sign.dummy",
            Self::OpenPgp => "ostree.gpgsigs",
        }
    }

    /// Returns the name in `sign-verify`, `verification-NAME-key` and `--sign-type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::Spki => "spki",
            Self::Dummy => "dummy",
            Self::OpenPgp => "gpg",
        }
    }

    /// Returns the kind of `ostree sign` that is called `name`.
    pub fn of_sign(name: &str) -> Option<Self> {
        [Self::Ed25519, Self::Spki, Self::Dummy]
            .into_iter()
            .find(|scheme| scheme.name() == name)
    }
}

/// Bytes, and the signatures that are said to be over them.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// The bytes, as they are hashed or served.
    pub data: SignedData<'a>,
    /// The `a{sv}` beside them. From outside: nothing about it is known.
    pub signatures: &'a Dict,
    /// What time it is, seconds since 1970; `None`: unknown. Verifiers whose keys expire accept
    /// nothing then.
    pub now_secs: Option<u64>,
}

/// Decides whether bytes are signed by who is trusted. Cheap enough for one commit, not for a
/// runtime thread if there are many.
pub trait Verifier: Debug + Send + Sync + 'static {
    /// Looks at the signatures, and says what became of each and of all together.
    ///
    /// What is malformed is a verdict too, never an error: it is what an attacker sends.
    fn verify(&self, signed: &Signed<'_>) -> Verdict;
}

/// Makes signatures, with a key that may live anywhere: in memory, a device, a service.
#[async_trait]
pub trait Signer: Debug + Send + Sync + 'static {
    /// Returns the kind of signature.
    fn scheme(&self) -> Scheme;

    /// Returns a signature over `data`, as it is stored.
    async fn sign(&self, data: &[u8]) -> Result<Vec<u8>>;
}
