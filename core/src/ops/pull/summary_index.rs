//! Refs of remotes that have flatpak's index of summaries, and no summary that has them all.

use super::summary::{check_age, verify};
use super::{PullOptions, PullSource};
use crate::codec::gunzip;
use crate::error::{Error, Result, Subject};
use crate::format::{Checksum, METADATA_BYTES_MAX, SubSummary, Summary, SummaryIndex, SummaryRef};
use crate::ops::replicate::Retry;
use crate::pool::Pool;
use crate::repo::Repo;
use crate::transport::retrying;

/// The index of a remote, verified as its summary would have to be.
#[derive(Debug)]
pub(super) struct IndexedRefs<'a> {
    source: &'a PullSource,
    retry: Retry,
    index: SummaryIndex,
}

impl<'a> IndexedRefs<'a> {
    /// Reads the index; `None`: there is none.
    ///
    /// # Errors
    ///
    /// [`Untrusted`](crate::ErrorKind::Untrusted) when summaries must be signed and it is not.
    pub(super) async fn read(
        pool: &Pool,
        source: &'a PullSource,
        options: &PullOptions,
    ) -> Result<Option<Self>> {
        let (policy, retry) = (&options.verify, &options.replicate.retry);
        let read = || source.repo.read_summary_index();
        let Some(signed) = retrying(retry, || Box::pin(read())).await? else {
            return Ok(None);
        };
        let about = |e: Error| e.about(Subject::Url(source.repo.describe()));
        let verified = verify(pool, policy, &signed, "its index of summaries");
        verified.await.map_err(about)?;
        let index = SummaryIndex::parse(&signed.summary);
        let index = index.map_err(|e| {
            let problem = "its index of summaries is not well formed";
            about(Error::corrupt(problem).because(e))
        })?;
        check_age(options, &index.metadata, None).map_err(about)?;
        Ok(Some(Self {
            source,
            retry: *retry,
            index,
        }))
    }

    /// Finds a ref: first in the sub-summary that is called as a part of its name, as those of
    /// architectures are.
    pub(super) async fn find(&self, repo: &Repo, branch: &str) -> Result<Option<Checksum>> {
        let mut entries: Vec<_> = self.index.entries.iter().collect();
        entries.sort_by_key(|entry| !branch.split('/').any(|part| part == entry.name));
        let mut read = Vec::new();
        for entry in entries {
            if read.contains(&entry.checksum) {
                continue;
            }
            read.push(entry.checksum);
            if let Some(found) = self.read_refs(repo, entry).await?.find(branch) {
                return Ok(Some(found.commit));
            }
        }
        Ok(None)
    }

    /// Returns all refs, sorted by name, each once.
    pub(super) async fn all(&self, repo: &Repo) -> Result<Vec<SummaryRef>> {
        let mut refs = Vec::new();
        for entry in &self.index.entries {
            refs.extend(self.read_refs(repo, entry).await?.refs);
        }
        refs.sort_by(|a, b| a.name.cmp(&b.name));
        refs.dedup_by(|a, b| a.name == b.name);
        Ok(refs)
    }

    /// Reads a sub-summary, which is what the index says by its hash.
    async fn read_refs(&self, repo: &Repo, entry: &SubSummary) -> Result<Summary> {
        let checksum = entry.checksum;
        let about = |e: Error| {
            let what = format!("the sub-summary '{}' of its index", entry.name);
            let url = Subject::Url(self.source.repo.describe());
            e.context(what).about(url)
        };
        let read = || self.source.repo.read_sub_summary(&checksum);
        let packed = retrying(&self.retry, || Box::pin(read())).await?;
        let packed = packed.ok_or_else(|| about(Error::missing("is not there")))?;
        let codec = repo.codec().clone();
        let unpack = move || {
            let bytes = gunzip(&*codec, &packed, METADATA_BYTES_MAX)?;
            let found = Checksum::of(&bytes);
            if found != checksum {
                let problem = format!("has the checksum {found}, not {checksum}");
                return Err(Error::corrupt(problem));
            }
            Ok(Summary::parse(&bytes)?)
        };
        repo.pool().run(unpack).await.map_err(about)
    }
}
