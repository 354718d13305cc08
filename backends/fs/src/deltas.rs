//! Files of deltas, below `deltas/` and `delta-indexes/`.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, StreamExt};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use treeferry_core::error::{Error, Result};
use treeferry_core::format::delta::DeltaFile;
use treeferry_core::store::ListedDeltaFile;
use treeferry_core::transport::{FetchedFile, PutBody, check_offset};

use crate::repo::FsRepo;
use crate::sys::{self, Durable, failed};

/// How much is read or written in one job of the pool, bytes.
const STEP_BYTES: usize = 1 << 20;
const PUBLIC: Mode = Mode::from_raw_mode(0o644);

/// Lists all files of deltas. **Blocking.**
pub(crate) fn list(repo: &FsRepo) -> Result<Vec<ListedDeltaFile>> {
    let mut found = Vec::new();
    for start in sys::names_in(repo.dir(), "deltas")? {
        for rest in sys::names_in(repo.dir(), &format!("deltas/{start}"))? {
            add_files(repo, &format!("deltas/{start}/{rest}"), &mut found)?;
        }
    }
    for start in sys::names_in(repo.dir(), "delta-indexes")? {
        add_files(repo, &format!("delta-indexes/{start}"), &mut found)?;
    }
    Ok(found)
}

fn add_files(repo: &FsRepo, directory: &str, found: &mut Vec<ListedDeltaFile>) -> Result<()> {
    for name in sys::names_in(repo.dir(), directory)? {
        let path = format!("{directory}/{name}");
        let Some(file) = DeltaFile::from_path(&path) else {
            continue;
        };
        if let Some(stat) = sys::stat(repo.dir(), &path)? {
            let bytes = sys::length(&stat);
            found.push(ListedDeltaFile { file, bytes });
        }
    }
    Ok(())
}

/// Opens a file of a delta from a byte on.
pub(crate) async fn open(
    repo: &FsRepo,
    file: DeltaFile,
    offset: u64,
) -> Result<Option<FetchedFile>> {
    let path = PathBuf::from(file.path());
    let opened = repo.run(move |repo| {
        let Some(opened) = sys::open_file(repo.dir(), &file.path())? else {
            return Ok(None);
        };
        let stat =
            rustix::fs::fstat(&opened).map_err(failed(&file.path(), "cannot be looked at"))?;
        Ok(Some((Arc::new(opened), sys::length(&stat))))
    });
    let Some((opened, total_bytes)) = opened.await? else {
        return Ok(None);
    };
    check_offset(offset, total_bytes).map_err(|e| e.about(path.clone()))?;
    let pool = repo.pool().clone();
    let bytes = stream::try_unfold((opened, offset), move |(opened, at)| {
        let (pool, path) = (pool.clone(), path.clone());
        async move {
            if at >= total_bytes {
                return Ok(None);
            }
            let length = (total_bytes - at).min(STEP_BYTES as u64);
            let from = Arc::clone(&opened);
            let read = move || {
                let mut chunk = vec![0; usize::try_from(length).unwrap_or(0)];
                from.read_exact_at(&mut chunk, at)
                    .map_err(|e| Error::io("cannot be read", e).about(path))?;
                Ok(Bytes::from(chunk))
            };
            let chunk = pool.run(read).await?;
            Ok(Some((chunk, (opened, at + length))))
        }
    });
    Ok(Some(FetchedFile {
        offset,
        total_bytes: Some(total_bytes),
        validator: None,
        bytes: bytes.boxed(),
    }))
}

/// A file in `tmp/` that is to be one of a delta. Removed if it never is.
#[derive(Debug)]
struct Pending {
    directory: Arc<OwnedFd>,
    name: String,
    file: File,
    renamed: bool,
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.renamed {
            let _ = rustix::fs::unlinkat(&self.directory, &self.name, AtFlags::empty());
        }
    }
}

impl Pending {
    /// **Blocking.**
    fn create(repo: &FsRepo) -> Result<Self> {
        let name = sys::temporary_name();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&repo.inner.tmp, &name, flags, PUBLIC)
            .map_err(failed("tmp", "cannot be written"))?;
        let pending = Self {
            directory: Arc::clone(&repo.inner.tmp),
            name,
            file: File::from(fd),
            renamed: false,
        };
        rustix::fs::fchmod(&pending.file, PUBLIC).map_err(failed("tmp", "cannot be written"))?;
        Ok(pending)
    }

    /// **Blocking.**
    fn publish(mut self, repo: &FsRepo, path: &str) -> Result<()> {
        let durable = repo.durable();
        if durable == Durable::Yes {
            rustix::fs::fsync(&self.file).map_err(failed(path, "cannot be made durable"))?;
        }
        if let Some((parent, _)) = path.rsplit_once('/') {
            sys::make_dirs(repo.dir(), parent, durable)?;
        }
        rustix::fs::renameat(&self.directory, &self.name, repo.dir(), path)
            .map_err(failed(path, "cannot be replaced"))?;
        self.renamed = true;
        sys::sync_parent(repo.dir(), path, durable)
    }
}

/// Writes a file of a delta whole.
pub(crate) async fn write(repo: &FsRepo, file: DeltaFile, body: PutBody) -> Result<()> {
    let mut pending = repo.run(Pending::create).await?;
    let mut stream = body.into_stream();
    let mut step = BytesMut::new();
    loop {
        let chunk = stream.next().await.transpose()?;
        let ended = chunk.is_none();
        step.extend_from_slice(&chunk.unwrap_or_default());
        if step.len() < STEP_BYTES && !ended {
            continue;
        }
        let bytes = step.split().freeze();
        pending = repo
            .run(move |_| {
                let written = pending.file.write_all(&bytes);
                written.map_err(|e| {
                    Error::io("cannot be written", e).about(PathBuf::from(file.path()))
                })?;
                Ok(pending)
            })
            .await?;
        if ended {
            break;
        }
    }
    repo.run(move |repo| pending.publish(repo, &file.path()))
        .await
}

/// Deletes files of deltas, and the directories that are empty then. **Blocking.**
pub(crate) fn delete(repo: &FsRepo, files: &[DeltaFile]) -> Result<()> {
    for file in files {
        let path = file.path();
        if !sys::remove_file(repo.dir(), &path)? {
            continue;
        }
        sys::sync_parent(repo.dir(), &path, repo.durable())?;
        let mut directory = path.as_str();
        // The top directory stays: others may be writing below it.
        while let Some((parent, _)) = directory.rsplit_once('/').filter(|(p, _)| p.contains('/')) {
            match rustix::fs::unlinkat(repo.dir().as_fd(), parent, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => directory = parent,
                // Most often: it is not empty.
                Err(_) => break,
            }
        }
    }
    Ok(())
}
