//! Fetches that start in the middle.

use bytes::Bytes;
use treeferry_core::transport::{FetchOptions, RemotePath, Resume, Transport, Validator};

use super::Here;
use super::whole::pattern;
use crate::transport::{
    Read, drain, foreign_validators, open_file, path, read, read_with, wait_to_change,
};
use crate::{Failed, Outcome, Resuming};

const LENGTH: usize = 200_000;

fn from(offset: usize, validator: Validator) -> FetchOptions {
    let offset = offset as u64;
    FetchOptions {
        resume: Some(Resume { offset, validator }),
        ..FetchOptions::default()
    }
}

/// Publishes a file, and returns its version, where versions are told.
async fn published(
    place: Here<'_>,
    remote: &dyn Transport,
    path: &RemotePath,
) -> Result<Option<Validator>, Failed> {
    place.publish(path, pattern(LENGTH, 1)).await?;
    wait_to_change(place.profile()).await;
    Ok(read(remote, path).await?.validator)
}

fn ensure_whole(found: &Read, expected: &Bytes, what: &str) -> Outcome {
    ensure_eq!(found.offset, 0, "{what}: where the bytes start");
    ensure!(found.bytes == *expected, "{what}: not the whole file");
    Ok(())
}

pub(super) async fn a_fetch_continues_or_starts_over_as_the_profile_says(
    place: Here<'_>,
) -> Outcome {
    let (remote, path) = (place.open().await?, path("resumed")?);
    let Some(version) = published(place, &*remote, &path).await? else {
        return Ok(()); // without a version there is nothing to continue under
    };
    let whole = pattern(LENGTH, 1);
    for offset in [0, 1, 65_536, 100_001, LENGTH - 1] {
        let second = place.open().await?;
        let found = read_with(&*second, &path, from(offset, version.clone())).await?;
        match place.profile().resuming {
            Resuming::Continues => {
                ensure_eq!(found.offset, offset as u64, "where the bytes start");
                ensure!(found.bytes == whole[offset..], "from {offset} on: not the rest");
                if let Some(total) = found.total_bytes {
                    ensure_eq!(total, LENGTH as u64, "the length of the whole file");
                }
            }
            Resuming::StartsOver => ensure_whole(&found, &whole, "who starts over")?,
        }
    }
    Ok(())
}

pub(super) async fn a_fetch_of_another_version_starts_over(place: Here<'_>) -> Outcome {
    let (remote, path) = (place.open().await?, path("resumed")?);
    let Some(version) = published(place, &*remote, &path).await? else {
        return Ok(());
    };
    place.publish(&path, pattern(LENGTH, 2)).await?;
    let found = read_with(&*remote, &path, from(1000, version)).await?;
    ensure_whole(&found, &pattern(LENGTH, 2), "another version")
}

pub(super) async fn a_fetch_under_a_foreign_version_starts_over(place: Here<'_>) -> Outcome {
    let (remote, path) = (place.open().await?, path("resumed")?);
    place.publish(&path, pattern(LENGTH, 1)).await?;
    for foreign in foreign_validators() {
        let found = read_with(&*remote, &path, from(1000, foreign.clone())).await?;
        ensure_whole(&found, &pattern(LENGTH, 1), &format!("under {foreign:?}"))?;
    }
    Ok(())
}

pub(super) async fn a_fetch_from_the_end_brings_nothing_or_all(place: Here<'_>) -> Outcome {
    let (remote, path) = (place.open().await?, path("resumed")?);
    let Some(version) = published(place, &*remote, &path).await? else {
        return Ok(());
    };
    let found = read_with(&*remote, &path, from(LENGTH, version)).await?;
    match found.offset {
        0 => ensure_whole(&found, &pattern(LENGTH, 1), "from the end on"),
        offset => {
            ensure_eq!(offset, LENGTH as u64, "where the bytes start");
            ensure!(found.bytes.is_empty(), "bytes after the end");
            Ok(())
        }
    }
}

pub(super) async fn a_fetch_from_beyond_the_end_brings_no_wrong_bytes(place: Here<'_>) -> Outcome {
    let (remote, path) = (place.open().await?, path("resumed")?);
    let Some(version) = published(place, &*remote, &path).await? else {
        return Ok(());
    };
    // To refuse is right: nobody has more of a version than there is.
    if let Ok(file) = open_file(&*remote, &path, from(LENGTH + 5, version)).await {
        let offset = file.offset;
        let (bytes, end) = drain(file).await;
        let whole = offset == 0 && bytes == pattern(LENGTH, 1);
        ensure!(end.is_err() || whole, "bytes from {offset} on, beyond the end");
    }
    Ok(())
}

pub(super) async fn an_absent_file_cannot_be_continued(place: Here<'_>) -> Outcome {
    let (remote, path) = (place.open().await?, path("resumed")?);
    let version = published(place, &*remote, &path).await?;
    place.withdraw(&path).await?;
    for version in version.into_iter().chain(foreign_validators()) {
        let answer = remote.fetch(&path, from(1000, version.clone())).await?;
        ensure!(answer.is_none(), "withdrawn, and continued under {version:?}");
    }
    Ok(())
}
