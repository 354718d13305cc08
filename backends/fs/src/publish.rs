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
use crate::mode::FsMode;
use crate::shelf::{Shelf, display_path};
use crate::staging::{Staged, SyncState, make_fanout};
use crate::sync::{sync_fanouts, sync_staged};
use crate::sys::{self, Durable, failed};
use crate::write::WriteContext;

/// Makes all that was staged durable and visible.
pub(crate) async fn publish(context: &Arc<WriteContext>, durable: Durable) -> Result<()> {
    // From here on the staging directory is removed whatever happens: after a failed sync the
    // kernel may call pages clean that never reached the disk, and nobody must believe them.
    let staged = context.staging.close();
    let due =
        |(name, staged): &(ObjectName, Staged)| (staged.sync == SyncState::Due).then_some(*name);
    sync_staged(context, staged.iter().filter_map(due).collect(), durable).await?;

    let names: Vec<ObjectName> = staged.into_iter().map(|(name, _)| name).collect();
    make_fanouts(context, &names, durable).await?;

    // What the batch found there may have been put there by a writer that has not synced yet.
    let mut fanouts: BTreeSet<u8> = context.staging.relied.to_vec().into_iter().collect();
    for phase in 0..PHASES {
        let of_phase = names.iter().filter(|name| phase_of(name) == phase);
        let of_phase: Vec<ObjectName> = of_phase.copied().collect();
        fanouts.extend(of_phase.iter().map(first_byte));
        move_all(context, of_phase).await?;
        let touched = std::mem::take(&mut fanouts).into_iter().collect();
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

fn first_byte(name: &ObjectName) -> u8 {
    name.checksum.as_bytes()[0]
}

async fn make_fanouts(
    context: &Arc<WriteContext>,
    names: &[ObjectName],
    durable: Durable,
) -> Result<()> {
    let fanouts: BTreeSet<u8> = names.iter().map(first_byte).collect();
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

async fn move_all(context: &Arc<WriteContext>, mut names: Vec<ObjectName>) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    // Neighbours share a directory, which the kernel locks for each rename.
    names.sort_unstable_by_key(|name| name.checksum);
    let pool = context.repo.pool();
    let share = names.len().div_ceil(pool.width());
    let jobs = names.chunks(share).map(|chunk| {
        let (context, chunk) = (Arc::clone(context), chunk.to_vec());
        pool.run(move || {
            let (from, to) = (&context.staging.shelf, &context.repo.inner.shelf);
            chunk
                .iter()
                .try_for_each(|name| move_object(from, to, name))
        })
    });
    try_join_all(jobs).await.map(|_| ())
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
