//! ed25519: keys of 32 bytes, signatures of 64 (RFC 8032).

use std::fmt;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use super::keys::decode_base64;
use super::{
    Checked, KeyId, Refusal, Scheme, Signatures, Signed, SignedData, Signer, Status, Verdict,
    Verifier, signatures_in,
};
use crate::error::Result;
use crate::format::FormatError;

const WHAT: &str = "ed25519 key";

/// A public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ed25519PublicKey([u8; 32]);

impl Ed25519PublicKey {
    /// Takes a key as it is. Bytes that are no key verify nothing.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads a key from base64, as it stands in key files and configurations.
    pub fn from_base64(text: &str) -> std::result::Result<Self, FormatError> {
        let bytes = decode_base64(WHAT, text)?;
        let found = bytes.len();
        let bytes = bytes.try_into().map_err(|_| {
            FormatError::new(WHAT, format!("a public key has 32 bytes, this one {found}"))
        })?;
        Ok(Self(bytes))
    }

    /// Returns the key.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the key as it stands in key files.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.0)
    }

    /// Returns whether `signature` is one by this key over `data`.
    ///
    /// Strictly: keys of small order, with which one signature fits many messages, sign nothing.
    pub fn verifies(&self, data: &[u8], signature: &[u8]) -> bool {
        self.verifies_data(data.into(), signature)
    }

    fn verifies_data(&self, data: SignedData<'_>, signature: &[u8]) -> bool {
        let Ok(signature) = Signature::from_slice(signature) else {
            return false;
        };
        VerifyingKey::from_bytes(&self.0).is_ok_and(|key| verifies(&key, data, &signature))
    }
}

/// Returns whether `signature` is one by `key`, strictly.
pub(super) fn verifies(key: &VerifyingKey, data: SignedData<'_>, signature: &Signature) -> bool {
    if let SignedData::Bytes(bytes) = data {
        return key.verify_strict(bytes, signature).is_ok();
    }
    // What makes it strict, where it is read piece by piece: neither point is of small order.
    let point = VerifyingKey::from_bytes(signature.r_bytes());
    if key.is_weak() || !point.is_ok_and(|point| !point.is_weak()) {
        return false;
    }
    let Ok(mut stream) = key.verify_stream(signature) else {
        return false;
    };
    match data.feed(|piece| stream.update(piece)) {
        Ok(()) => stream.finalize_and_verify().is_ok(),
        Err(error) => {
            tracing::warn!(%error, "what is signed cannot be read");
            false
        }
    }
}

/// A secret key. Its bytes are wiped when it goes, and never printed.
#[derive(Clone)]
pub struct Ed25519SecretKey(SigningKey);

impl Ed25519SecretKey {
    /// Makes the key that `seed` stands for: 32 bytes that nobody can guess.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// Reads a key from base64: the seed and the public key, 64 bytes, or the seed alone.
    ///
    /// # Errors
    ///
    /// When the public key is not the one that belongs to the seed.
    pub fn from_base64(text: &str) -> std::result::Result<Self, FormatError> {
        let bytes = decode_base64(WHAT, text)?;
        let wrong = |problem: &'static str| FormatError::new(WHAT, problem);
        if let Ok(pair) = <&[u8; 64]>::try_from(&*bytes) {
            let key = SigningKey::from_keypair_bytes(pair);
            return key.map(Self).map_err(|_| {
                wrong("the second half of the secret key is not the public key of the first")
            });
        }
        let seed = <&[u8; 32]>::try_from(&*bytes).map_err(|_| {
            let found = bytes.len();
            FormatError::new(WHAT, format!("a secret key has 64 bytes, this one {found}"))
        })?;
        Ok(Self::from_seed(seed))
    }

    /// Returns the public key.
    pub fn public(&self) -> Ed25519PublicKey {
        Ed25519PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Returns a signature over `data`, 64 bytes.
    pub fn sign(&self, data: &[u8]) -> [u8; 64] {
        self.0.sign(data).to_bytes()
    }
}

impl fmt::Debug for Ed25519SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ed25519SecretKey(of {})", self.public().to_base64())
    }
}

/// Accepts what one of its keys signed.
#[derive(Debug, Clone, Default)]
pub struct Ed25519Verifier {
    trusted: Vec<Ed25519PublicKey>,
    revoked: Vec<Ed25519PublicKey>,
}

impl Ed25519Verifier {
    /// Trusts these keys, each counted once.
    pub fn new(keys: impl IntoIterator<Item = Ed25519PublicKey>) -> Self {
        let mut trusted = Vec::new();
        for key in keys {
            if !trusted.contains(&key) {
                trusted.push(key);
            }
        }
        Self {
            trusted,
            revoked: Vec::new(),
        }
    }

    /// Trusts none of these, whatever else says so.
    #[must_use]
    pub fn revoking(mut self, keys: impl IntoIterator<Item = Ed25519PublicKey>) -> Self {
        self.revoked.extend(keys);
        self
    }

    /// Returns the keys that are trusted.
    pub fn keys(&self) -> impl Iterator<Item = &Ed25519PublicKey> {
        self.trusted
            .iter()
            .filter(|key| !self.revoked.contains(key))
    }

    /// Returns what becomes of one signature over `data`.
    pub fn check(&self, data: SignedData<'_>, signature: &[u8]) -> Checked {
        let (key, status) = self.status(data, signature);
        Checked {
            scheme: Scheme::Ed25519,
            key: key.map(|key| KeyId::of_bytes(&key.0)),
            status,
            details: None,
        }
    }

    fn status(
        &self,
        data: SignedData<'_>,
        signature: &[u8],
    ) -> (Option<&Ed25519PublicKey>, Status) {
        if signature.len() != 64 {
            return (None, Status::Malformed);
        }
        let verifies = |key: &&Ed25519PublicKey| key.verifies_data(data, signature);
        if let Some(key) = self.keys().find(verifies) {
            return (Some(key), Status::Good);
        }
        if let Some(key) = self.revoked.iter().find(verifies) {
            return (Some(key), Status::KeyRevoked);
        }
        let tried = self.keys().count();
        let only = self.keys().next().filter(|_| tried == 1);
        (only, Status::UnknownKey { tried })
    }
}

impl Verifier for Ed25519Verifier {
    fn verify(&self, signed: &Signed<'_>) -> Verdict {
        verify_each(
            signed,
            Scheme::Ed25519,
            self.keys().next().is_some(),
            |signature| self.check(signed.data, signature),
        )
    }
}

/// Looks at each signature of a kind that knows nothing but keys.
pub(super) fn verify_each(
    signed: &Signed<'_>,
    scheme: Scheme,
    has_keys: bool,
    check: impl Fn(&[u8]) -> Checked,
) -> Verdict {
    let checked = match signatures_in(signed.signatures, scheme) {
        Signatures::None => Vec::new(),
        Signatures::Malformed => vec![Checked {
            scheme,
            key: None,
            status: Status::Malformed,
            details: None,
        }],
        Signatures::Some(signatures) => signatures.into_iter().map(check).collect(),
    };
    if !has_keys && checked.iter().all(|c| c.status != Status::KeyRevoked) {
        return Verdict::refused(Refusal::NoKeys(scheme));
    }
    Verdict::any_good(scheme, checked)
}

/// Signs with a key in memory.
#[derive(Debug, Clone)]
pub struct Ed25519Signer(Ed25519SecretKey);

impl Ed25519Signer {
    /// Signs with `key`.
    pub fn new(key: Ed25519SecretKey) -> Self {
        Self(key)
    }
}

#[async_trait]
impl Signer for Ed25519Signer {
    fn scheme(&self) -> Scheme {
        Scheme::Ed25519
    }

    async fn sign(&self, data: &[u8]) -> Result<Vec<u8>> {
        Ok(self.0.sign(data).to_vec())
    }
}

impl From<Ed25519SecretKey> for Ed25519Signer {
    fn from(key: Ed25519SecretKey) -> Self {
        Self(key)
    }
}
