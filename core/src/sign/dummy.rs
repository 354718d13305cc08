//! The signature that is none: the key itself. For tests of pipelines; whoever knows the key, which
//! is published with each signature, can make one.

use async_trait::async_trait;

use super::ed25519::verify_each;
use super::{Checked, KeyId, Scheme, Signed, Signer, Status, Verdict, Verifier};
use crate::error::Result;

/// The text that stands for a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DummyKey(pub String);

/// Accepts what carries one of its texts. Trust nothing of value to it.
#[derive(Debug, Clone, Default)]
pub struct DummyVerifier(pub Vec<DummyKey>);

impl Verifier for DummyVerifier {
    fn verify(&self, signed: &Signed<'_>) -> Verdict {
        verify_each(signed, Scheme::Dummy, !self.0.is_empty(), |signature| {
            let of = |key: &&DummyKey| key.0.as_bytes() == signature;
            let key = self.0.iter().find(of);
            Checked {
                scheme: Scheme::Dummy,
                key: key.map(|key| KeyId::of_bytes(key.0.as_bytes())),
                status: match key {
                    Some(_) => Status::Good,
                    None => Status::UnknownKey {
                        tried: self.0.len(),
                    },
                },
                details: None,
            }
        })
    }
}

/// "Signs" with a text.
#[derive(Debug, Clone)]
pub struct DummySigner(pub DummyKey);

#[async_trait]
impl Signer for DummySigner {
    fn scheme(&self) -> Scheme {
        Scheme::Dummy
    }

    async fn sign(&self, _data: &[u8]) -> Result<Vec<u8>> {
        Ok(self.0.0.clone().into_bytes())
    }
}
