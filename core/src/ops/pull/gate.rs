//! Checks a commit before anything it names is fetched: who signed it, where it belongs, how old it
//! is. Keeps its detached metadata.

use std::collections::HashMap;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Mutex;

use super::refs::Planned;
use super::{AgeCheck, Bindings, EndOfLife, Freshness, PullOptions, PullSource};
use crate::error::{Error, Result, Subject};
use crate::format::gvariant::Dict;
use crate::format::{Branch, Checksum, Commit, ObjectName};
use crate::ops::replicate::{CommitGate, Retry};
use crate::repo::Repo;
use crate::sign::{Trust, VerifyPolicy, require};
use crate::store::{RefValue, Swap};
use crate::transport::retrying;

#[derive(Debug)]
pub(super) struct PullGate {
    repo: Repo,
    source: PullSource,
    retry: Retry,
    bindings: Bindings,
    collection: Option<String>,
    verify: VerifyPolicy,
    freshness: Freshness,
    asked_for: HashMap<Checksum, Vec<AskedFor>>,
    /// What came for each commit, until it can be kept.
    detached: Mutex<Vec<(Checksum, Bytes)>>,
    /// What the commits that were asked for say of the end of their branches.
    ends: Mutex<HashMap<Checksum, EndOfLife>>,
}

/// Under which name a commit was asked for, and the oldest it may be.
#[derive(Debug)]
struct AskedFor {
    branch: Option<Branch>,
    not_before: Option<(u64, Checksum)>,
}

impl PullGate {
    pub(super) async fn new(
        repo: &Repo,
        source: &PullSource,
        options: &PullOptions,
        planned: &[Planned],
    ) -> Result<Self> {
        let mut asked_for: HashMap<_, Vec<_>> = HashMap::new();
        for planned in planned {
            let older = match (options.age, &planned.before) {
                (AgeCheck::NotOlderThan(commit), _) => Some(commit),
                (AgeCheck::NotOlderThanRef, Some(RefValue::Commit(commit))) => Some(*commit),
                (AgeCheck::NotOlderThanRef, Some(RefValue::Alias(target))) => {
                    repo.follow_ref(target).await?
                }
                (AgeCheck::NotOlderThanRef, None) | (AgeCheck::Any, _) => None,
            };
            let not_before = match older {
                Some(commit) => Some((repo.load_commit(&commit).await?.timestamp, commit)),
                None => None,
            };
            let asked = AskedFor {
                branch: planned.branch.clone(),
                not_before,
            };
            asked_for.entry(planned.commit).or_default().push(asked);
        }
        Ok(Self {
            repo: repo.clone(),
            source: source.clone(),
            retry: options.replicate.retry,
            bindings: options.bindings,
            collection: options.collection_id.as_ref().map(ToString::to_string),
            verify: options.verify.clone(),
            freshness: options.freshness,
            asked_for,
            detached: Mutex::default(),
            ends: Mutex::default(),
        })
    }

    /// Fetches what stands beside a commit; `None` if there is nothing, or nothing to be kept.
    async fn fetch_detached(&self, checksum: &Checksum) -> Result<Option<Bytes>> {
        let read = || self.source.repo.read_detached(checksum);
        let Some(detached) = retrying(&self.retry, || Box::pin(read())).await? else {
            return Ok(None);
        };
        match Dict::decode(&detached) {
            Ok(_) => {
                let kept = (*checksum, detached.clone());
                self.detached.lock().await.push(kept);
            }
            // The commit says nothing about it, and may be whole. Where signatures are required
            // they are missing now.
            Err(error) => tracing::warn!(%checksum, %error, "its detached metadata is not kept"),
        }
        Ok(Some(detached))
    }

    /// Verifies the signatures of a commit. Those it has here count as well, so that a remote which
    /// serves none any more takes nothing away.
    async fn verify(
        &self,
        checksum: &Checksum,
        bytes: &Bytes,
        detached: Option<Bytes>,
    ) -> Result<()> {
        let Trust::Signed(verifier) = &self.verify.commits else {
            return Ok(());
        };
        let detached = match detached {
            None => self.repo.state().read_detached(checksum).await?,
            found => found,
        };
        let (verifier, bytes, now) = (verifier.clone(), bytes.clone(), self.verify.now_secs);
        let pool = self.repo.pool();
        pool.run(move || require(&*verifier, &bytes, detached.as_deref(), now).map(drop))
            .await
    }

    /// Keeps the detached metadata of the commits that came in: after they did, so that a pull that
    /// fails changes nothing, and before the refs move.
    pub(super) async fn keep_detached(&self) -> Result<()> {
        for (checksum, detached) in self.detached.lock().await.drain(..) {
            let state = self.repo.state();
            let mut held: Option<Bytes> = state.read_detached(&checksum).await?;
            while held.as_ref() != Some(&detached) {
                let new = Some(detached.clone());
                match state.swap_detached(&checksum, held.as_ref(), new).await? {
                    Swap::Done => break,
                    Swap::Conflict { current } => held = current,
                }
            }
        }
        Ok(())
    }

    /// Returns which of the commits that were asked for say that their branches end.
    pub(super) async fn take_ends(&self) -> HashMap<Checksum, EndOfLife> {
        std::mem::take(&mut *self.ends.lock().await)
    }

    fn check_bindings(&self, commit: &Commit, branch: &Branch) -> Result<()> {
        let about = |problem: String| Err(Error::invalid(problem));
        if let Some(bound) = commit.metadata.get("ostree.ref-binding") {
            let bound = bound.as_slice().unwrap_or_default();
            if !bound
                .iter()
                .any(|name| name.as_str() == Some(branch.as_str()))
            {
                let names: Vec<_> = bound.iter().filter_map(|n| n.as_str()).collect();
                return about(format!(
                    "is not bound to the ref '{branch}' that it was pulled as, but to: {}",
                    names.join(", ")
                ));
            }
        }
        let Some(wanted) = &self.collection else {
            return Ok(());
        };
        let bound = commit
            .metadata
            .get("ostree.collection-binding")
            .and_then(|v| v.as_str());
        match bound {
            Some(bound) if bound == wanted => Ok(()),
            Some(bound) => about(format!(
                "is bound to the collection '{bound}', the remote's is '{wanted}'"
            )),
            None => about(format!(
                "is bound to no collection, the remote's is '{wanted}'"
            )),
        }
    }

    fn check(&self, asked: &AskedFor, commit: &Commit) -> Result<()> {
        if let (Bindings::Verify, Some(branch)) = (self.bindings, &asked.branch) {
            self.check_bindings(commit, branch)?;
        }
        let (limit, now) = (self.freshness.commit_age_secs_max, self.verify.now_secs);
        if let Some(problem) = Freshness::too_old(limit, commit.timestamp, now)? {
            return Err(Error::new(crate::ErrorKind::Untrusted, problem));
        }
        if let Some((oldest, reference)) = asked.not_before
            && commit.timestamp < oldest
        {
            let problem = format!(
                "is older (timestamp {}) than commit {reference} (timestamp {oldest}): a step back \
                 is refused",
                commit.timestamp
            );
            let error = Error::invalid(problem);
            return Err(match &asked.branch {
                Some(branch) => error.about(Subject::Ref(branch.to_string())),
                None => error,
            });
        }
        Ok(())
    }
}

#[async_trait]
impl CommitGate for PullGate {
    async fn admit(&self, checksum: &Checksum, commit: &Commit, bytes: &Bytes) -> Result<()> {
        let about = |error: Error| error.about(ObjectName::commit(*checksum));
        let detached = self.fetch_detached(checksum).await?;
        self.verify(checksum, bytes, detached)
            .await
            .map_err(about)?;
        let Some(asked_for) = self.asked_for.get(checksum) else {
            return Ok(());
        };
        for asked in asked_for {
            self.check(asked, commit).map_err(about)?;
        }
        if let Some(end) = EndOfLife::of(commit) {
            self.ends.lock().await.insert(*checksum, end);
        }
        Ok(())
    }
}
