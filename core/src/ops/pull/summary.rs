//! The summary that a pull goes by, verified.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

use super::{AgeCheck, KeepSummary, PullOptions, PullRef, PullSource, RefsFrom};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::format::Summary;
use crate::format::gvariant::Dict;
use crate::ops::replicate::Retry;
use crate::pool::Pool;
use crate::repo::Repo;
use crate::sign::{Trust, VerifyPolicy, require};
use crate::store::SignedSummary;
use crate::transport::retrying;

/// How often a summary that does not fit its signature is read again: over HTTP the two are two
/// files, and one may have been replaced between the requests.
const READS_MAX: u32 = 6;

/// How long to wait before reading them again; longer each time, some 3 seconds in all.
const FIRST_WAIT: Duration = Duration::from_millis(50);

/// Where a summary that was verified is kept until the remote signs another.
#[async_trait]
pub trait SummaryCache: Debug + Send + Sync + 'static {
    /// Returns what is kept. It need not be whole, nor what was written: it is verified again.
    async fn read(&self) -> Result<Option<SignedSummary>>;

    /// Keeps a summary that was verified.
    async fn write(&self, signed: &SignedSummary) -> Result<()>;

    /// Is told that what it kept does not verify, and is not used; an error ends the pull.
    async fn on_invalid(&self, error: &Error) -> Result<()>;
}

/// How old what a remote says may be. A remote, or who stands before it, can serve what was true
/// once for as long as it likes; only a limit to its age tells that from silence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Freshness {
    /// The most seconds since the summary was made, where it is used; with a limit, one that says
    /// that it has expired is refused too.
    pub summary_age_secs_max: Option<u64>,
    /// The most seconds since a commit was made that a ref is to hold.
    pub commit_age_secs_max: Option<u64>,
}

impl Freshness {
    /// Returns what is wrong with the age of something made at `made_secs`, in words; `None`:
    /// nothing.
    ///
    /// # Errors
    ///
    /// When there is a limit, and what time it is is not known.
    pub(super) fn too_old(
        limit: Option<u64>,
        made_secs: u64,
        now_secs: Option<u64>,
    ) -> Result<Option<String>> {
        let Some(limit) = limit else { return Ok(None) };
        let now = now_secs.ok_or_else(|| {
            Error::invalid(
                "there is a limit to the age of things, and it is not said what time it is",
            )
        })?;
        let age = now.saturating_sub(made_secs);
        Ok((age > limit).then(|| {
            format!(
                "was made {age} seconds ago, more than the {limit} that are allowed: the remote may \
                 be held back at an old state"
            )
        }))
    }
}

/// Reads the summary if it is needed: to know all refs, to keep it, or because it must be signed.
pub(super) async fn needed(
    repo: &Repo,
    source: &PullSource,
    options: &PullOptions,
) -> Result<Option<SignedSummary>> {
    let required = options.verify.summary.is_required();
    let is_open = |wanted: &PullRef| wanted.commit.is_none();
    let for_refs = options.refs_from == RefsFrom::Summary && options.refs.iter().any(is_open);
    if !required && !for_refs && !options.refs.is_empty() && options.summary == KeepSummary::No {
        return Ok(None);
    }
    let (policy, retry) = (&options.verify, &options.replicate.retry);
    let cache = options.summary_cache.as_deref().filter(|_| required);
    let kept = match cache {
        Some(cache) => verified(repo.pool(), policy, cache).await?,
        None => None,
    };
    let about = |error: Error| error.about(Subject::Url(source.repo.describe()));
    if let Some(kept) = &kept {
        // As long as the signature is the same, so is what it signs.
        let read = || source.repo.read_summary_signature();
        let signature = retrying(retry, || Box::pin(read())).await?;
        if signature.is_some() && signature == kept.signature {
            check_age(options, &metadata_of(kept), None).map_err(about)?;
            return Ok(Some(kept.clone()));
        }
    }
    let fetched = read_verified(repo.pool(), source, policy, retry).await?;
    if let Some(fetched) = &fetched {
        let seen = kept.as_ref().map(metadata_of);
        check_age(options, &metadata_of(fetched), seen.as_ref()).map_err(about)?;
        if let Some(cache) = cache {
            cache.write(fetched).await?;
        }
    }
    Ok(fetched)
}

/// Returns what is kept if it is worth something.
async fn verified(
    pool: &Pool,
    policy: &VerifyPolicy,
    cache: &dyn SummaryCache,
) -> Result<Option<SignedSummary>> {
    let Some(kept) = cache.read().await? else {
        return Ok(None);
    };
    match verify(pool, policy, &kept, "its summary").await {
        Ok(()) => Ok(Some(kept)),
        Err(error) => {
            tracing::debug!(%error, "the summary that was kept is not used");
            cache.on_invalid(&error).await?;
            Ok(None)
        }
    }
}

fn metadata_of(signed: &SignedSummary) -> Dict {
    let summary = Summary::parse(&signed.summary);
    summary.map(|summary| summary.metadata).unwrap_or_default()
}

/// Checks that what has this metadata, a summary or an index of some, is neither stale, nor older than
/// one that was seen.
pub(super) fn check_age(options: &PullOptions, signed: &Dict, seen: Option<&Dict>) -> Result<()> {
    let secs = |metadata: &Dict, key: &str| -> Option<u64> {
        Some(u64::from_be(metadata.get(key)?.as_u64()?))
    };
    let untrusted = |problem: String| Error::new(ErrorKind::Untrusted, problem);
    let made = secs(signed, "ostree.summary.last-modified");
    let (limit, now) = (
        options.freshness.summary_age_secs_max,
        options.verify.now_secs,
    );
    if let Some(problem) = Freshness::too_old(limit, made.unwrap_or(0), now)? {
        return Err(untrusted(format!("its summary {problem}")));
    }
    let expires = secs(signed, "ostree.summary.expires").filter(|_| limit.is_some());
    if let (Some(expires), Some(now)) = (expires, now)
        && expires <= now
    {
        let problem = format!("its summary expired {} seconds ago", now - expires);
        return Err(untrusted(problem));
    }
    let seen = seen.and_then(|seen| secs(seen, "ostree.summary.last-modified"));
    if let (Some(seen), Some(made)) = (seen, made)
        && made < seen
        && options.age != AgeCheck::Any
    {
        let problem = format!(
            "its summary is older (made at {made}) than one that was seen (made at {seen}): a step \
             back is refused"
        );
        return Err(untrusted(problem));
    }
    Ok(())
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
    let read = read_verified(pool, source, policy, retry).await?;
    match read {
        None if policy.summary.is_required() => Err(none_there(source)),
        read => Ok(read),
    }
}

/// Returns the error that a signed summary is required, and there is none.
pub(super) fn none_there(source: &PullSource) -> Error {
    let problem = "its summary: there is no summary, and a signed one is required";
    Error::new(ErrorKind::Untrusted, problem).about(Subject::Url(source.repo.describe()))
}

/// Returns what [`fetch_summary`] does, and `None` also where one is required.
async fn read_verified(
    pool: &Pool,
    source: &PullSource,
    policy: &VerifyPolicy,
    retry: &Retry,
) -> Result<Option<SignedSummary>> {
    let mut reads = 0;
    loop {
        let read = || source.repo.read_summary();
        let Some(summary) = retrying(retry, || Box::pin(read())).await? else {
            return Ok(None);
        };
        let refused = match verify(pool, policy, &summary, "its summary").await {
            Ok(()) => return Ok(Some(summary)),
            Err(error) => error.about(Subject::Url(source.repo.describe())),
        };
        reads += 1;
        if refused.kind() != ErrorKind::Untrusted || reads == READS_MAX {
            return Err(refused);
        }
        tokio::time::sleep(FIRST_WAIT * 2_u32.pow(reads)).await;
    }
}

/// Verifies a summary, or an index of some, called `what` in errors, if it must be signed.
pub(super) async fn verify(
    pool: &Pool,
    policy: &VerifyPolicy,
    signed: &SignedSummary,
    what: &'static str,
) -> Result<()> {
    let Trust::Signed(verifier) = &policy.summary else {
        return Ok(());
    };
    let (verifier, signed, now) = (verifier.clone(), signed.clone(), policy.now_secs);
    let verified = pool.run(move || {
        let beside = signed.signature.as_deref();
        require(&*verifier, &signed.summary, beside, now).map(drop)
    });
    verified.await.map_err(|e| e.context(what))
}
