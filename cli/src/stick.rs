//! Repositories on sticks: opening and making them, and what does not fit on FAT.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::TryStreamExt;
use treeferry_core::archive::{ArchiveOptions, CreateArchive, Spool};
use treeferry_core::codec::FlateCodec;
use treeferry_core::format::keyfile::KeyFile;
use treeferry_core::format::{Checksum, CollectionId, ObjectName};
use treeferry_core::ops::copy::CopyRef;
use treeferry_core::ops::list::{ListDepth, ListDetails, ListNode, ListOptions, list};
use treeferry_core::repo::Repo;
use treeferry_core::store::{Encoding, Incoming};
use treeferry_transport_usb::{DirArchive, DirOptions, FileLimit, REPO_PATH, Stick, Volume};

use crate::dates;
use crate::failure::{Failure, Result, io_failure};
use crate::place::Opened;
use crate::session::open_fs;

/// How hard files are deflated to see how long they get: as an archive deflates them.
const DEFLATE_LEVEL: u8 = 6;

/// The archives that this call of the command opened: what they gathered is written at its end.
static OPENED: Mutex<Vec<DirArchive>> = Mutex::new(Vec::new());

/// Opens the repository of the stick at `path`: `.ostree/repo`, or the first of the others. `None`
/// where there is none.
pub(crate) async fn open(path: &Path) -> Result<Option<Opened>> {
    let stick = Stick::open(path)?;
    let found = match stick.inside(Path::new(REPO_PATH))? {
        Some(path) => Some(path),
        None => stick.repos().into_iter().next().map(|repo| repo.path),
    };
    match found {
        Some(path) => open_repo(path).await.map(Some),
        None => Ok(None),
    }
}

/// Opens a repository on a stick, of whatever mode it is.
pub(crate) async fn open_repo(path: PathBuf) -> Result<Opened> {
    let config = path.join("config");
    let text = std::fs::read(&config).map_err(|e| io_failure(&config, &e))?;
    let mode = KeyFile::parse(&text)
        .ok()
        .and_then(|config| config.string("core", "mode").ok().flatten());
    match mode.as_deref() {
        Some("archive" | "archive-z2") => {
            let options = DirOptions::repository();
            let archive = DirArchive::open(path, archive_options(), options).await?;
            Ok(opened(archive))
        }
        // A stick that the C implementation made on a filesystem with all that it takes.
        _ => Ok(Opened::directory(open_fs(path).await?)),
    }
}

/// Makes an empty repository on the stick at `path`.
pub(crate) async fn create(path: &Path, collection_id: Option<CollectionId>) -> Result<Opened> {
    let options = DirOptions::repository();
    create_at(path, Path::new(REPO_PATH), collection_id, options).await
}

/// Makes an empty repository at `place` on a stick.
pub(crate) async fn create_at(
    stick: &Path,
    place: &Path,
    collection_id: Option<CollectionId>,
    options: DirOptions,
) -> Result<Opened> {
    let mut create = CreateArchive::default();
    create.collection_id = collection_id;
    let archive = DirArchive::create(stick, place, create, archive_options(), options).await?;
    Ok(opened(archive))
}

fn opened(archive: DirArchive) -> Opened {
    let opened = Opened::archive(archive.store.clone());
    let mut all = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    all.push(archive);
    opened
}

/// Writes what was gathered and not named yet, and gives leases back.
pub(crate) async fn finish() -> Result<()> {
    let all = std::mem::take(&mut *OPENED.lock().unwrap_or_else(PoisonError::into_inner));
    for archive in all {
        archive.dir.flush().await?;
        archive.store.settle().await;
    }
    Ok(())
}

fn archive_options() -> ArchiveOptions {
    let mut options = ArchiveOptions::default();
    // Who reads a stick has it plugged in, and little room on it.
    options.grace = Duration::ZERO;
    let process = std::process::id();
    options.lease.holder = format!("treeferry, process {process}");
    options.lease.seed = dates::now() << 32 | u64::from(process);
    // A disk does not come back after a while as a server does.
    options.retry.retries = 1;
    options.spool = Spool::in_files(tempfile::tempfile);
    options
}

/// Returns how long a file can be on a stick.
pub(crate) fn file_limit(stick: &Path) -> FileLimit {
    // Where the kernel does not tell, files are as long as anywhere.
    Volume::of_path(stick).map_or(FileLimit::None, |volume| volume.file_limit())
}

/// Refuses, before anything is written, commits with a file that is too long for the filesystem of
/// the destination.
pub(crate) async fn refuse_long_files(
    source: &Repo,
    refs: &[CopyRef],
    limit: FileLimit,
) -> Result<()> {
    let FileLimit::Bytes(limit) = limit else {
        return Ok(());
    };
    let mut commits: Vec<_> = refs.iter().map(|wanted| wanted.commit).collect();
    commits.sort_unstable();
    commits.dedup();
    for commit in commits {
        let root = source.tree_of(&commit).await?;
        let mut options = ListOptions::default();
        (options.depth, options.details) = (ListDepth::All, ListDetails::All);
        let mut entries = list(source, root, "/", options).await?;
        while let Some(entry) = entries.try_next().await? {
            let ListNode::File { checksum, details } = &entry.node else {
                continue;
            };
            let content_bytes = details.as_ref().map_or(0, |file| file.content_bytes);
            if content_bytes <= limit || !is_longer(source, checksum, limit).await? {
                continue;
            }
            let path = &entry.path;
            return Err(Failure::new(format!(
                "{path} of commit {commit} takes more than {limit} bytes even when it is \
                 compressed, the most that a file on this filesystem (FAT) can have; nothing of \
                 it was written: format the stick with exFAT, or carry it in one file \
                 ('sqlite:FILE') on a medium that can hold that"
            )));
        }
    }
    Ok(())
}

/// Returns whether a file takes more than `limit` bytes in an archive.
async fn is_longer(source: &Repo, file: &Checksum, limit: u64) -> Result<bool> {
    let name = ObjectName::file(*file);
    let stat = source.objects().stat(&[name]).await?.pop().flatten();
    if let Some(stat) = stat.filter(|stat| stat.encoding == Encoding::Filez) {
        return Ok(stat.stored_bytes > limit);
    }
    let Some(body) = source.objects().fetch(&name).await? else {
        return Ok(false);
    };
    let measure = move || {
        use std::io::Read;
        let reader = Incoming::named(name, body).into_filez(&FlateCodec, DEFLATE_LEVEL)?;
        let mut cut = reader.take(limit + 1);
        let bytes = std::io::copy(&mut cut, &mut std::io::sink())
            .map_err(|e| treeferry_core::error::from_read("cannot be read", e))?;
        Ok(bytes > limit)
    };
    Ok(source.pool().run(measure).await?)
}
