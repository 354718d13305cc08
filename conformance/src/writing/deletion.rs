//! Deleting files.

use bytes::Bytes;
use treeferry_core::transport::RemotePath;

use super::{Here, list, set};
use crate::transport::{ensure_holds, path};
use crate::{Failed, Outcome};

fn bytes() -> Bytes {
    Bytes::from_static(b"to be deleted")
}

fn paths(names: &[&str]) -> Result<Vec<RemotePath>, Failed> {
    names.iter().map(|name| path(name)).collect()
}

pub(super) async fn deleted_files_are_gone(place: Here<'_>) -> Outcome {
    let (remote, second) = (place.open().await?, place.open().await?);
    let paths = paths(&["one", "dir/two", "dir/sub/three"])?;
    for path in &paths {
        set(&*remote, path, &bytes()).await?;
    }
    remote.delete(&paths).await?;
    for path in &paths {
        ensure_holds(&*second, path, None, "deleted").await?;
    }
    ensure_eq!(list(&*second, "").await?, vec![], "the list");
    Ok(())
}

pub(super) async fn deleting_what_is_absent_is_no_error(place: Here<'_>) -> Outcome {
    let remote = place.open().await?;
    remote.delete(&[]).await?;
    let (absent, there) = (paths(&["absent", "no/such/dir/file"])?, path("there")?);
    remote.delete(&absent).await?;
    set(&*remote, &there, &bytes()).await?;
    // What is absent does not save what follows.
    let mixed = [absent[0].clone(), there.clone(), absent[1].clone()];
    remote.delete(&mixed).await?;
    ensure_holds(&*remote, &there, None, "deleted along with what is absent").await?;
    remote.delete(&mixed).await?;
    Ok(())
}

pub(super) async fn delete_spares_the_rest(place: Here<'_>) -> Outcome {
    let remote = place.open().await?;
    let spared = paths(&["dir/file2", "dir/fil", "other/file", "dir2/file"])?;
    let deleted = path("dir/file")?;
    for path in spared.iter().chain([&deleted]) {
        set(&*remote, path, &bytes()).await?;
    }
    remote.delete(std::slice::from_ref(&deleted)).await?;
    for path in &spared {
        ensure_holds(&*remote, path, Some(&bytes()), "spared").await?;
    }
    // A directory is no file.
    remote.delete(&paths(&["dir"])?).await.ok();
    for path in &spared {
        ensure_holds(&*remote, path, Some(&bytes()), "spared").await?;
    }
    Ok(())
}

pub(super) async fn more_than_a_thousand_are_deleted(place: Here<'_>) -> Outcome {
    let remote = place.open().await?;
    let names = (0..1100).map(|i| path(&format!("many/{i:04}")));
    let all: Vec<RemotePath> = names.collect::<Result<_, _>>()?;
    // Buckets take a thousand at once; most of these were never there.
    let there: Vec<_> = all.iter().step_by(100).chain(all.last()).collect();
    for path in &there {
        set(&*remote, path, &bytes()).await?;
    }
    remote.delete(&all).await?;
    for path in there {
        ensure_holds(&*remote, path, None, "deleted along with many").await?;
    }
    Ok(())
}
