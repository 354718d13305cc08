//! Putting and deleting files.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use treeferry_core::error::{Error, ErrorKind, Result};
use treeferry_core::transport::{Precondition, PutAnswer, PutBody, RemotePath, Validator};

use super::names::{self, Spelling};
use super::read::{Beside, Shared, small_bytes_max, validator_of};
use super::root::split;
use super::{DirTransport, Inner, PutSync, WORK_DIR, lock};
use crate::volume::FileLimit;

/// How much of a stream is gathered before it is written.
const PIECE_BYTES: usize = 512 * 1024;

/// A file on its way, below our own directory. Removed if it does not get a name.
struct Arriving {
    dir: Shared,
    at: String,
    file: File,
    bytes: u64,
    named: bool,
}

impl DirTransport {
    pub(super) async fn put_file(
        &self,
        path: &RemotePath,
        precondition: Precondition,
        body: PutBody,
    ) -> Result<PutAnswer> {
        self.0.check_put(path, body.total_bytes())?;
        let shared = Arc::clone(&self.0);
        let (mut stream, total_bytes) = match body {
            PutBody::Bytes(bytes) => {
                let path = path.clone();
                let put = move |_: &Inner| {
                    let mut arriving = Arriving::create(Arc::clone(&shared))?;
                    arriving.write(&bytes)?;
                    arriving.finish(&path, &precondition, Some(&bytes))
                };
                return self.run(put).await;
            }
            PutBody::Stream { total_bytes, .. } => (body.into_stream(), total_bytes),
        };
        let mut arriving = self.run(move |_| Arriving::create(shared)).await?;
        let mut gathered = BytesMut::new();
        while let Some(chunk) = stream.next().await {
            gathered.extend_from_slice(&chunk?);
            if gathered.len() >= PIECE_BYTES {
                let piece = gathered.split().freeze();
                arriving = self.run(move |_| arriving.written(&piece)).await?;
            }
        }
        let (path, last) = (path.clone(), gathered.freeze());
        self.run(move |_| {
            let whole = (last.len() as u64 == total_bytes).then(|| last.clone());
            let arriving = arriving.written(&last)?;
            arriving.finish(&path, &precondition, whole.as_ref())
        })
        .await
    }
}

impl Arriving {
    fn create(dir: Shared) -> Result<Self> {
        let at = dir.group.new_name(&dir.root, dir.options.lock_wait)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let opened = dir.root.open_at(&at, flags, Mode::from_raw_mode(0o644));
        let file = opened.map_err(|e| dir.root.failed("cannot be made", &at, e))?;
        Ok(Self {
            file: file.into(),
            dir,
            at,
            bytes: 0,
            named: false,
        })
    }

    fn write(&mut self, bytes: &Bytes) -> Result<()> {
        self.bytes += bytes.len() as u64;
        self.file
            .write_all(bytes)
            .map_err(|e| match e.raw_os_error() {
                Some(code) => {
                    let errno = Errno::from_raw_os_error(code);
                    self.dir.root.failed("cannot be written", &self.at, errno)
                }
                None => Error::io("cannot be written", e),
            })
    }

    fn written(mut self, bytes: &Bytes) -> Result<Self> {
        self.write(bytes)?;
        Ok(self)
    }

    /// Gives the file its name, now or later. `whole` is all of it, if it is small.
    fn finish(
        mut self,
        path: &RemotePath,
        precondition: &Precondition,
        whole: Option<&Bytes>,
    ) -> Result<PutAnswer> {
        let dir = Arc::clone(&self.dir);
        let small = whole.filter(|bytes| bytes.len() as u64 <= small_bytes_max(path));
        let done = PutAnswer::Done {
            validator: small.map(|bytes| validator_of(bytes)),
        };
        let sync = (dir.options.sync)(path);
        if sync == PutSync::Gathered && *precondition == Precondition::None {
            self.named = true;
            let (bytes, files) = dir.group.add(path, self.at.clone(), self.bytes);
            drop(self);
            if bytes >= dir.options.gathered_bytes_max || files >= dir.options.gathered_files_max {
                dir.flush_blocking()?;
            }
            return Ok(done);
        }
        if sync != PutSync::Never {
            // What this file names comes before it.
            dir.flush_blocking()?;
            self.file
                .sync_data()
                .map_err(|e| Error::io("cannot be synced", e))?;
        }
        let _lock = lock::lock(&dir.root, dir.options.lock_wait)?;
        if !dir.holds(path, precondition)? {
            return Ok(PutAnswer::Conflict);
        }
        dir.name(&self.at, path.as_str())?;
        self.named = true;
        if sync != PutSync::Never {
            dir.sync_above(path.as_str()).map_err(|e| {
                let problem = "was written, and may be lost in a power cut";
                Error::new(ErrorKind::Indeterminate, problem).because(e)
            })?;
        }
        Ok(done)
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        if !self.named {
            // What cannot be removed is removed by the next writer.
            let _ = rustix::fs::unlinkat(&self.dir.root.fd, &self.at, AtFlags::empty());
        }
    }
}

impl Inner {
    /// Refuses what this filesystem cannot hold, before anything is written.
    fn check_put(&self, path: &RemotePath, bytes: u64) -> Result<()> {
        if let FileLimit::Bytes(limit) = self.limit
            && bytes > limit
        {
            let problem = format!(
                "is {bytes} bytes long, and files on this filesystem (FAT) have at most {limit}: \
                 format the stick with exFAT"
            );
            return Err(Error::unsupported(problem));
        }
        if path.as_str().starts_with(WORK_DIR) {
            return Err(Error::invalid("is a name that is kept for other use"));
        }
        Ok(())
    }

    /// Compares; the lock is held.
    fn holds(&self, path: &RemotePath, precondition: &Precondition) -> Result<bool> {
        if *precondition == Precondition::None {
            return Ok(true);
        }
        let found = self.version(path)?;
        Ok(match precondition {
            Precondition::None => true,
            Precondition::Absent => found.is_none(),
            Precondition::Unchanged(expected) => found.as_ref() == Some(expected),
        })
    }

    /// Renames a file from our own directory to its place.
    pub(super) fn name(&self, from: &str, to: &str) -> Result<()> {
        let failed = |e| self.root.failed("cannot be given its name", to, e);
        let (above, name) = split(to);
        if self.ignores_case()? {
            names::check_fat(to)?;
            if let Spelling::Other(other) = names::spelling(&self.root, to).map_err(failed)? {
                return Err(names::taken_for(to, &other));
            }
        }
        let dir = self.root.make_dirs(above)?;
        match rustix::fs::renameat(&self.root.fd, from, &dir, name) {
            Ok(()) => Ok(()),
            // An empty directory, such as one whose refs were deleted, may go.
            Err(Errno::ISDIR | Errno::EXIST | Errno::NOTEMPTY) => {
                self.remove_empty(to);
                rustix::fs::renameat(&self.root.fd, from, &dir, name).map_err(|e| match e {
                    Errno::ISDIR | Errno::EXIST | Errno::NOTEMPTY => {
                        let problem = "a directory is there: it stands in the way";
                        Error::invalid(problem).about(self.root.path.join(to))
                    }
                    e => failed(e),
                })
            }
            Err(e) => Err(failed(e)),
        }
    }

    /// Removes a directory that has nothing in it but such directories.
    fn remove_empty(&self, path: &str) {
        let Ok(dir) = self.root.open_dir(path) else {
            return;
        };
        for name in super::root::names(&dir).unwrap_or_default() {
            if let Ok(name) = String::from_utf8(name) {
                self.remove_empty(&format!("{path}/{name}"));
            }
        }
        let _ = rustix::fs::unlinkat(&self.root.fd, path, AtFlags::REMOVEDIR);
    }

    /// Syncs the directory of a path and those above it, which may be new.
    fn sync_above(&self, path: &str) -> Result<()> {
        let mut dir = split(path).0;
        loop {
            self.sync_dir(dir)?;
            if dir.is_empty() {
                return Ok(());
            }
            dir = split(dir).0;
        }
    }

    pub(super) fn delete_blocking(&self, paths: &[RemotePath]) -> Result<()> {
        let _lock = lock::lock(&self.root, self.options.lock_wait)?;
        let mut dirs = BTreeSet::new();
        for path in paths {
            if let Some(gathered) = self.group.remove(path) {
                let _ = rustix::fs::unlinkat(&self.root.fd, gathered, AtFlags::empty());
            }
            // By the very name: another one in other letters is not meant.
            if self.open_file(path, Beside::Nobody)?.is_none() {
                continue;
            }
            let text = path.as_str();
            match rustix::fs::unlinkat(&self.root.fd, text, AtFlags::empty()) {
                Ok(()) => {
                    if (self.options.sync)(path) != PutSync::Never {
                        dirs.insert(split(text).0);
                    }
                }
                Err(Errno::NOENT) => {}
                Err(e) => return Err(self.root.failed("cannot be deleted", text, e)),
            }
        }
        for dir in dirs {
            self.sync_dir(dir)?;
        }
        Ok(())
    }
}

impl Inner {
    /// Returns which version a file is, as a fetch tells it.
    fn version(&self, path: &RemotePath) -> Result<Option<Validator>> {
        let opened = self.open_to_read(path, None, Beside::Nobody)?;
        Ok(opened.map(|opened| opened.validator()))
    }
}
