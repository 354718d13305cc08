//! Whether a delta is signed by who is trusted.

use std::sync::Arc;

use super::OpenDelta;
use crate::error::Result;
use crate::format::gvariant::Dict;
use crate::pool::Pool;
use crate::sign::{Signed, SignedData, Verdict, Verifier};

/// Looks at the signatures of a delta. Its superblock, inline parts and all, is read where it is, once
/// for each signature and key: signatures are over all of it.
pub async fn verify(
    delta: &OpenDelta,
    verifier: &Arc<dyn Verifier>,
    now_secs: Option<u64>,
    pool: &Pool,
) -> Result<Verdict> {
    let (delta, verifier) = (delta.clone(), Arc::clone(verifier));
    let verify = move || {
        let none = Dict::new();
        let signed = Signed {
            data: SignedData::Source(&**delta.bytes()),
            signatures: delta.signatures.as_ref().unwrap_or(&none),
            now_secs,
        };
        Ok(verifier.verify(&signed))
    };
    pool.run(verify).await
}
