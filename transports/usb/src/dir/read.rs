//! Fetching a file.

use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, StreamExt};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use treeferry_core::error::{Error, ErrorKind, Result};
use treeferry_core::format::Checksum;
use treeferry_core::transport::{
    FetchOptions, Fetched, FetchedFile, RemotePath, Resume, Validator, check_offset,
};

use super::names::{self, Spelling};
use super::{DirTransport, Inner, WORK_DIR, lock};

/// A file up to this length is read at once, and told from others by its bytes: times are too coarse
/// for that, on FAT two seconds.
const SMALL_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The same of one that is named by its hash, and so never changes.
const SMALL_HASHED_BYTES_MAX: u64 = 128 * 1024;

/// How often a file is read that keeps changing.
const READS_MAX: usize = 16;

/// In what pieces a longer file is read.
const PIECE_BYTES: usize = 512 * 1024;

/// Who else may be replacing the file that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    /// Anybody.
    Writers,
    /// Nobody: the lock is held.
    Nobody,
}

/// A file that was opened.
pub(super) enum Opened {
    Small(Bytes),
    Long {
        file: std::fs::File,
        total_bytes: u64,
        validator: Validator,
    },
}

impl DirTransport {
    pub(super) async fn fetch_file(
        &self,
        path: &RemotePath,
        options: FetchOptions,
    ) -> Result<Option<Fetched>> {
        let (at, limit) = (path.clone(), options.bytes_max);
        let opened = self
            .run(move |inner| inner.open_to_read(&at, limit, Beside::Writers))
            .await;
        let Some(opened) = opened.map_err(|e| e.about(self.0.about(path)))? else {
            return Ok(None);
        };
        let validator = opened.validator();
        if options.unless.as_ref() == Some(&validator) {
            return Ok(Some(Fetched::NotModified));
        }
        let offset = offset(options.resume.as_ref(), &validator);
        check_offset(offset, opened.total_bytes()).map_err(|e| e.about(self.0.about(path)))?;
        let total_bytes = Some(opened.total_bytes());
        let bytes = match opened {
            Opened::Small(bytes) => {
                let rest = bytes.slice(usize::try_from(offset).unwrap_or(bytes.len())..);
                stream::iter([Ok(rest)]).boxed()
            }
            Opened::Long {
                file, total_bytes, ..
            } => self.pieces(path, file, offset, total_bytes),
        };
        Ok(Some(Fetched::File(FetchedFile {
            offset,
            total_bytes,
            validator: Some(validator),
            bytes,
        })))
    }

    fn pieces(
        &self,
        path: &RemotePath,
        file: std::fs::File,
        offset: u64,
        total_bytes: u64,
    ) -> stream::BoxStream<'static, Result<Bytes>> {
        let (dir, path) = (self.clone(), path.clone());
        let pieces = stream::try_unfold((file, offset), move |(file, at)| {
            let (dir, path) = (dir.clone(), path.clone());
            async move {
                if at == total_bytes {
                    return Ok(None);
                }
                let read = dir.run(move |_| read_piece(file, at, total_bytes)).await;
                let (file, piece) = read.map_err(|e| e.about(dir.0.about(&path)))?;
                let next = at + piece.len() as u64;
                Ok(Some((piece, (file, next))))
            }
        });
        pieces.boxed()
    }
}

fn offset(resume: Option<&Resume>, validator: &Validator) -> u64 {
    let same = resume.filter(|resume| resume.validator == *validator);
    same.map_or(0, |resume| resume.offset)
}

fn read_piece(
    mut file: std::fs::File,
    at: u64,
    total_bytes: u64,
) -> Result<(std::fs::File, Bytes)> {
    let left = usize::try_from(total_bytes - at).unwrap_or(usize::MAX);
    let mut piece = BytesMut::zeroed(left.min(PIECE_BYTES));
    let io = |e| Error::io("cannot be read", e);
    file.seek(SeekFrom::Start(at)).map_err(io)?;
    file.read_exact(&mut piece).map_err(io)?;
    Ok((file, piece.freeze()))
}

impl Opened {
    fn total_bytes(&self) -> u64 {
        match self {
            Self::Small(bytes) => bytes.len() as u64,
            Self::Long { total_bytes, .. } => *total_bytes,
        }
    }

    pub(super) fn validator(&self) -> Validator {
        match self {
            Self::Small(bytes) => validator_of(bytes),
            Self::Long { validator, .. } => validator.clone(),
        }
    }
}

/// Returns how long a file can be that is read at once.
pub(super) fn small_bytes_max(path: &RemotePath) -> u64 {
    match path.as_str().starts_with(names::HASHED) {
        true => SMALL_HASHED_BYTES_MAX,
        false => SMALL_BYTES_MAX,
    }
}

/// Returns what tells versions of a small file apart.
pub(super) fn validator_of(bytes: &[u8]) -> Validator {
    Validator::ETag(format!("\"{}\"", Checksum::of(bytes)))
}

impl Inner {
    pub(super) fn open_to_read(
        &self,
        path: &RemotePath,
        limit: Option<u64>,
        beside: Beside,
    ) -> Result<Option<Opened>> {
        let mut last = self.open_once(path, limit, beside)?;
        if !self.is_fuse() || path.as_str().starts_with(names::HASHED) {
            return Ok(last);
        }
        // Drivers outside of the kernel give the room of a file that is replaced to others, also while
        // it is being read: what was read twice the same was there.
        for _ in 0..READS_MAX {
            let Some(Opened::Small(before)) = &last else {
                break;
            };
            let before = before.clone();
            let again = self.open_once(path, limit, beside)?;
            if matches!(&again, Some(Opened::Small(bytes)) if *bytes == before) {
                return Ok(again);
            }
            last = again;
        }
        match last {
            Some(Opened::Small(_)) => {
                let kind = ErrorKind::Unavailable { retry_after: None };
                Err(Error::new(
                    kind,
                    "keeps changing while it is read: try again",
                ))
            }
            other => Ok(other),
        }
    }

    fn open_once(
        &self,
        path: &RemotePath,
        limit: Option<u64>,
        beside: Beside,
    ) -> Result<Option<Opened>> {
        let Some(fd) = self.open_file(path, beside)? else {
            return Ok(None);
        };
        let failed = |e| self.root.failed("cannot be read", path.as_str(), e);
        let stat = rustix::fs::fstat(&fd).map_err(failed)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            // There are files below it, and no file of that path.
            FileType::Directory => return Ok(None),
            _ => return Err(Error::corrupt("is not a regular file")),
        }
        let total_bytes = u64::try_from(stat.st_size).unwrap_or_default();
        if let Some(limit) = limit.filter(|limit| total_bytes > *limit) {
            let problem = format!("is {total_bytes} bytes long, over the limit of {limit} bytes");
            return Err(Error::corrupt(problem));
        }
        let mut file = std::fs::File::from(fd);
        if total_bytes > small_bytes_max(path) {
            let version = format!("\"{total_bytes}-{}-{}\"", stat.st_mtime, stat.st_mtime_nsec);
            let validator = Validator::ETag(version);
            return Ok(Some(Opened::Long {
                file,
                total_bytes,
                validator,
            }));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(total_bytes).unwrap_or_default());
        file.read_to_end(&mut bytes)
            .map_err(|e| Error::io("cannot be read", e))?;
        Ok(Some(Opened::Small(bytes.into())))
    }

    /// Opens a file, by the very name that it has; `None` when there is none.
    pub(super) fn open_file(&self, path: &RemotePath, beside: Beside) -> Result<Option<OwnedFd>> {
        let text = path.as_str();
        if text.starts_with(WORK_DIR) {
            return Ok(None);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let failed = |e| self.root.failed("cannot be opened", text, e);
        if let Some(gathered) = self.group.find(path) {
            return self
                .root
                .open_at(&gathered, flags, Mode::empty())
                .map(Some)
                .or_else(|e| match e {
                    // It got its name meanwhile.
                    Errno::NOENT => Ok(None),
                    e => Err(failed(e)),
                })
                .and_then(|found| match found {
                    Some(found) => Ok(Some(found)),
                    None => self.open_named(text, flags, beside),
                });
        }
        self.open_named(text, flags, beside)
    }

    fn open_named(&self, path: &str, flags: OFlags, beside: Beside) -> Result<Option<OwnedFd>> {
        let failed = |e| self.root.failed("cannot be opened", path, e);
        let mut opened = self.root.open_at(path, flags, Mode::empty());
        // Some drivers outside of the kernel take the old file away before they give its name to the new
        // one. Who does that holds the lock.
        if beside == Beside::Writers
            && matches!(opened, Err(Errno::NOENT))
            && !path.starts_with(names::HASHED)
            && self.is_fuse()
        {
            lock::wait_for_writers(&self.root, self.options.lock_wait).map_err(failed)?;
            opened = self.root.open_at(path, flags, Mode::empty());
        }
        let fd = match opened {
            Ok(fd) => fd,
            // Also where a file is in the place of a directory above.
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(e) => return Err(failed(e)),
        };
        if self.ignores_case()? {
            let spelling = names::spelling(&self.root, path).map_err(failed)?;
            if spelling != Spelling::Exact {
                return Ok(None);
            }
        }
        Ok(Some(fd))
    }
}

/// A handle's directory, kept open for as long as a job needs it.
pub(super) type Shared = Arc<Inner>;
