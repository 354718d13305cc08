//! The end of a batch: durable first, then visible, children before parents.
//!
//! After a power cut at any moment there is no dirtree without its files and no commit without its
//! dirtrees. Data is durable before it gets a name in `objects/`; the names of one phase are
//! durable before the next phase begins.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::try_join_all;
use rustix::fs::{FileType, RenameFlags};
use rustix::io::Errno;
use treeferry_core::error::Result;
use treeferry_core::format::{METADATA_BYTES_MAX, ObjectName, ObjectType};

use crate::layout::{object_path, xattrs_link_path};
use crate::list::for_each_object;
use crate::mode::FsMode;
use crate::shelf::{Shelf, display_path};
use crate::staging::make_fanout;
use crate::sync::{sync_fanouts, sync_staged};
use crate::sys::{self, Durable, failed};
use crate::write::WriteContext;

/// Makes all that was staged durable and visible.
pub(crate) async fn publish(context: &Arc<WriteContext>, durable: Durable) -> Result<()> {
    // From here on the staging directory is removed whatever happens: after a failed sync the
    // kernel may call pages clean that never reached the disk, and nobody must believe them.
    let staging = Arc::clone(&context.staging);
    let closed = context.repo.run(move |_| Ok(staging.close())).await?;
    sync_staged(context, closed.due, durable).await?;
    make_fanouts(context, closed.fanouts.clone(), durable).await?;

    // What the batch found there may have been put there by a writer that has not synced yet.
    let mut touched: BTreeSet<u8> = context.staging.relied.to_vec().into_iter().collect();
    for phase in 0..PHASES {
        // Attributes apart from their files are kept in one mode only.
        if phase > 0 || context.repo.mode() == FsMode::BareSplitXattrs {
            touched.extend(move_all(context, &closed.fanouts, phase).await?);
        }
        let touched = std::mem::take(&mut touched).into_iter().collect();
        sync_fanouts(context, touched, durable).await?;
    }
    Ok(())
}

const PHASES: usize = 4;

/// Children before parents. Attributes kept apart come before the files that have them.
fn phase_of(name: &ObjectName) -> usize {
    match name.object_type {
        ObjectType::FileXattrs => 0,
        ObjectType::File => 1,
        ObjectType::DirMeta | ObjectType::DirTree => 2,
        ObjectType::Commit => 3,
    }
}

async fn make_fanouts(
    context: &Arc<WriteContext>,
    fanouts: Vec<u8>,
    durable: Durable,
) -> Result<()> {
    context
        .repo
        .run(move |repo| {
            let objects = repo.inner.shelf.fd();
            let mut made = false;
            for first in fanouts {
                made |= make_fanout(objects, first)?;
            }
            match made {
                true => sys::sync_dir(objects, ".", durable),
                false => Ok(()),
            }
        })
        .await
}

/// Moves what the staging directory holds of one phase, and returns which directories that changed.
async fn move_all(context: &Arc<WriteContext>, fanouts: &[u8], phase: usize) -> Result<Vec<u8>> {
    if fanouts.is_empty() {
        return Ok(Vec::new());
    }
    let pool = context.repo.pool();
    // Neighbours share a directory, which the kernel locks for each rename.
    let share = fanouts.len().div_ceil(pool.width());
    let jobs = fanouts.chunks(share).map(|chunk| {
        let (context, chunk) = (Arc::clone(context), chunk.to_vec());
        pool.run(move || {
            let (from, to) = (&context.staging.shelf, &context.repo.inner.shelf);
            let mut touched = Vec::new();
            for first in chunk {
                let mut moved = false;
                for_each_object(from, first, |name, _| {
                    if phase_of(&name) == phase {
                        moved = true;
                        move_object(from, to, &name)?;
                    }
                    Ok(())
                })?;
                touched.extend(moved.then_some(first));
            }
            Ok(touched)
        })
    });
    let touched: Vec<Vec<u8>> = try_join_all(jobs).await?;
    Ok(touched.concat())
}

fn move_object(from: &Shelf, to: &Shelf, name: &ObjectName) -> Result<()> {
    if to.mode == FsMode::BareSplitXattrs && name.object_type == ObjectType::File {
        move_node(from, to, &xattrs_link_path(&name.checksum), Same::Shape)?;
    }
    let same = match name.object_type {
        ObjectType::File => Same::Shape,
        _ => Same::Bytes,
    };
    move_node(from, to, &object_path(name, to.mode), same)
}

/// When what is there already is taken for the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Same {
    /// Of the same type and length.
    Shape,
    /// Of the same bytes, which are few.
    Bytes,
}

/// Renames one node, leaving what is there already if it can be the same.
///
/// Replacing it would part it from the checkouts that share its inode; but one of another length
/// was torn by a power cut, and would stay so for ever. Nobody shares the inode of metadata, and
/// nobody could use what is damaged.
fn move_node(from: &Shelf, to: &Shelf, path: &str, same: Same) -> Result<()> {
    let fail = |e| {
        failed(
            &display_path(path).to_string_lossy(),
            "cannot be put in place",
        )(e)
    };
    let keep_other = RenameFlags::NOREPLACE;
    match rustix::fs::renameat_with(from.fd(), path, to.fd(), path, keep_other) {
        Ok(()) => return Ok(()),
        Err(Errno::EXIST) => {}
        // Some network and FUSE filesystems know no flags.
        Err(Errno::INVAL | Errno::NOSYS) if sys::stat(to.fd(), path)?.is_none() => {
            return rustix::fs::renameat(from.fd(), path, to.fd(), path).map_err(fail);
        }
        Err(Errno::INVAL | Errno::NOSYS) => {}
        Err(e) => return Err(fail(e)),
    }
    let (ours, theirs) = (sys::stat(from.fd(), path)?, sys::stat(to.fd(), path)?);
    let shape =
        |stat: rustix::fs::Stat| (FileType::from_raw_mode(stat.st_mode), sys::length(&stat));
    let read = |shelf: &Shelf| sys::read_file(shelf.fd(), path, METADATA_BYTES_MAX);
    let is_same = ours.map(shape) == theirs.map(shape)
        && match same {
            Same::Shape => true,
            // What cannot be read is not the same.
            Same::Bytes => read(from)? == read(to).unwrap_or_default(),
        };
    if is_same {
        return sys::remove_file(from.fd(), path).map(|_| ());
    }
    rustix::fs::renameat(from.fd(), path, to.fd(), path).map_err(fail)
}
