//! Listing the objects of a repository.

use std::time::{Duration, SystemTime};

use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use treeferry_core::error::Result;
use treeferry_core::format::{ObjectName, ObjectType};
use treeferry_core::store::Listed;

use crate::layout::{fanout_name, parse_object};
use crate::repo::FsRepo;
use crate::shelf::Shelf;
use crate::sys;

/// Directories listed in one job of the pool.
const DIRECTORIES_A_JOB: usize = 32;

/// Lists the objects of one kind; those of parents are not among them.
pub(crate) fn list(repo: FsRepo, object_type: ObjectType) -> BoxStream<'static, Result<Listed>> {
    let fanouts: Vec<u8> = (0..=255).collect();
    let chunks: Vec<Vec<u8>> = fanouts
        .chunks(DIRECTORIES_A_JOB)
        .map(<[u8]>::to_vec)
        .collect();
    futures::stream::iter(chunks)
        .map(move |chunk| {
            let repo = repo.clone();
            async move {
                repo.run(move |repo| {
                    let mut found = Vec::new();
                    for first in chunk {
                        list_fanout(&repo.inner.shelf, first, object_type, &mut found)?;
                    }
                    Ok(futures::stream::iter(found.into_iter().map(Ok)))
                })
                .await
            }
        })
        .buffered(2)
        .try_flatten()
        .boxed()
}

fn list_fanout(
    shelf: &Shelf,
    first: u8,
    object_type: ObjectType,
    found: &mut Vec<Listed>,
) -> Result<()> {
    for_each_object(shelf, first, |name, path| {
        if name.object_type != object_type {
            return Ok(());
        }
        // One that went away in between is not there.
        if let Some(stat) = sys::stat(shelf.fd(), path)? {
            // Attributes that a file holds are a part of it, and go when it goes.
            if object_type == ObjectType::FileXattrs && stat.st_nlink > 1 {
                return Ok(());
            }
            let modified = u64::try_from(stat.st_mtime).ok().filter(|secs| *secs > 0);
            found.push(Listed {
                name,
                stored_bytes: sys::length(&stat),
                modified: modified.map(|secs| SystemTime::UNIX_EPOCH + Duration::from_secs(secs)),
            });
        }
        Ok(())
    })
}

/// Calls `each` with the name and path of all objects whose checksum begins with `first`.
pub(crate) fn for_each_object(
    shelf: &Shelf,
    first: u8,
    mut each: impl FnMut(ObjectName, &str) -> Result<()>,
) -> Result<()> {
    let fanout = fanout_name(first);
    for file in sys::names_in(shelf.fd(), &fanout)? {
        if let Some(name) = parse_object(&fanout, &file, shelf.mode) {
            each(name, &format!("{fanout}/{file}"))?;
        }
    }
    Ok(())
}
