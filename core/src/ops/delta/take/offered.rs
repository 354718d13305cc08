//! Which deltas of the source make a commit that is copied.

use std::collections::{HashMap, HashSet};

use futures::stream::{self, StreamExt, TryStreamExt};

use super::{Offer, Taking};
use crate::error::{ErrorKind, Result};
use crate::format::delta::DeltaFile;
use crate::format::{Checksum, Commit};
use crate::ops::delta::Listed;
use crate::repo::{Depth, load_commit};
use crate::store::ObjectSource;
use crate::transport::retrying;

/// How many commits are asked for the deltas that make them at once.
const INDEXES_AT_ONCE: usize = 8;

impl Taking<'_> {
    /// Returns the deltas of the source that make a commit which is copied, sorted.
    pub(super) async fn offered(&self, commits: &[Checksum], depth: Depth) -> Result<Vec<Offer>> {
        // A signed summary vouches for what it lists: for no other file then.
        let can_list = !self.policy.summary.is_required();
        let files = match can_list {
            true => {
                let list = || self.remote.list_delta_files();
                retrying(&self.retry, || Box::pin(list())).await?
            }
            false => None,
        };
        let mut offered: Vec<Offer> = match files {
            Some(files) => {
                let names = files.iter().filter_map(|listed| match listed.file {
                    DeltaFile::Superblock(name) => Some(name),
                    _ => None,
                });
                let names: Vec<_> = names.collect();
                let wanted: HashSet<_> = names.iter().map(|name| name.to).collect();
                let copied = self.copied(commits, depth, Some(&wanted)).await?;
                let names = names.into_iter().filter(|name| copied.contains(&name.to));
                names.map(|name| (name, None)).collect()
            }
            None => {
                let listed = &self.listed().await?;
                let copied = self.copied(commits, depth, None).await?;
                let asked = copied.iter().map(|commit| async move {
                    listed.making(commit, self.remote, &self.retry).await
                });
                let asked = stream::iter(asked).buffer_unordered(INDEXES_AT_ONCE);
                let found: Vec<_> = asked.try_collect().await?;
                let found = found.into_iter().flatten();
                found.map(|(name, sum)| (name, Some(sum))).collect()
            }
        };
        offered.sort_unstable_by_key(|(name, _)| *name);
        Ok(offered)
    }

    /// Returns what the summary says of deltas.
    async fn listed(&self) -> Result<Listed> {
        if let Some(summary) = self.summary {
            return Listed::of(summary);
        }
        if self.policy.summary.is_required() {
            return Ok(Listed::default());
        }
        let read = || self.remote.read_summary();
        let summary = retrying(&self.retry, || Box::pin(read())).await?;
        summary.map_or_else(|| Ok(Listed::default()), |summary| Listed::of(&summary))
    }

    /// Returns the commits that are copied; where only some are `wanted`, as far as all of them are met.
    async fn copied(
        &self,
        commits: &[Checksum],
        depth: Depth,
        wanted: Option<&HashSet<Checksum>>,
    ) -> Result<HashSet<Checksum>> {
        let mut seen: HashMap<Checksum, Depth> = HashMap::new();
        let mut left: HashSet<_> = wanted.cloned().unwrap_or_default();
        let mut next: Vec<_> = commits.iter().map(|commit| (*commit, depth)).collect();
        // All that were asked for first: mostly it is they that deltas make.
        for commit in commits {
            left.remove(commit);
        }
        while let Some((commit, depth)) = next.pop() {
            if seen.get(&commit).is_some_and(|held| held.covers(depth)) {
                continue;
            }
            seen.insert(commit, depth);
            left.remove(&commit);
            if wanted.is_some() && left.is_empty() {
                seen.extend(next.drain(..));
                break;
            }
            let Some(above) = depth.step() else { continue };
            if let Some(parent) = self.read(&commit).await?.and_then(|commit| commit.parent) {
                next.push((parent, above));
            }
        }
        Ok(seen.into_keys().collect())
    }

    /// Reads a commit where that costs least; `None`: history ends before it.
    async fn read(&self, commit: &Checksum) -> Result<Option<Commit>> {
        let here: &dyn ObjectSource = &**self.destination.objects();
        let places = match self.objects.local() {
            Some(_) => [self.objects, here],
            None => [here, self.objects],
        };
        for place in places {
            let read = || load_commit(place, commit);
            match retrying(&self.retry, || Box::pin(read())).await {
                Ok(commit) => return Ok(Some(commit)),
                Err(error) if error.kind() == ErrorKind::Missing => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}
