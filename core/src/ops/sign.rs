//! Puts signatures beside commits and summaries, takes them away, and verifies them.

use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::format::gvariant::Dict;
use crate::format::{Checksum, ObjectName};
use crate::repo::{Repo, load_metadata};
use crate::sign::{Scheme, Signer, Verdict, Verifier, add_signature, remove_signatures, require};
use crate::store::{SignedSummary, Swap};

/// How often a change is tried against other writers.
const SWAPS_MAX: usize = 16;

/// Adds a signature by each of `signers` to a commit, and keeps those it has.
///
/// # Errors
///
/// [`Missing`](ErrorKind::Missing) when the commit is not there; what a signer fails with. Either all
/// signatures are added or none.
pub async fn sign_commit(
    repo: &Repo,
    commit: &Checksum,
    signers: &[Arc<dyn Signer>],
) -> Result<()> {
    let bytes = commit_bytes(repo, commit).await?;
    let signatures = make(&bytes, signers).await?;
    add_to_commit(repo, commit, &signatures).await
}

/// Adds signatures that were made over a commit elsewhere, and keeps those it has.
pub async fn add_to_commit(
    repo: &Repo,
    commit: &Checksum,
    signatures: &[(Scheme, Vec<u8>)],
) -> Result<()> {
    change_detached(repo, commit, |metadata| add(metadata, signatures)).await
}

/// Removes those signatures of a kind from a commit that `is_wanted` does not want; returns how many.
pub async fn unsign_commit(
    repo: &Repo,
    commit: &Checksum,
    scheme: Scheme,
    is_wanted: impl Fn(&[u8]) -> bool + Send + Sync,
) -> Result<usize> {
    let removed = std::sync::atomic::AtomicUsize::new(0);
    let order = std::sync::atomic::Ordering::Relaxed;
    change_detached(repo, commit, |metadata| {
        removed.store(remove_signatures(metadata, scheme, &is_wanted), order);
        Ok(())
    })
    .await?;
    Ok(removed.load(order))
}

/// Verifies the signatures of a commit that is in the repository.
///
/// # Errors
///
/// [`Untrusted`](ErrorKind::Untrusted), and why.
pub async fn verify_commit(
    repo: &Repo,
    commit: &Checksum,
    verifier: Arc<dyn Verifier>,
    now_secs: u64,
) -> Result<Verdict> {
    let bytes = commit_bytes(repo, commit).await?;
    let detached = repo.state().read_detached(commit).await?;
    let verified = repo
        .pool()
        .run(move || require(&*verifier, &bytes, detached.as_deref(), Some(now_secs)));
    verified
        .await
        .map_err(|e| e.about(ObjectName::commit(*commit)))
}

/// Adds a signature by each of `signers` to the summary, and keeps those it has.
///
/// # Errors
///
/// [`Missing`](ErrorKind::Missing) when there is no summary.
pub async fn sign_summary(repo: &Repo, signers: &[Arc<dyn Signer>]) -> Result<()> {
    let held = repo.state().read_summary().await?;
    let held = held.ok_or_else(|| Error::missing("the repository has no summary to sign"))?;
    let signatures = make(&held.summary, signers).await?;
    let mut metadata = decode(held.signature.as_ref())?;
    add(&mut metadata, &signatures)?;
    let signed = SignedSummary {
        summary: held.summary,
        signature: Some(metadata.encode().into()),
    };
    repo.state().write_summary(Some(signed)).await
}

/// Returns a signature over `data` by each of `signers`, with its kind.
pub async fn make(data: &[u8], signers: &[Arc<dyn Signer>]) -> Result<Vec<(Scheme, Vec<u8>)>> {
    let mut made = Vec::with_capacity(signers.len());
    for signer in signers {
        made.push((signer.scheme(), signer.sign(data).await?));
    }
    Ok(made)
}

/// Adds signatures to the `a{sv}` that they stand in.
pub fn add(metadata: &mut Dict, signatures: &[(Scheme, Vec<u8>)]) -> Result<()> {
    for (scheme, signature) in signatures {
        add_signature(metadata, *scheme, signature.clone())?;
    }
    Ok(())
}

async fn commit_bytes(repo: &Repo, commit: &Checksum) -> Result<Bytes> {
    let name = ObjectName::commit(*commit);
    let bytes = load_metadata(&**repo.objects(), &name).await?;
    bytes.ok_or_else(|| Error::missing("is not in the repository").about(name))
}

fn decode(bytes: Option<&Bytes>) -> Result<Dict> {
    match bytes {
        Some(bytes) => Ok(Dict::decode(bytes)?),
        None => Ok(Dict::new()),
    }
}

async fn change_detached(
    repo: &Repo,
    commit: &Checksum,
    change: impl Fn(&mut Dict) -> Result<()> + Send + Sync,
) -> Result<()> {
    let name = ObjectName::commit(*commit);
    let mut held = repo.state().read_detached(commit).await?;
    for _ in 0..SWAPS_MAX {
        let mut metadata = decode(held.as_ref()).map_err(|e| e.about(name))?;
        change(&mut metadata).map_err(|e| e.about(name))?;
        let new = Some(Bytes::from(metadata.encode()));
        if new == held {
            return Ok(());
        }
        match repo
            .state()
            .swap_detached(commit, held.as_ref(), new)
            .await?
        {
            Swap::Done => return Ok(()),
            Swap::Conflict { current } => held = current,
        }
    }
    let problem = "its detached metadata is being changed by others: try again";
    Err(Error::new(ErrorKind::Locked, problem).about(name))
}
