//! The deltas that another place offers: which there are, and their superblocks, verified.

use std::sync::Arc;

use super::{ApplyBudget, DeltaPlace, OpenDelta, check_bytes, keep, verify};
use crate::error::{Error, Result};
use crate::format::delta::{DELTAS_KEY, DeltaFile, DeltaIndex, DeltaName, ReadAt, read_delta_map};
use crate::format::{Checksum, Summary};
use crate::pool::Pool;
use crate::repo::RemoteRepo;
use crate::sign::{Trust, VerifyPolicy};
use crate::store::SignedSummary;
use crate::transport::{FetchOptions, Retry, retrying};

/// The longest index of deltas, bytes.
const INDEX_BYTES_MAX: u64 = 10 << 20;

/// What the summary says of deltas.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    pub(crate) deltas: Vec<(DeltaName, Checksum)>,
    /// Whether it is the whole list.
    pub(crate) complete: bool,
}

impl Listed {
    pub(crate) fn of(summary: &SignedSummary) -> Result<Self> {
        let parsed = Summary::parse(&summary.summary)?;
        let indexed = parsed.metadata.get("ostree.summary.indexed-deltas");
        let is_indexed = indexed.and_then(|value| value.as_bool()).unwrap_or(false);
        let deltas = read_delta_map(&parsed.metadata)?;
        Ok(Self {
            complete: !is_indexed && parsed.metadata.contains(DELTAS_KEY),
            deltas: deltas.unwrap_or_default(),
        })
    }

    /// Returns the deltas that make `commit`, and what their superblocks hash to: from the list, or
    /// where that does not have them all, from the index of the commit.
    pub(crate) async fn making(
        &self,
        commit: &Checksum,
        remote: &dyn RemoteRepo,
        retry: &Retry,
    ) -> Result<Vec<(DeltaName, Checksum)>> {
        let mut known: Vec<(DeltaName, Checksum)> = self.deltas.clone();
        known.retain(|(name, _)| name.to == *commit);
        if known.is_empty() && !self.complete {
            known = read_index(commit, remote, retry).await?.deltas;
            known.retain(|(name, _)| name.to == *commit);
        }
        Ok(known)
    }
}

async fn read_index(
    commit: &Checksum,
    remote: &dyn RemoteRepo,
    retry: &Retry,
) -> Result<DeltaIndex> {
    // Nothing vouches for an index but a signed summary that says there are some; where
    // summaries must be signed and this one lists deltas itself, it was not asked for.
    let file = DeltaFile::Index(*commit);
    let read = || async move {
        let options = FetchOptions {
            bytes_max: Some(INDEX_BYTES_MAX),
            ..FetchOptions::default()
        };
        match remote.open_delta_file(&file, options).await? {
            Some(opened) => opened.collect(INDEX_BYTES_MAX).await.map(Some),
            None => Ok(None),
        }
    };
    let bytes = retrying(retry, || Box::pin(read())).await?;
    Ok(match bytes {
        Some(bytes) => DeltaIndex::parse(&bytes)?,
        None => DeltaIndex::default(),
    })
}

/// What is demanded of a superblock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Demands<'a> {
    pub(crate) name: DeltaName,
    /// What its file must hash to, if that is known.
    pub(crate) checksum: Option<Checksum>,
    pub(crate) policy: &'a VerifyPolicy,
    pub(crate) budget: &'a ApplyBudget,
    pub(crate) retry: &'a Retry,
}

/// A superblock that was fetched.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) delta: OpenDelta,
    /// Its file, signatures and all.
    pub(crate) file: Arc<dyn ReadAt>,
}

/// Fetches the superblock of a delta. `None` when there is none.
pub(crate) async fn open_superblock(
    remote: &dyn RemoteRepo,
    demands: Demands<'_>,
    pool: &Pool,
) -> Result<Option<Fetched>> {
    let budget = demands.budget;
    let file = DeltaFile::Superblock(demands.name);
    let read = || async move {
        let options = FetchOptions {
            bytes_max: Some(budget.part_bytes_max),
            ..FetchOptions::default()
        };
        match remote.open_delta_file(&file, options).await? {
            Some(opened) => keep(opened, &budget.spill, budget.part_bytes_max, pool)
                .await
                .map(Some),
            None => Ok(None),
        }
    };
    let bytes = retrying(demands.retry, || Box::pin(read())).await?;
    let Some(bytes) = bytes else { return Ok(None) };
    let (expected, owned, pool_of_delta) = (demands.checksum, budget.clone(), pool.clone());
    let parsed = Arc::clone(&bytes);
    let parse = move || {
        if let Some(expected) = expected {
            check_bytes(&*parsed, &expected)?;
        }
        OpenDelta::read(parsed, DeltaPlace::Inside, &owned, &pool_of_delta)
    };
    let delta = pool.run(parse).await?;
    let superblock = &delta.superblock;
    if superblock.name != demands.name || Checksum::of(&superblock.commit) != demands.name.to {
        let problem = format!("the delta served as {} is another", demands.name);
        return Err(Error::corrupt(problem));
    }
    if let Trust::Signed(verifier) = &demands.policy.deltas {
        let verdict = verify(&delta, verifier, demands.policy.now_secs, pool);
        verdict.await?.into_result()?;
    }
    Ok(Some(Fetched { delta, file: bytes }))
}
