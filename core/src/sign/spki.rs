//! Keys in X.509's SubjectPublicKeyInfo and PKCS #8, as OpenSSL writes them.
//!
//! ed25519, and ECDSA on P-256 and P-384 with SHA-256, which is what OSTree makes of them. A key of
//! another algorithm is said to be unsupported when it is read, not when it fails to verify.

use std::fmt;

use async_trait::async_trait;
use ed25519_dalek::pkcs8::{DecodePrivateKey, DecodePublicKey};
use p256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};

use super::ed25519::{self, verify_each};
use super::keys::{decode_base64, parse_pem_blocks};
use super::{Checked, KeyId, Scheme, Signed, SignedData, Signer, Status, Verdict, Verifier};
use crate::error::Result;
use crate::format::{Checksum, FormatError, Hasher};

const WHAT: &str = "spki key";
const UNSUPPORTED: &str = "not a key of ed25519, ECDSA P-256 or ECDSA P-384";

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpkiPublicKey {
    der: Vec<u8>,
    key: Public,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Public {
    Ed25519(ed25519_dalek::VerifyingKey),
    P256(p256::ecdsa::VerifyingKey),
    P384(p384::ecdsa::VerifyingKey),
}

impl SpkiPublicKey {
    /// Reads the DER of a key.
    pub fn from_der(der: &[u8]) -> std::result::Result<Self, FormatError> {
        let key = if let Ok(key) = ed25519_dalek::VerifyingKey::from_public_key_der(der) {
            Public::Ed25519(key)
        } else if let Ok(key) = p256::ecdsa::VerifyingKey::from_public_key_der(der) {
            Public::P256(key)
        } else if let Ok(key) = p384::ecdsa::VerifyingKey::from_public_key_der(der) {
            Public::P384(key)
        } else {
            return Err(FormatError::new(WHAT, UNSUPPORTED));
        };
        let der = der.to_vec();
        Ok(Self { der, key })
    }

    /// Reads the DER of a key in base64, as it stands in configurations.
    pub fn from_base64(text: &str) -> std::result::Result<Self, FormatError> {
        Self::from_der(&decode_base64(WHAT, text)?)
    }

    /// Reads all keys of a PEM text.
    pub fn parse_pem(text: &str) -> std::result::Result<Vec<Self>, FormatError> {
        let blocks = parse_pem_blocks(text, "PUBLIC KEY")?;
        blocks.iter().map(|der| Self::from_der(der)).collect()
    }

    /// Returns the DER of the key.
    pub fn to_der(&self) -> &[u8] {
        &self.der
    }

    /// Returns whether `signature` is one by this key over `data`.
    pub fn verifies(&self, data: &[u8], signature: &[u8]) -> bool {
        self.verifies_data(data.into(), signature)
    }

    fn verifies_data(&self, data: SignedData<'_>, signature: &[u8]) -> bool {
        match &self.key {
            Public::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| ed25519::verifies(key, data, &signature)),
            Public::P256(key) => {
                p256::ecdsa::Signature::from_der(signature).is_ok_and(|signature| {
                    hashed(data)
                        .is_some_and(|hash| key.verify_prehash(hash.as_bytes(), &signature).is_ok())
                })
            }
            Public::P384(key) => {
                p384::ecdsa::Signature::from_der(signature).is_ok_and(|signature| {
                    hashed(data)
                        .is_some_and(|hash| key.verify_prehash(hash.as_bytes(), &signature).is_ok())
                })
            }
        }
    }

    /// Returns what the key is called: the hash of its DER.
    pub fn id(&self) -> KeyId {
        KeyId::of_bytes(Checksum::of(&self.der).as_bytes())
    }
}

/// Returns what is signed in place of `data`; `None` if it cannot be read.
fn hashed(data: SignedData<'_>) -> Option<Checksum> {
    let mut hasher = Hasher::new();
    match data.feed(|piece| hasher.update(piece)) {
        Ok(()) => Some(hasher.finish()),
        Err(error) => {
            tracing::warn!(%error, "what is signed cannot be read");
            None
        }
    }
}

/// A secret key, never printed.
#[derive(Clone)]
pub struct SpkiSecretKey(Secret);

#[derive(Clone)]
enum Secret {
    Ed25519(ed25519_dalek::SigningKey),
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
}

impl SpkiSecretKey {
    /// Reads the DER of a key in PKCS #8, unencrypted.
    pub fn from_der(der: &[u8]) -> std::result::Result<Self, FormatError> {
        if let Ok(key) = ed25519_dalek::SigningKey::from_pkcs8_der(der) {
            return Ok(Self(Secret::Ed25519(key)));
        }
        if let Ok(key) = p256::ecdsa::SigningKey::from_pkcs8_der(der) {
            return Ok(Self(Secret::P256(key)));
        }
        let key = p384::ecdsa::SigningKey::from_pkcs8_der(der);
        let key = key.map_err(|_| FormatError::new(WHAT, UNSUPPORTED))?;
        Ok(Self(Secret::P384(key)))
    }

    /// Reads the DER of a key in base64.
    pub fn from_base64(text: &str) -> std::result::Result<Self, FormatError> {
        Self::from_der(&decode_base64(WHAT, text)?)
    }

    /// Reads all keys of a PEM text.
    pub fn parse_pem(text: &str) -> std::result::Result<Vec<Self>, FormatError> {
        let blocks = parse_pem_blocks(text, "PRIVATE KEY")?;
        blocks.iter().map(|der| Self::from_der(der)).collect()
    }

    /// Returns a signature over `data`.
    pub fn sign(&self, data: &[u8]) -> std::result::Result<Vec<u8>, FormatError> {
        let failed = |_| FormatError::new(WHAT, "the key cannot sign");
        let hash = Checksum::of(data);
        Ok(match &self.0 {
            Secret::Ed25519(key) => ed25519_dalek::Signer::sign(key, data).to_bytes().to_vec(),
            Secret::P256(key) => {
                let signature: p256::ecdsa::Signature =
                    key.sign_prehash(hash.as_bytes()).map_err(failed)?;
                signature.to_der().as_bytes().to_vec()
            }
            Secret::P384(key) => {
                let signature: p384::ecdsa::Signature =
                    key.sign_prehash(hash.as_bytes()).map_err(failed)?;
                signature.to_der().as_bytes().to_vec()
            }
        })
    }
}

impl fmt::Debug for SpkiSecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SpkiSecretKey")
    }
}

/// Accepts what one of its keys signed.
#[derive(Debug, Clone, Default)]
pub struct SpkiVerifier {
    trusted: Vec<SpkiPublicKey>,
    revoked: Vec<SpkiPublicKey>,
}

impl SpkiVerifier {
    /// Trusts these keys.
    pub fn new(keys: impl IntoIterator<Item = SpkiPublicKey>) -> Self {
        Self {
            trusted: keys.into_iter().collect(),
            revoked: Vec::new(),
        }
    }

    /// Trusts none of these, whatever else says so.
    #[must_use]
    pub fn revoking(mut self, keys: impl IntoIterator<Item = SpkiPublicKey>) -> Self {
        self.revoked.extend(keys);
        self.trusted.retain(|key| !self.revoked.contains(key));
        self
    }

    /// Returns the keys that are trusted.
    pub fn keys(&self) -> impl Iterator<Item = &SpkiPublicKey> {
        self.trusted.iter()
    }

    fn status(&self, data: SignedData<'_>, signature: &[u8]) -> (Option<&SpkiPublicKey>, Status) {
        let verifies = |key: &&SpkiPublicKey| key.verifies_data(data, signature);
        if let Some(key) = self.trusted.iter().find(verifies) {
            return (Some(key), Status::Good);
        }
        if let Some(key) = self.revoked.iter().find(verifies) {
            return (Some(key), Status::KeyRevoked);
        }
        let tried = self.trusted.len();
        let only = self.trusted.first().filter(|_| tried == 1);
        (only, Status::UnknownKey { tried })
    }
}

impl Verifier for SpkiVerifier {
    fn verify(&self, signed: &Signed<'_>) -> Verdict {
        verify_each(
            signed,
            Scheme::Spki,
            !self.trusted.is_empty(),
            |signature| {
                let (key, status) = self.status(signed.data, signature);
                Checked {
                    scheme: Scheme::Spki,
                    key: key.map(SpkiPublicKey::id),
                    status,
                    details: None,
                }
            },
        )
    }
}

/// Signs with a key in memory.
#[derive(Debug, Clone)]
pub struct SpkiSigner(pub SpkiSecretKey);

#[async_trait]
impl Signer for SpkiSigner {
    fn scheme(&self) -> Scheme {
        Scheme::Spki
    }

    async fn sign(&self, data: &[u8]) -> Result<Vec<u8>> {
        Ok(self.0.sign(data)?)
    }
}
