//! What a repository holds besides objects and refs.

use std::os::fd::BorrowedFd;

use async_trait::async_trait;
use bytes::Bytes;
use rustix::fs::Mode;
use treeferry_core::error::{Error, Result};
use treeferry_core::format::delta::DeltaFile;
use treeferry_core::format::{Checksum, METADATA_BYTES_MAX, ObjectName};
use treeferry_core::store::{ExtraName, ListedDeltaFile, Partial, RepoState, SignedSummary, Swap};
use treeferry_core::transport::{FetchedFile, PutBody};

use crate::config::{CONFIG_BYTES_MAX, Config};
use crate::deltas;
use crate::layout::{detached_path, partial_path, tombstone_path};
use crate::repo::FsRepo;
use crate::staging::make_fanout;
use crate::sys;

const PARTIAL_SUFFIX: &str = ".commitpartial";
const SUMMARY: &str = "summary";
const SIGNATURE: &str = "summary.sig";
/// How often a summary that changes while it is read is read again.
const SUMMARY_READS_MAX: usize = 16;
const PUBLIC: Mode = Mode::from_raw_mode(0o644);
const PRIVATE: Mode = Mode::from_raw_mode(0o600);

impl FsRepo {
    /// Replaces, or removes, a file that lies among the objects. Blocking.
    fn write_beside_objects(
        &self,
        commit: &Checksum,
        path: &str,
        bytes: Option<&[u8]>,
    ) -> Result<()> {
        let objects = self.inner.shelf.fd();
        let Some(bytes) = bytes else {
            return self.remove(objects, path);
        };
        if make_fanout(objects, commit.as_bytes()[0])? {
            sys::sync_dir(objects, ".", self.durable())?;
        }
        sys::replace_file(objects, path, bytes, PUBLIC, self.durable())
    }

    fn remove(&self, dir: BorrowedFd<'_>, path: &str) -> Result<()> {
        match sys::remove_file(dir, path)? {
            true => sys::sync_parent(dir, path, self.durable()),
            false => Ok(()),
        }
    }

    fn read_detached_blocking(&self, commit: &Checksum) -> Result<Option<Bytes>> {
        let path = detached_path(commit);
        let found = sys::read_file(self.inner.shelf.fd(), &path, METADATA_BYTES_MAX)?;
        match (found, self.parent()) {
            (None, Some(parent)) => parent.read_detached_blocking(commit),
            (found, _) => Ok(found),
        }
    }

    fn read_summary_blocking(&self) -> Result<Option<SignedSummary>> {
        // Two files cannot be replaced as one. Our own writers are locked out; of others it can
        // be told when they replace a file while it is being read.
        for _ in 0..SUMMARY_READS_MAX {
            let before = self.identities()?;
            let summary = sys::read_file(self.dir(), SUMMARY, METADATA_BYTES_MAX)?;
            let signature = sys::read_file(self.dir(), SIGNATURE, METADATA_BYTES_MAX)?;
            if before == self.identities()? {
                return Ok(summary.map(|summary| SignedSummary { summary, signature }));
            }
        }
        let problem = "keeps changing while it is read: try again";
        let kind = treeferry_core::ErrorKind::Unavailable { retry_after: None };
        Err(Error::new(kind, problem).about(self.path().join(SUMMARY)))
    }

    fn identities(&self) -> Result<[Option<(u64, i64, u64)>; 2]> {
        let identity = |name| -> Result<_> {
            let stat = sys::stat(self.dir(), name)?;
            Ok(stat.map(|s| (s.st_ino, s.st_ctime, u64::from(s.st_ctime_nsec as u32))))
        };
        Ok([identity(SUMMARY)?, identity(SIGNATURE)?])
    }

    fn write_summary_blocking(&self, summary: Option<SignedSummary>) -> Result<()> {
        let (dir, durable) = (self.dir(), self.durable());
        let Some(signed) = summary else {
            // Without its summary a signature is nothing; the reverse is an unsigned summary,
            // which is believed by those who do not verify.
            self.remove(dir, SUMMARY)?;
            return self.remove(dir, SIGNATURE);
        };
        let summary = sys::prepare_file(dir, SUMMARY, &signed.summary, PUBLIC, durable)?;
        // Both are durable before either shows, so that all that can come between them is the
        // moment between two renames; a mismatch seen then is refused, never believed.
        match &signed.signature {
            Some(signature) => {
                let signature = sys::prepare_file(dir, SIGNATURE, signature, PUBLIC, durable)?;
                summary.rename()?;
                signature.rename()?;
            }
            None => {
                sys::remove_file(dir, SIGNATURE)?;
                summary.rename()?;
            }
        }
        sys::sync_dir(dir, ".", durable)
    }

    /// Reads the mark of a commit where the commit is: here, or in a parent. Blocking.
    fn read_partial_blocking(&self, commit: &Checksum) -> Result<Option<Partial>> {
        let mark = sys::read_file(self.dir(), &partial_path(commit), METADATA_BYTES_MAX)?;
        let mark = mark.map(|mark| match &mark[..] {
            b"f" => Partial::Damaged,
            _ => Partial::Fetching,
        });
        match self.parent() {
            Some(parent)
                if mark.is_none()
                    && self
                        .inner
                        .shelf
                        .stat(&ObjectName::commit(*commit))?
                        .is_none() =>
            {
                parent.read_partial_blocking(commit)
            }
            _ => Ok(mark),
        }
    }

    fn write_partial_blocking(&self, commit: &Checksum, partial: Option<Partial>) -> Result<()> {
        let path = partial_path(commit);
        let mark: &[u8] = match partial {
            None => return self.remove(self.dir(), &path),
            Some(Partial::Fetching) => b"",
            Some(Partial::Damaged) => b"f",
        };
        sys::make_dirs(self.dir(), "state", self.durable())?;
        sys::replace_file(self.dir(), &path, mark, PUBLIC, self.durable())
    }

    fn swap_config_blocking(&self, expected: &Bytes, new: &Bytes) -> Result<Swap> {
        let current = read_config(self)?;
        if current != *expected {
            return Ok(Swap::Conflict {
                current: Some(current),
            });
        }
        // What could not be opened any more must not be written.
        Config::parse(new)?;
        let stat = sys::stat(self.dir(), "config")?;
        let mode = stat.map_or(PUBLIC, |stat| Mode::from_raw_mode(stat.st_mode & 0o7777));
        sys::replace_file(self.dir(), "config", new, mode, self.durable())?;
        Ok(Swap::Done)
    }
}

fn read_config(repo: &FsRepo) -> Result<Bytes> {
    let bytes = sys::read_file(repo.dir(), "config", CONFIG_BYTES_MAX)?;
    bytes.ok_or_else(|| Error::missing("its config is gone").about(repo.path()))
}

#[async_trait]
impl RepoState for FsRepo {
    async fn read_detached(&self, commit: &Checksum) -> Result<Option<Bytes>> {
        let commit = *commit;
        self.run(move |repo| repo.read_detached_blocking(&commit))
            .await
    }

    async fn swap_detached(
        &self,
        commit: &Checksum,
        expected: Option<&Bytes>,
        new: Option<Bytes>,
    ) -> Result<Swap> {
        let lock = self.lock_state().await?;
        let (commit, expected) = (*commit, expected.cloned());
        self.run(move |repo| {
            let _held = lock;
            let current = repo.read_detached_blocking(&commit)?;
            if current != expected {
                return Ok(Swap::Conflict { current });
            }
            let path = detached_path(&commit);
            repo.write_beside_objects(&commit, &path, new.as_deref())?;
            Ok(Swap::Done)
        })
        .await
    }

    async fn read_partial(&self, commit: &Checksum) -> Result<Option<Partial>> {
        let commit = *commit;
        self.run(move |repo| repo.read_partial_blocking(&commit))
            .await
    }

    async fn write_partial(&self, commit: &Checksum, partial: Option<Partial>) -> Result<()> {
        let commit = *commit;
        self.run(move |repo| repo.write_partial_blocking(&commit, partial))
            .await
    }

    async fn list_partial(&self) -> Result<Vec<Checksum>> {
        self.run(|repo| {
            let names = sys::names_in(repo.dir(), "state")?;
            let commits = names
                .iter()
                .filter_map(|name| name.strip_suffix(PARTIAL_SUFFIX));
            let mut commits: Vec<Checksum> = commits.filter_map(|hex| hex.parse().ok()).collect();
            commits.sort_unstable();
            Ok(commits)
        })
        .await
    }

    async fn read_tombstone(&self, commit: &Checksum) -> Result<Option<Bytes>> {
        let path = tombstone_path(commit);
        self.run(move |repo| sys::read_file(repo.inner.shelf.fd(), &path, METADATA_BYTES_MAX))
            .await
    }

    async fn write_tombstone(&self, commit: &Checksum, tombstone: Option<Bytes>) -> Result<()> {
        let commit = *commit;
        self.run(move |repo| {
            let path = tombstone_path(&commit);
            repo.write_beside_objects(&commit, &path, tombstone.as_deref())
        })
        .await
    }

    async fn read_summary(&self) -> Result<Option<SignedSummary>> {
        let lock = self.lock_state_to_read().await?;
        self.run(move |repo| {
            let _held = lock;
            repo.read_summary_blocking()
        })
        .await
    }

    async fn write_summary(&self, summary: Option<SignedSummary>) -> Result<()> {
        let lock = self.lock_state().await?;
        self.run(move |repo| {
            let _held = lock;
            repo.write_summary_blocking(summary)
        })
        .await
    }

    async fn read_config(&self) -> Result<Bytes> {
        self.run(read_config).await
    }

    async fn swap_config(&self, expected: &Bytes, new: Bytes) -> Result<Swap> {
        let lock = self.lock_state().await?;
        let expected = expected.clone();
        self.run(move |repo| {
            let _held = lock;
            repo.swap_config_blocking(&expected, &new)
        })
        .await
    }

    async fn read_extra(&self, name: &ExtraName) -> Result<Option<Bytes>> {
        let name = name.file_name();
        self.run(move |repo| sys::read_file(repo.dir(), &name, METADATA_BYTES_MAX))
            .await
    }

    async fn write_extra(&self, name: &ExtraName, bytes: Option<Bytes>) -> Result<()> {
        let mode = match name {
            ExtraName::Keyring(_) => PUBLIC,
            // Cookies let whoever has them in.
            ExtraName::Cookies(_) => PRIVATE,
        };
        let name = name.file_name();
        self.run(move |repo| match bytes {
            Some(bytes) => sys::replace_file(repo.dir(), &name, &bytes, mode, repo.durable()),
            None => repo.remove(repo.dir(), &name),
        })
        .await
    }

    async fn list_delta_files(&self) -> Result<Vec<ListedDeltaFile>> {
        self.run(deltas::list).await
    }

    async fn open_delta_file(&self, file: &DeltaFile, offset: u64) -> Result<Option<FetchedFile>> {
        deltas::open(self, *file, offset).await
    }

    async fn write_delta_file(&self, file: &DeltaFile, body: PutBody) -> Result<()> {
        deltas::write(self, *file, body).await
    }

    async fn delete_delta_files(&self, files: &[DeltaFile]) -> Result<()> {
        let files = files.to_vec();
        self.run(move |repo| deltas::delete(repo, &files)).await
    }
}
