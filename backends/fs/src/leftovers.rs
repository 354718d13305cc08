//! What interrupted writers left in their staging directories.
//!
//! Nothing of it is believed: it may come from before a power cut, or from a writer with other
//! rules. An object is hashed when somebody asks for it, and moved into the staging directory of
//! the batch that asked. What nobody asks for stays for others, until it expires.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::SystemTime;

use rustix::fs::{AtFlags, FileType, Stat};
use treeferry_core::error::{Error, Result, from_read};
use treeferry_core::format::{ObjectName, ObjectType};
use treeferry_core::pool::drop_elsewhere;
use treeferry_core::store::{Incoming, Leftovers as Policy, Stored};

use crate::layout::{STAGING_PREFIX, object_path, xattrs_link_path};
use crate::mode::FsMode;
use crate::repo::FsRepo;
use crate::shelf::Shelf;
use crate::source::fetch_from;
use crate::staging::{LOCK_SUFFIX, Staged, SyncState, lock_name, lock_staging};
use crate::sys;
use crate::write::{WriteContext, Writer};

/// The staging directories of dead writers, each locked by us.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    abandoned: Vec<Abandoned>,
}

#[derive(Debug)]
struct Abandoned {
    tmp: Arc<OwnedFd>,
    name: String,
    shelf: Shelf,
    _lock: File,
}

impl Leftovers {
    /// Locks what dead writers left, and removes what has expired of it. Blocking.
    pub(crate) fn collect(repo: &FsRepo, policy: Policy) -> Result<Self> {
        let tmp = &repo.inner.tmp;
        let mut found = Self::default();
        expire_temporaries(repo)?;
        for name in sys::names_in(tmp.as_fd(), ".")? {
            if !name.starts_with(STAGING_PREFIX) {
                continue;
            }
            if let Some(staging) = name.strip_suffix(LOCK_SUFFIX) {
                expire_lock(repo, staging)?;
                continue;
            }
            let Some(stat) = sys::stat(tmp.as_fd(), &name)? else {
                continue;
            };
            let expired = has_expired(repo, stat.st_mtime);
            if policy == Policy::Ignore && !expired {
                continue;
            }
            let Some(lock) = lock_staging(tmp.as_fd(), &name)? else {
                continue;
            };
            if expired {
                sys::remove_tree(tmp.as_fd(), &name)?;
                sys::remove_file(tmp.as_fd(), &lock_name(&name))?;
            } else if let Ok(dir) = sys::open_dir(tmp, &name) {
                found.abandoned.push(Abandoned {
                    tmp: Arc::clone(tmp),
                    name,
                    shelf: Shelf::new(Arc::new(dir), repo.mode()),
                    _lock: lock,
                });
            }
        }
        Ok(found)
    }

    /// Takes an object over if somebody left it and it is what its name says. Blocking.
    pub(crate) fn claim(
        &self,
        context: &WriteContext,
        name: &ObjectName,
    ) -> Result<Option<Staged>> {
        for abandoned in &self.abandoned {
            let shelf = &abandoned.shelf;
            let Some(stat) = shelf.stat(name)? else {
                continue;
            };
            let path = object_path(name, shelf.mode);
            if name.object_type == ObjectType::File && has_other_links(shelf, &path)? {
                sys::remove_file(shelf.fd(), &path)?;
                continue;
            }
            // What cannot be read, or is not what it says, is worth nothing.
            if verify(context, shelf, name).is_err() {
                sys::remove_file(shelf.fd(), &path)?;
                continue;
            }
            if shelf.mode == FsMode::BareSplitXattrs && name.object_type == ObjectType::File {
                // Not moved but made anew, from what was just verified.
                let header = shelf.open(&name.checksum)?.map(|object| object.header);
                let Some(header) = header else { continue };
                Writer::new(context).stage_xattrs(&name.checksum, &header)?;
                sys::remove_file(shelf.fd(), &xattrs_link_path(&name.checksum))?;
            }
            let staged = Staged {
                stored_bytes: stat.stored_bytes,
                sync: sync_state_of(shelf, &path)?,
            };
            context.staging.make_fanout(&name.checksum)?;
            let to = context.staging.shelf.fd();
            let mut gone = false;
            let added = context.staging.add(*name, staged, || {
                rustix::fs::renameat(shelf.fd(), &path, to, &path).map_err(|e| {
                    gone = true;
                    sys::failed(&path, "cannot be taken over")(e)
                })?;
                Ok(Stored::New)
            });
            if !gone {
                added?;
                return Ok(Some(staged));
            }
        }
        Ok(None)
    }
}

impl Drop for Leftovers {
    /// Removes the directories that nothing is left in.
    fn drop(&mut self) {
        let abandoned = std::mem::take(&mut self.abandoned);
        if !abandoned.is_empty() {
            drop_elsewhere(abandoned);
        }
    }
}

impl Leftovers {
    /// Removes the directories that nothing is left in. Blocking.
    pub(crate) fn remove_empty(&self) {
        self.abandoned.iter().for_each(Abandoned::remove_if_empty);
    }
}

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.remove_if_empty();
    }
}

impl Abandoned {
    fn remove_if_empty(&self) {
        let (tmp, dir) = (self.tmp.as_fd(), self.shelf.fd());
        for name in sys::names_in(dir, ".").unwrap_or_default() {
            let _ = rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR);
        }
        if rustix::fs::unlinkat(tmp, &self.name, AtFlags::REMOVEDIR).is_ok() {
            let _ = sys::remove_file(tmp, &lock_name(&self.name));
        }
    }
}

/// Removes the lock of a staging directory that is gone. Its owner died in between.
fn expire_lock(repo: &FsRepo, staging: &str) -> Result<()> {
    let (tmp, name) = (repo.inner.tmp.as_fd(), lock_name(staging));
    let expired = sys::stat(tmp, &name)?.is_some_and(|stat| has_expired(repo, stat.st_mtime));
    if !expired || sys::stat(tmp, staging)?.is_some() {
        return Ok(());
    }
    let held = lock_staging(tmp, staging)?;
    if held.is_some() {
        sys::remove_file(tmp, &name)?;
    }
    Ok(())
}

/// Removes what was to replace a ref, or another small file, when its writer died.
fn expire_temporaries(repo: &FsRepo) -> Result<()> {
    let mut dirs = vec!["state".to_owned(), "refs".to_owned(), ".".to_owned()];
    while let Some(dir) = dirs.pop() {
        for (name, file_type) in sys::entries_in(repo.dir(), &dir)? {
            let path = format!("{dir}/{name}");
            if file_type.is_dir() && dir.starts_with("refs") {
                dirs.push(path);
            } else if sys::is_temporary(&name)
                && sys::stat(repo.dir(), &path)?.is_some_and(|s| has_expired(repo, s.st_mtime))
            {
                sys::remove_file(repo.dir(), &path)?;
            }
        }
    }
    Ok(())
}

/// Returns whether a file goes by another name too.
///
/// Whoever was to remove that one may have died with the batch, and the other may be edited.
fn has_other_links(shelf: &Shelf, path: &str) -> Result<bool> {
    let stat = sys::stat(shelf.fd(), path)?;
    Ok(stat.is_some_and(|stat| stat.st_nlink > 1))
}

/// Returns what is left to do to make the data of an object durable.
fn sync_state_of(shelf: &Shelf, path: &str) -> Result<SyncState> {
    let stat = sys::stat(shelf.fd(), path)?;
    let is_symlink = |stat: Stat| FileType::from_raw_mode(stat.st_mode).is_symlink();
    Ok(match stat.is_some_and(is_symlink) {
        true => SyncState::Done,
        false => SyncState::Due,
    })
}

/// Reads an object to its end, which fails if it is not what its name says.
fn verify(context: &WriteContext, shelf: &Shelf, name: &ObjectName) -> Result<()> {
    let body = fetch_from(shelf, name)?.ok_or_else(|| Error::missing("is gone"))?;
    let object = Incoming::named(*name, body);
    if name.object_type != ObjectType::File {
        return object.into_metadata().map(|_| ());
    }
    let codec = &context.repo.inner.options.codec;
    let mut reader = object.into_content(&**codec)?;
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(e) => return Err(from_read("cannot be read", e)),
        }
    }
}

/// Returns whether something last changed at `modified_secs` is older than `core.tmp-expiry-secs`.
pub(crate) fn has_expired(repo: &FsRepo, modified_secs: i64) -> bool {
    let inner = &repo.inner;
    let modified = u64::try_from(modified_secs).unwrap_or(0);
    let modified = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(modified);
    let age = (inner.options.clock)().duration_since(modified);
    // What comes from the future is not old.
    age.is_ok_and(|age| age > inner.config.tmp_expiry)
}
