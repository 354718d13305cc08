//! A delta that is at hand: a file, a directory, or what a repository keeps.

use std::fmt::{self, Debug};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;

use super::execute::{PartFile, PartSource};
use super::{ApplyBudget, SpillPlace};
use crate::error::{Error, Result, from_read};
use crate::format::delta::{
    DeltaFile, DeltaName, PartHeader, Range, ReadAt, SignedSuperblock, Superblock,
};
use crate::format::gvariant::Dict;
use crate::format::{Checksum, Hasher};
use crate::pool::Pool;
use crate::repo::Repo;
use crate::store::{Payload, RepoState};
use crate::transport::FetchedFile;

/// The most bytes of signatures that are read.
const SIGNATURES_BYTES_MAX: u64 = 1 << 20;

/// Where the parts of a delta are that are not inside of its superblock.
#[derive(Debug, Clone)]
pub enum DeltaPlace {
    /// Nowhere: all must be inside.
    Inside,
    /// Files in a directory, named by their numbers.
    Directory(PathBuf),
    /// Files that a repository keeps.
    State(Arc<dyn RepoState>),
}

/// A delta whose superblock is read.
#[derive(Clone)]
pub struct OpenDelta {
    /// What the delta consists of.
    pub superblock: Arc<Superblock>,
    /// Signatures over the bytes of the superblock, by key; `None`: it has no wrapper for them.
    pub signatures: Option<Dict>,
    bytes: Arc<dyn ReadAt>,
    place: DeltaPlace,
    pool: Pool,
}

impl OpenDelta {
    /// Opens a delta of one file, or the one whose superblock lies in a directory. **Blocking.**
    pub fn open_path(path: &Path, budget: &ApplyBudget, pool: &Pool) -> Result<Self> {
        let about = |e| Error::io("cannot be read", e).about(path);
        let found = std::fs::metadata(path).map_err(about)?;
        let (file, directory) = match found.is_dir() {
            true => (path.join("superblock"), path.to_path_buf()),
            false => {
                let parent = path.parent().unwrap_or(Path::new("."));
                (path.to_path_buf(), parent.to_path_buf())
            }
        };
        let opened = File::open(&file).map_err(|e| Error::io("cannot be read", e).about(&*file))?;
        let metadata = opened.metadata().map_err(about)?;
        if !metadata.is_file() {
            let problem = "is no file: a delta from a pipe is spooled first";
            return Err(Error::invalid(problem).about(&*file));
        }
        let bytes = Arc::new((opened, metadata.len()));
        Self::read(bytes, DeltaPlace::Directory(directory), budget, pool)
            .map_err(|e| e.context(format!("{}: cannot be read as a delta", file.display())))
    }

    /// Reads a delta that comes from a pipe, of at most `bytes_max` bytes, which are kept in the
    /// budget's place meanwhile: the format needs its end first. **Blocking.**
    pub fn spool(
        mut from: impl Read,
        bytes_max: u64,
        budget: &ApplyBudget,
        pool: &Pool,
    ) -> Result<Self> {
        let mut spool = budget.spill.create(bytes_max)?;
        io::copy(&mut from, &mut spool).map_err(|e| from_read("cannot be read", e))?;
        Self::read(spool.finish()?, DeltaPlace::Inside, budget, pool)
    }

    /// Reads the superblock `bytes`, in its wrapper for signatures or not. **Blocking.**
    pub fn read(
        bytes: Arc<dyn ReadAt>,
        place: DeltaPlace,
        budget: &ApplyBudget,
        pool: &Pool,
    ) -> Result<Self> {
        let wrapper = SignedSuperblock::read(&*bytes, SIGNATURES_BYTES_MAX)?;
        let (bytes, signatures) = match wrapper {
            Some(wrapper) => {
                let inner: Arc<dyn ReadAt> = Arc::new(Section(bytes, wrapper.superblock));
                (inner, Some(wrapper.signatures))
            }
            None => (bytes, None),
        };
        let superblock = Superblock::read(&*bytes, budget.superblock_bytes_max)?;
        Ok(Self {
            superblock: Arc::new(superblock),
            signatures,
            bytes,
            place,
            pool: pool.clone(),
        })
    }

    /// Opens a delta that `repo` keeps; `None` when there is none of that name.
    pub async fn open_kept(
        repo: &Repo,
        name: &DeltaName,
        budget: &ApplyBudget,
    ) -> Result<Option<Self>> {
        let file = DeltaFile::Superblock(*name);
        let Some(opened) = repo.state().open_delta_file(&file, 0).await? else {
            return Ok(None);
        };
        let bytes = keep(opened, &budget.spill, u64::MAX, repo.pool()).await?;
        let place = DeltaPlace::State(Arc::clone(repo.state()));
        let (budget, pool) = (budget.clone(), repo.pool().clone());
        let read = move || Self::read(bytes, place, &budget, &pool);
        let delta = repo.pool().run(read).await;
        let delta = delta.map_err(|e| e.context(format!("the delta {name} cannot be read")))?;
        if delta.superblock.name != *name {
            let problem = format!("the delta kept as {name} is {}", delta.superblock.name);
            return Err(Error::corrupt(problem));
        }
        Ok(Some(delta))
    }

    /// Returns the bytes of the superblock: what signatures are over.
    pub fn bytes(&self) -> &Arc<dyn ReadAt> {
        &self.bytes
    }
}

/// Checks that bytes hash to what is expected of them. **Blocking.**
pub(crate) fn check_bytes(bytes: &dyn ReadAt, expected: &Checksum) -> Result<()> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 128 * 1024];
    let mut at = 0;
    while at < bytes.total_bytes() {
        let left = bytes.total_bytes() - at;
        let n = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        bytes.read_exact_at(at, &mut buffer[..n])?;
        hasher.update(&buffer[..n]);
        at += n as u64;
    }
    let found = hasher.finish();
    if found != *expected {
        let problem = format!("the superblock has the checksum {found}, not {expected}");
        return Err(Error::corrupt(problem));
    }
    Ok(())
}

/// Gathers what arrives in `spill`.
pub(crate) async fn keep(
    mut file: FetchedFile,
    spill: &SpillPlace,
    bytes_max: u64,
    pool: &Pool,
) -> Result<Arc<dyn ReadAt>> {
    let place = spill.clone();
    let mut kept = pool.run(move || place.create(bytes_max)).await?;
    while let Some(chunk) = file.bytes.next().await {
        let chunk = chunk?;
        let write = move || {
            let written = kept.write_all(&chunk);
            written.map_err(|e| from_read("cannot be kept", e))?;
            Ok(kept)
        };
        kept = pool.run(write).await?;
    }
    kept.finish()
}

#[async_trait]
impl PartSource for OpenDelta {
    async fn open(&self, number: usize, _: &PartHeader) -> Result<PartFile> {
        if let Some(inline) = self.superblock.inline(number) {
            let section = Section(Arc::clone(&self.bytes), inline.0);
            let reader = Box::new(SectionReader { section, at: 0 });
            let scratch = None;
            return Ok(PartFile { reader, scratch });
        }
        let reader: Box<dyn Read + Send> = match &self.place {
            DeltaPlace::Inside => {
                return Err(Error::missing("is not inside of the delta's one file"));
            }
            DeltaPlace::Directory(directory) => {
                let path = directory.join(number.to_string());
                let open = move || {
                    let opened = File::open(&path);
                    opened.map_err(|e| Error::io("cannot be read", e).about(path))
                };
                Box::new(self.pool.run(open).await?)
            }
            DeltaPlace::State(state) => {
                let number = u32::try_from(number).unwrap_or(u32::MAX);
                let file = DeltaFile::Part(self.superblock.name, number);
                let opened = state.open_delta_file(&file, 0).await?;
                let missing = || Error::missing(format!("{file} is not in the repository"));
                Payload::Stream(opened.ok_or_else(missing)?.bytes).into_reader()?
            }
        };
        let scratch = None;
        Ok(PartFile { reader, scratch })
    }
}

impl Debug for OpenDelta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenDelta")
            .field("name", &self.superblock.name)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// A section of something longer.
#[derive(Debug, Clone)]
struct Section(Arc<dyn ReadAt>, Range);

impl ReadAt for Section {
    fn total_bytes(&self) -> u64 {
        self.1.bytes
    }

    fn read_exact_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let range = self.1.sub(offset, out.len() as u64);
        let range = range.ok_or_else(|| Error::corrupt("is cut short"))?;
        self.0.read_exact_at(range.offset, out)
    }
}

struct SectionReader {
    section: Section,
    at: u64,
}

impl Read for SectionReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = self.section.total_bytes() - self.at;
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(out.len());
        self.section.read_exact_at(self.at, &mut out[..n])?;
        self.at += n as u64;
        Ok(n)
    }
}
