//! Files below one directory, and nowhere else. **Blocking**: for the pool.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::SystemTime;

use bytes::Bytes;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use treeferry_core::format::Checksum;
use treeferry_core::{Error, Result};

/// Files up to this long are read whole, in the same step that opens them.
const SMALL_BYTES_MAX: u64 = 64 * 1024;

/// How often to look a path up again that was being renamed meanwhile.
const LOOKUPS_MAX: usize = 8;

/// The directory whose files are served.
#[derive(Debug)]
pub(super) struct Root {
    directory: OwnedFd,
    links: Links,
}

/// Where symbolic links may lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Links {
    /// To what is in the directory.
    Inside,
    /// Anywhere.
    Anywhere,
}

/// A file that can be served.
#[derive(Debug)]
pub(super) struct OpenFile {
    /// How long it is.
    pub(super) total_bytes: u64,
    /// Its entity tag, quotes included.
    pub(super) tag: String,
    /// When it was changed.
    pub(super) modified: Option<SystemTime>,
    /// What is in it.
    pub(super) content: FileContent,
}

/// What is in a file.
#[derive(Debug)]
pub(super) enum FileContent {
    /// All of it, read already.
    Small(Bytes),
    /// To be read.
    Large(File),
}

/// Why there is no file to be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is none, or it is no regular file, or its path leads out of the directory.
    Missing,
    /// We may not read it.
    Denied,
    /// The system has not enough of something just now.
    Busy,
    /// The disk cannot be read.
    Failed,
}

impl Root {
    /// Opens the directory, and finds out whether this system can keep paths inside it.
    pub(super) fn open(path: &Path, links: Links) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())
            .map(|directory| Self { directory, links })
            .map_err(|e| Error::io("cannot be opened to be served", e).about(path))?;
        match root.lookup(".", OFlags::PATH) {
            Err(Errno::NOSYS) => {
                let problem = "cannot be served: it takes Linux 5.6 to keep paths inside it";
                Err(Error::unsupported(problem).about(path))
            }
            Err(error) => Err(Error::io("cannot be opened to be served", error).about(path)),
            Ok(_) => Ok(root),
        }
    }

    /// Opens a file, and reads it if it is small.
    pub(super) fn read(&self, path: &str) -> std::result::Result<OpenFile, Refusal> {
        // NONBLOCK: opening a pipe must not wait for its other end.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = File::from(self.lookup(path, flags).map_err(refusal)?);
        let metadata = file.metadata().map_err(|_| Refusal::Failed)?;
        if !metadata.is_file() {
            return Err(Refusal::Missing);
        }
        let modified = metadata.modified().ok();
        if metadata.len() > SMALL_BYTES_MAX {
            return Ok(OpenFile {
                total_bytes: metadata.len(),
                tag: tag_of_metadata(&metadata),
                modified,
                content: FileContent::Large(file),
            });
        }
        // The length is that of what was read: the file may have changed since it was opened.
        let bytes = read_small(&file).map_err(|_| Refusal::Failed)?;
        Ok(OpenFile {
            total_bytes: bytes.len() as u64,
            // Refs all have one length and are replaced often: no time is fine enough for them.
            tag: format!("\"{}\"", Checksum::of(&bytes)),
            modified,
            content: FileContent::Small(bytes),
        })
    }

    fn lookup(&self, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let resolve = match self.links {
            Links::Inside => ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
            Links::Anywhere => ResolveFlags::NO_MAGICLINKS,
        };
        let flags = flags | OFlags::CLOEXEC;
        let mut tries = LOOKUPS_MAX;
        loop {
            tries -= 1;
            let opened =
                rustix::fs::openat2(self.directory.as_fd(), path, flags, Mode::empty(), resolve);
            match opened {
                Err(Errno::AGAIN | Errno::INTR) if tries > 0 => {}
                answer => return answer,
            }
        }
    }
}

/// Reads up to `bytes_max` bytes at `offset`: fewer only at the end of the file.
pub(super) fn read_at(file: &File, offset: u64, bytes_max: usize) -> std::io::Result<Bytes> {
    let mut buffer = vec![0; bytes_max];
    let mut filled = 0;
    while filled < bytes_max {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    buffer.truncate(filled);
    Ok(buffer.into())
}

fn read_small(file: &File) -> std::io::Result<Bytes> {
    let bytes_max = usize::try_from(SMALL_BYTES_MAX).unwrap_or(usize::MAX);
    read_at(file, 0, bytes_max)
}

// The time of change is part of it because objects have their time of modification zeroed.
fn tag_of_metadata(metadata: &std::fs::Metadata) -> String {
    format!(
        "\"{:x}-{:x}-{:x}.{:x}-{:x}.{:x}\"",
        metadata.ino(),
        metadata.len(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime(),
        metadata.ctime_nsec(),
    )
}

fn refusal(error: Errno) -> Refusal {
    match error {
        Errno::ACCESS | Errno::PERM => Refusal::Denied,
        Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN | Errno::INTR => Refusal::Busy,
        Errno::IO => Refusal::Failed,
        // Not there; leads out (XDEV); loops; a directory expected; a name too long; a socket.
        _ => Refusal::Missing,
    }
}
