//! Listing the files of a directory.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, SystemTime};

use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use rustix::fd::AsFd;
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;
use treeferry_core::error::Result;
use treeferry_core::transport::{ListedFile, RemotePath};

use super::root::{names, stat_at};
use super::{DirTransport, Inner, WORK_DIR};

/// How many directories are read in one job.
const DIRS_A_JOB: usize = 32;

/// What is still to be read.
struct Walk {
    dir: DirTransport,
    dirs: VecDeque<String>,
    /// Files without a name yet, which are listed first.
    gathered: Vec<ListedFile>,
    /// Their paths: one may get its name while the walk is under way.
    seen: BTreeSet<String>,
}

pub(super) fn list(dir: DirTransport, prefix: &str) -> BoxStream<'static, Result<ListedFile>> {
    let top = prefix.trim_end_matches('/').to_owned();
    let gathered: Vec<_> = dir
        .0
        .group
        .below(prefix)
        .into_iter()
        .filter_map(|(path, bytes)| listed(&path, bytes, None))
        .collect();
    let seen = gathered.iter().map(|file| file.path.to_string()).collect();
    let walk = Walk {
        dir,
        dirs: [top].into(),
        gathered,
        seen,
    };
    stream::try_unfold(walk, step)
        .map_ok(|files| stream::iter(files).map(Ok))
        .try_flatten()
        .boxed()
}

async fn step(mut walk: Walk) -> Result<Option<(Vec<ListedFile>, Walk)>> {
    if !walk.gathered.is_empty() {
        return Ok(Some((std::mem::take(&mut walk.gathered), walk)));
    }
    let some: Vec<_> = walk.dirs.drain(..walk.dirs.len().min(DIRS_A_JOB)).collect();
    if some.is_empty() {
        return Ok(None);
    }
    let read = move |inner: &Inner| {
        let (mut files, mut dirs) = (Vec::new(), Vec::new());
        for dir in some {
            read_dir(inner, &dir, &mut files, &mut dirs)?;
        }
        Ok((files, dirs))
    };
    let (mut files, dirs) = walk.dir.run(read).await?;
    files.retain(|file| !walk.seen.contains(file.path.as_str()));
    walk.dirs.extend(dirs);
    Ok(Some((files, walk)))
}

fn read_dir(
    inner: &Inner,
    path: &str,
    files: &mut Vec<ListedFile>,
    dirs: &mut Vec<String>,
) -> Result<()> {
    let failed = |e| inner.root.failed("cannot be listed", path, e);
    let dir = match inner.root.open_dir(path) {
        Ok(dir) => dir,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(e) => return Err(failed(e)),
    };
    for name in names(&dir).map_err(failed)? {
        // What is no text has no path that could be asked for.
        let Ok(name) = String::from_utf8(name) else {
            continue;
        };
        let Some(stat) = stat_at(dir.as_fd(), &name).map_err(failed)? else {
            continue;
        };
        let at = match path.is_empty() {
            true => name,
            false => format!("{path}/{name}"),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory if at != WORK_DIR => dirs.push(at),
            FileType::RegularFile => {
                let bytes = u64::try_from(stat.st_size).unwrap_or_default();
                files.extend(listed(&at, bytes, modified(&stat)));
            }
            // Symbolic links and the like are not ours.
            _ => {}
        }
    }
    Ok(())
}

fn listed(path: &str, bytes: u64, modified: Option<SystemTime>) -> Option<ListedFile> {
    Some(ListedFile {
        path: RemotePath::new(path).ok()?,
        bytes,
        modified,
    })
}

fn modified(stat: &Stat) -> Option<SystemTime> {
    let seconds = u64::try_from(stat.st_mtime).ok()?;
    let nanos = u32::try_from(stat.st_mtime_nsec).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
}
