//! Handles and places.

use bytes::Bytes;

use super::{Here, list, set};
use crate::Outcome;
use crate::transport::{ensure_holds, path};

pub(super) async fn handles_see_each_others_files(place: Here<'_>) -> Outcome {
    let (remote, second) = (place.open().await?, place.open().await?);
    let path = path("dir/shared")?;
    // It looks first: what it saw it must not go on believing.
    ensure_holds(&*second, &path, None, "before it is put").await?;
    for bytes in [Bytes::from_static(b"one"), Bytes::from_static(b"two")] {
        set(&*remote, &path, &bytes).await?;
        ensure_holds(&*second, &path, Some(&bytes), "by another handle").await?;
        ensure_eq!(list(&*second, "").await?.len(), 1, "the number of files listed");
    }
    remote.delete(std::slice::from_ref(&path)).await?;
    ensure_holds(&*second, &path, None, "deleted by another handle").await
}

pub(super) async fn reopening_keeps_all_files(place: Here<'_>) -> Outcome {
    let (remote, path) = (place.open().await?, path("dir/kept")?);
    set(&*remote, &path, &Bytes::from_static(b"kept")).await?;
    drop(remote);
    let remote = place.open().await?;
    ensure_holds(&*remote, &path, Some(&Bytes::from_static(b"kept")), "reopened").await
}

pub(super) async fn places_do_not_share_files(place: Here<'_>) -> Outcome {
    let (other, path) = (place.another().await?, path("here-alone")?);
    set(&*place.open().await?, &path, &Bytes::from_static(b"here")).await?;
    let elsewhere = other.open().await?;
    ensure_holds(&*elsewhere, &path, None, "put elsewhere").await?;
    ensure_eq!(list(&*elsewhere, "").await?, vec![], "the list elsewhere");
    Ok(())
}
