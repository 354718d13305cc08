//! Signs with a secret key in memory.

use std::fmt;

use async_trait::async_trait;
use pgp::composed::{DetachedSignature, SignedSecretKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::ser::Serialize;
use pgp::types::{KeyDetails, Password, SigningKey};
use treeferry_core::error::{Error, Result};
use treeferry_core::sign::{Scheme, Signer};

use crate::keyring::Keyring;
use crate::standing::{Standing, subkey_standing};
use crate::{format_error, upper_hex};

const WHAT: &str = "OpenPGP secret key";

/// Signs with a secret key, or the one of its subkeys that may sign and was made last.
pub struct OpenPgpSigner {
    key: SignedSecretKey,
    subkey: Option<usize>,
    password: Password,
}

impl OpenPgpSigner {
    /// Reads a secret key as `gpg --export-secret-keys` writes it, armoured or not.
    ///
    /// `password` unlocks it; empty for a key that is not locked. `now_secs` is the time, seconds
    /// since 1970: an expired subkey is not used.
    ///
    /// # Errors
    ///
    /// When there is no secret key, when it may not sign, and when the password is another.
    pub fn new(bytes: &[u8], password: &str, now_secs: u64) -> Result<Self> {
        let bad = |e: &pgp::errors::Error| {
            Error::invalid("is not a usable key").because(format_error(WHAT, e))
        };
        let (key, _) =
            <SignedSecretKey as pgp::composed::Deserializable>::from_reader_single(bytes)
                .map_err(|e| bad(&e))?;
        let public = key.to_public_key();
        let mut subkey = None;
        for (at, candidate) in public.public_subkeys.iter().enumerate() {
            let standing = subkey_standing(&public, candidate, now_secs);
            let usable = standing.may_sign && !standing.revoked && !standing.is_expired(now_secs);
            let fingerprint = candidate.key.fingerprint();
            let secret = key
                .secret_subkeys
                .iter()
                .position(|secret| secret.key.fingerprint() == fingerprint);
            if let (true, Some(secret)) = (usable, secret) {
                let newest =
                    subkey.is_none_or(|(created, _)| created <= candidate.key.created_at());
                if newest {
                    subkey = Some((public.public_subkeys[at].key.created_at(), secret));
                }
            }
        }
        if subkey.is_none() && !Standing::of(&public, now_secs).may_sign {
            return Err(Error::invalid("it is a key that may not sign"));
        }
        let signer = Self {
            key,
            subkey: subkey.map(|(_, at)| at),
            password: Password::from(password),
        };
        signer.signature(b"")?;
        Ok(signer)
    }

    /// Returns the fingerprint of the key that signs, upper case digits.
    pub fn fingerprint(&self) -> String {
        upper_hex(
            match self.subkey {
                Some(at) => self.key.secret_subkeys[at].key.fingerprint(),
                None => self.key.primary_key.fingerprint(),
            }
            .as_bytes(),
        )
    }

    /// Returns the public half.
    pub fn public(&self) -> Result<Keyring> {
        let mut bytes = Vec::new();
        let public = self.key.to_public_key();
        let written = public.to_writer(&mut bytes);
        written.map_err(|e| Error::from(format_error(WHAT, &e)))?;
        Ok(Keyring::parse(&bytes)?)
    }

    fn signature(&self, data: &[u8]) -> Result<Vec<u8>> {
        let signature = match self.subkey {
            Some(at) => self.with(&self.key.secret_subkeys[at].key, data),
            None => self.with(&self.key.primary_key, data),
        };
        let failed = |e: &pgp::errors::Error| {
            Error::invalid("the key does not sign: is its password another?")
                .because(format_error(WHAT, e))
        };
        let signature = signature.map_err(|e| failed(&e))?;
        let mut bytes = Vec::new();
        signature.to_writer(&mut bytes).map_err(|e| failed(&e))?;
        Ok(bytes)
    }

    fn with(
        &self,
        key: &impl SigningKey,
        data: &[u8],
    ) -> std::result::Result<DetachedSignature, pgp::errors::Error> {
        let hash = HashAlgorithm::Sha512;
        DetachedSignature::sign_binary_data(rand::thread_rng(), key, &self.password, hash, data)
    }
}

impl fmt::Debug for OpenPgpSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenPgpSigner({})", self.fingerprint())
    }
}

#[async_trait]
impl Signer for OpenPgpSigner {
    fn scheme(&self) -> Scheme {
        Scheme::OpenPgp
    }

    async fn sign(&self, data: &[u8]) -> Result<Vec<u8>> {
        self.signature(data)
    }
}
