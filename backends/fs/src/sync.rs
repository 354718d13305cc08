//! Making staged data durable before it is published.

use std::sync::Arc;

use futures::future::try_join_all;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use treeferry_core::error::{Error, Result};
use treeferry_core::format::ObjectName;

use crate::layout::{fanout_name, object_path};
use crate::shelf::{Shelf, display_path};
use crate::staging::Due;
use crate::sys::{self, Durable, failed};
use crate::write::WriteContext;

/// Up to so many files are synced one by one.
///
/// `syncfs` waits for all that anybody has written to the filesystem, which on a busy disk can
/// take minutes and stalls the others; `fsync` waits for one file, but ten thousand of them mean
/// ten thousand waits for the disk, where one `syncfs` lets it write everything in the best
/// order. A few ref or metadata updates must not pay for somebody else's copying, a whole tree
/// must not wait for the disk file by file.
pub(crate) const SYNC_EACH_MAX: usize = 128;

/// Makes the data of what is due, in the staging directory, durable.
pub(crate) async fn sync_staged(
    context: &Arc<WriteContext>,
    due: Due,
    durable: Durable,
) -> Result<()> {
    if durable == Durable::No {
        return Ok(());
    }
    let pool = context.repo.pool();
    let names = match due {
        Due::Few(names) if names.is_empty() => return Ok(()),
        Due::Few(names) => names,
        Due::Many => {
            let context = Arc::clone(context);
            return pool
                .run(move || {
                    rustix::fs::syncfs(context.staging.shelf.fd())
                        .map_err(failed("tmp", "cannot be made durable"))
                })
                .await;
        }
    };
    let share = names.len().div_ceil(pool.width());
    let jobs = names.chunks(share).map(|chunk| {
        let (context, chunk) = (Arc::clone(context), chunk.to_vec());
        pool.run(move || {
            chunk
                .iter()
                .try_for_each(|name| sync_one(&context.staging.shelf, name))
        })
    });
    try_join_all(jobs).await.map(|_| ())
}

fn sync_one(shelf: &Shelf, name: &ObjectName) -> Result<()> {
    let path = object_path(name, shelf.mode);
    let failed = |e| Error::io("cannot be made durable", e).about(*name);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    match rustix::fs::openat(shelf.fd(), &path, flags, Mode::empty()) {
        // fsync and not fdatasync: owner, mode and extended attributes are part of the object.
        Ok(file) => rustix::fs::fsync(file).map_err(failed),
        Err(Errno::NOENT) => Err(Error::missing("is gone from the staging directory").about(*name)),
        // A tree may hold files that not even their owner may read.
        Err(Errno::ACCESS) => rustix::fs::syncfs(shelf.fd()).map_err(failed),
        Err(e) => Err(failed(e)),
    }
}

/// Makes the entries of directories of `objects/` durable.
pub(crate) async fn sync_fanouts(
    context: &Arc<WriteContext>,
    fanouts: Vec<u8>,
    durable: Durable,
) -> Result<()> {
    if durable == Durable::No || fanouts.is_empty() {
        return Ok(());
    }
    let pool = context.repo.pool();
    let share = fanouts.len().div_ceil(pool.width());
    let jobs = fanouts.chunks(share).map(|chunk| {
        let (context, chunk) = (Arc::clone(context), chunk.to_vec());
        pool.run(move || {
            let shelf = &context.repo.inner.shelf;
            chunk
                .iter()
                .try_for_each(|first| sync_fanout(shelf, *first))
        })
    });
    try_join_all(jobs).await.map(|_| ())
}

fn sync_fanout(shelf: &Shelf, first: u8) -> Result<()> {
    let name = fanout_name(first);
    let synced = sys::open_dir(shelf.fd(), &name).and_then(rustix::fs::fsync);
    match synced {
        // A directory that is gone has nothing in it that could be lost.
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => {
            let path = display_path(&name);
            Err(failed(&path.to_string_lossy(), "cannot be made durable")(e))
        }
    }
}
