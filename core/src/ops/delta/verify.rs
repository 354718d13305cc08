//! Whether a delta is signed by who is trusted.

use std::sync::Arc;

use super::OpenDelta;
use crate::error::Result;
use crate::format::gvariant::Dict;
use crate::pool::Pool;
use crate::sign::{Signed, Verdict, Verifier};

/// Looks at the signatures of a delta. Its superblock, at most `bytes_max` bytes, is read into
/// memory: signatures are over all of it.
pub async fn verify(
    delta: &OpenDelta,
    verifier: &Arc<dyn Verifier>,
    now_secs: Option<u64>,
    bytes_max: u64,
    pool: &Pool,
) -> Result<Verdict> {
    let (delta, verifier) = (delta.clone(), Arc::clone(verifier));
    let verify = move || {
        let data = match &delta.signatures {
            Some(_) => delta.read_bytes(bytes_max)?,
            // Nothing is over it.
            None => Vec::new(),
        };
        let none = Dict::new();
        let signed = Signed {
            data: &data,
            signatures: delta.signatures.as_ref().unwrap_or(&none),
            now_secs,
        };
        Ok(verifier.verify(&signed))
    };
    pool.run(verify).await
}
