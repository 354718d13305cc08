//! The summary that a pull goes by, verified.

use std::time::Duration;

use super::{KeepSummary, PullOptions, PullSource};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::ops::replicate::Retry;
use crate::pool::Pool;
use crate::repo::Repo;
use crate::sign::{Trust, VerifyPolicy, require};
use crate::store::SignedSummary;
use crate::transport::retrying;

/// How often a summary that does not fit its signature is read again: over HTTP the two are two
/// files, and one may have been replaced between the requests.
const READS_MAX: u32 = 5;

/// How long to wait before reading them again; longer each time.
const FIRST_WAIT: Duration = Duration::from_millis(50);

/// Reads the summary if it is needed: to know all refs, to keep it, or because it must be signed.
pub(super) async fn needed(
    repo: &Repo,
    source: &PullSource,
    options: &PullOptions,
) -> Result<Option<SignedSummary>> {
    let required = options.verify.summary.is_required();
    if !required && !options.refs.is_empty() && options.summary == KeepSummary::No {
        return Ok(None);
    }
    fetch_summary(
        repo.pool(),
        source,
        &options.verify,
        &options.replicate.retry,
    )
    .await
}

/// Reads the summary of a remote, and verifies it if that is required; `None`: there is none.
///
/// # Errors
///
/// [`Untrusted`](crate::ErrorKind::Untrusted) when it must be signed and is not, and still is not
/// when it has been read several times: two files cannot be replaced as one over HTTP.
pub async fn fetch_summary(
    pool: &Pool,
    source: &PullSource,
    policy: &VerifyPolicy,
    retry: &Retry,
) -> Result<Option<SignedSummary>> {
    let mut reads = 0;
    loop {
        let read = || source.repo.read_summary();
        let summary = retrying(retry, || Box::pin(read())).await?;
        let refused = match verify(pool, policy, summary.as_ref()).await {
            Ok(()) => return Ok(summary),
            Err(error) => error.about(Subject::Url(source.repo.describe())),
        };
        reads += 1;
        if refused.kind() != ErrorKind::Untrusted || summary.is_none() || reads == READS_MAX {
            return Err(refused);
        }
        tokio::time::sleep(FIRST_WAIT * 2_u32.pow(reads)).await;
    }
}

async fn verify(pool: &Pool, policy: &VerifyPolicy, summary: Option<&SignedSummary>) -> Result<()> {
    let Trust::Signed(verifier) = &policy.summary else {
        return Ok(());
    };
    let Some(signed) = summary.cloned() else {
        let problem = "there is no summary, and a signed one is required";
        return Err(Error::new(ErrorKind::Untrusted, problem));
    };
    let (verifier, now) = (verifier.clone(), policy.now_secs);
    let verified = pool.run(move || {
        require(
            &*verifier,
            &signed.summary,
            signed.signature.as_deref(),
            now,
        )
        .map(drop)
    });
    verified.await.map_err(|e| e.context("its summary"))
}
