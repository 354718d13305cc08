//! Interrupted downloads, below `tmp/treeferry-scratch/`.
//!
//! An entry is two files, named by the hash of where it comes from: `KEY.part`, the bytes, locked
//! by whoever downloads; and `KEY.info`, which version of which file they are a part of.

use std::ffi::CString;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use treeferry_core::error::{Error, Result};
use treeferry_core::format::Checksum;
use treeferry_core::store::{LocalFile, LockKind, Scratch, ScratchContent, ScratchFile, Takeover};
use treeferry_core::transport::{RemotePath, Validator};

use crate::free_space::Allowance;
use crate::layout::SCRATCH_DIR;
use crate::leftovers::has_expired;
use crate::lock::try_lock;
use crate::repo::FsRepo;
use crate::sys::{self, Durable, failed};

const PART: &str = ".part";
const INFO: &str = ".info";
const INFO_BYTES_MAX: u64 = 64 * 1024;
const PRIVATE: Mode = Mode::from_raw_mode(0o600);

/// The scratch place of a repository.
#[derive(Debug)]
pub(crate) struct FsScratch {
    repo: FsRepo,
}

impl FsScratch {
    pub(crate) fn new(repo: FsRepo) -> Self {
        Self { repo }
    }
}

/// Which version of which file an entry is a part of.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Info {
    origin: String,
    path: String,
    validator: Option<Validator>,
    total_bytes: Option<u64>,
}

impl Info {
    fn key(origin: &str, path: &str) -> String {
        Checksum::of(format!("{origin}\0{path}").as_bytes()).to_string()
    }

    /// Returns the lines of an entry; `None` if a value cannot stand in a line.
    fn to_text(&self) -> Option<String> {
        let validator = match &self.validator {
            None => String::new(),
            Some(Validator::ETag(tag)) => format!("etag {tag}"),
            Some(Validator::LastModified(time)) => format!("modified {time}"),
        };
        let total = self.total_bytes.map_or(String::new(), |n| n.to_string());
        let lines = [&self.origin, &self.path, &validator, &total];
        if lines.iter().any(|line| line.contains('\n')) {
            return None;
        }
        let [origin, path, validator, total] = lines;
        Some(format!("{origin}\n{path}\n{validator}\n{total}\n"))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(bytes).ok()?.split('\n');
        let (origin, path) = (lines.next()?.to_owned(), lines.next()?.to_owned());
        let validator = match lines.next()?.split_once(' ') {
            None => None,
            Some(("etag", tag)) => Some(Validator::ETag(tag.into())),
            Some(("modified", time)) => Some(Validator::LastModified(time.into())),
            Some(_) => return None,
        };
        let total_bytes = match lines.next()? {
            "" => None,
            total => Some(total.parse().ok()?),
        };
        Some(Self {
            origin,
            path,
            validator,
            total_bytes,
        })
    }
}

fn open_scratch(repo: &FsRepo) -> Result<Option<Arc<OwnedFd>>> {
    match sys::open_dir(&repo.inner.tmp, SCRATCH_DIR) {
        Ok(dir) => Ok(Some(Arc::new(dir))),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(failed(SCRATCH_DIR, "cannot be opened")(e)),
    }
}

fn open_part(dir: BorrowedFd<'_>, name: &str, create: OFlags) -> rustix::io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::APPEND | create;
    rustix::fs::openat(dir, name, flags, PRIVATE).map(File::from)
}

/// Locks an entry that is still the one that goes by `name`.
fn claim(dir: BorrowedFd<'_>, name: &str, file: &File) -> Result<bool> {
    let locked = try_lock(file, LockKind::Exclusive)
        .map_err(|e| Error::io("an interrupted download cannot be locked", e))?;
    if !locked {
        return Ok(false);
    }
    is_called(dir, name, file)
}

/// Returns whether it is this file that goes by `name`.
fn is_called(dir: BorrowedFd<'_>, name: &str, file: &File) -> Result<bool> {
    let ours = rustix::fs::fstat(file).map_err(failed(name, "cannot be looked at"))?;
    let there = sys::stat(dir, name)?;
    Ok(there.is_some_and(|there| there.st_ino == ours.st_ino))
}

#[async_trait]
impl Scratch for FsScratch {
    async fn kept(&self, origin: &str) -> Result<Vec<RemotePath>> {
        let origin = origin.to_owned();
        self.repo
            .run(move |repo| {
                let Some(dir) = open_scratch(repo)? else {
                    return Ok(Vec::new());
                };
                let mut paths = Vec::new();
                for name in sys::names_in(dir.as_fd(), ".")? {
                    if !name.ends_with(INFO) {
                        continue;
                    }
                    let bytes = sys::read_file(dir.as_fd(), &name, INFO_BYTES_MAX)?;
                    let info = bytes.and_then(|bytes| Info::parse(&bytes));
                    let info = info.filter(|info| info.origin == origin);
                    paths.extend(info.and_then(|info| info.path.parse::<RemotePath>().ok()));
                }
                Ok(paths)
            })
            .await
    }

    async fn take(&self, origin: &str, path: &RemotePath) -> Result<Option<Box<dyn ScratchFile>>> {
        let (origin, path) = (origin.to_owned(), path.to_string());
        let taken = self
            .repo
            .run(move |repo| take(repo, &origin, &path))
            .await?;
        Ok(taken.map(|entry| Box::new(entry) as Box<dyn ScratchFile>))
    }

    async fn create(
        &self,
        origin: &str,
        path: &RemotePath,
        validator: Option<Validator>,
        total_bytes: Option<u64>,
    ) -> Result<Box<dyn ScratchFile>> {
        let info = Info {
            origin: origin.to_owned(),
            path: path.to_string(),
            validator,
            total_bytes,
        };
        let entry = self.repo.run(move |repo| create(repo, info)).await?;
        Ok(Box::new(entry))
    }
}

fn take(repo: &FsRepo, origin: &str, path: &str) -> Result<Option<Entry>> {
    let Some(dir) = open_scratch(repo)? else {
        return Ok(None);
    };
    let key = Info::key(origin, path);
    let part = format!("{key}{PART}");
    let file = match open_part(dir.as_fd(), &part, OFlags::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(e) => return Err(failed(&part, "cannot be opened")(e)),
    };
    if !claim(dir.as_fd(), &part, &file)? {
        return Ok(None);
    }
    let bytes = sys::read_file(dir.as_fd(), &format!("{key}{INFO}"), INFO_BYTES_MAX)?;
    let info = bytes.and_then(|bytes| Info::parse(&bytes));
    let Some(info) = info.filter(|info| info.origin == origin && info.path == path) else {
        return Ok(None);
    };
    let stat = rustix::fs::fstat(&file).map_err(failed(&part, "cannot be looked at"))?;
    Ok(Some(Entry {
        repo: repo.clone(),
        dir,
        key,
        file: Arc::new(file),
        received_bytes: sys::length(&stat),
        info,
    }))
}

/// Checks that `bytes` more leave the room free that is to stay free.
fn check_room(repo: &FsRepo, bytes: u64) -> Result<()> {
    Allowance::new(repo.dir(), repo.inner.config.min_free)?.take(bytes)
}

fn create(repo: &FsRepo, info: Info) -> Result<Entry> {
    check_room(repo, info.total_bytes.unwrap_or(0))?;
    sys::make_dirs(repo.inner.tmp.as_fd(), SCRATCH_DIR, Durable::No)?;
    let dir = open_scratch(repo)?;
    let dir = dir.ok_or_else(|| Error::missing("tmp/treeferry-scratch is gone"))?;
    let mut key = Info::key(&info.origin, &info.path);
    let file = loop {
        let part = format!("{key}{PART}");
        let file = open_part(dir.as_fd(), &part, OFlags::CREATE)
            .map_err(failed(&part, "cannot be written"))?;
        if claim(dir.as_fd(), &part, &file)? {
            break file;
        }
        // Another download of the same holds it: ours goes beside it, and is not taken up again.
        key = format!(
            "{}-{}",
            Info::key(&info.origin, &info.path),
            sys::random_suffix()
        );
    };
    rustix::fs::ftruncate(&file, 0).map_err(failed(&key, "cannot be emptied"))?;
    let name = format!("{key}{INFO}");
    match info.to_text() {
        Some(text) => sys::replace_file(dir.as_fd(), &name, text.as_bytes(), PRIVATE, Durable::No)?,
        // It can be downloaded all the same, only not continued.
        None => drop(sys::remove_file(dir.as_fd(), &name)?),
    }
    Ok(Entry {
        repo: repo.clone(),
        dir,
        key,
        file: Arc::new(file),
        received_bytes: 0,
        info,
    })
}

/// Removes entries that nobody took up for `core.tmp-expiry-secs`. Blocking.
pub(crate) fn expire(repo: &FsRepo) -> Result<()> {
    let Some(dir) = open_scratch(repo)? else {
        return Ok(());
    };
    let dir = dir.as_fd();
    for name in sys::names_in(dir, ".")? {
        let Some(stat) = sys::stat(dir, &name)? else {
            continue;
        };
        if !has_expired(repo, stat.st_mtime) {
            continue;
        }
        let Some(key) = name.strip_suffix(PART) else {
            // What belongs to a part goes with it; what does not is nobody's.
            let part = name.strip_suffix(INFO).map(|key| format!("{key}{PART}"));
            let has_part = match part {
                Some(part) => sys::stat(dir, &part)?.is_some(),
                None => false,
            };
            if !has_part {
                sys::remove_file(dir, &name)?;
            }
            continue;
        };
        let Ok(file) = open_part(dir, &name, OFlags::empty()) else {
            continue;
        };
        if claim(dir, &name, &file)? {
            sys::remove_file(dir, &format!("{key}{INFO}"))?;
            sys::remove_file(dir, &name)?;
        }
    }
    Ok(())
}

/// One download. The open file holds its lock.
#[derive(Debug)]
struct Entry {
    repo: FsRepo,
    dir: Arc<OwnedFd>,
    key: String,
    file: Arc<File>,
    received_bytes: u64,
    info: Info,
}

#[async_trait]
impl ScratchFile for Entry {
    fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    fn total_bytes(&self) -> Option<u64> {
        self.info.total_bytes
    }

    fn validator(&self) -> Option<&Validator> {
        self.info.validator.as_ref()
    }

    async fn append(&mut self, bytes: Bytes) -> Result<()> {
        let (file, length) = (Arc::clone(&self.file), bytes.len() as u64);
        let write = move |repo: &FsRepo| {
            check_room(repo, length)?;
            (&*file)
                .write_all(&bytes)
                .map_err(|e| Error::io("an interrupted download cannot be written", e))
        };
        self.repo.run(write).await?;
        self.received_bytes += length;
        Ok(())
    }

    fn open(&self) -> Result<ScratchContent> {
        let name = CString::new(format!("{}{PART}", self.key));
        let name = name.map_err(|_| Error::invalid("a name holds a NUL byte"))?;
        let file = LocalFile::new(Arc::clone(&self.dir), name, Takeover::Rename);
        Ok(ScratchContent::File(file))
    }

    async fn discard(self: Box<Self>) -> Result<()> {
        let repo = self.repo.clone();
        repo.run(move |_| {
            let (dir, part) = (self.dir.as_fd(), format!("{}{PART}", self.key));
            // After the store took the file over, somebody else may have begun anew by its name.
            // What is still called so is locked by us, and nobody replaces it.
            if sys::stat(dir, &part)?.is_some() && !is_called(dir, &part, &self.file)? {
                return Ok(());
            }
            sys::remove_file(dir, &format!("{}{INFO}", self.key))?;
            sys::remove_file(dir, &part).map(|_| ())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        for validator in [
            None,
            Some(Validator::ETag("\"a b\"".into())),
            Some(Validator::LastModified(
                "Mon, 01 Jan 2024 00:00:00 GMT".into(),
            )),
        ] {
            let info = Info {
                origin: "https://example.org/repo".into(),
                path: "objects/ab/cd.filez".into(),
                validator,
                total_bytes: Some(7),
            };
            let text = info.to_text().expect("no value has a line end");
            assert_eq!(Info::parse(text.as_bytes()), Some(info));
        }
    }

    #[test]
    fn a_value_with_a_line_end_is_not_written() {
        let info = Info {
            origin: "https://example.org/repo".into(),
            path: "x".into(),
            validator: Some(Validator::ETag("a\nb".into())),
            total_bytes: None,
        };
        assert_eq!(info.to_text(), None);
    }
}
