//! Fetching what has changed.

use treeferry_core::transport::{FetchOptions, Transport, Validator};

use super::Here;
use super::whole::pattern;
use crate::transport::{
    ensure_holds, foreign_validators, path, read, read_unless, wait_to_change,
};
use crate::{Outcome, Versions};

pub(super) async fn versions_are_told_as_the_profile_says(place: Here<'_>) -> Outcome {
    let (remote, path) = (place.open().await?, path("versions/file")?);
    place.publish(&path, pattern(100, 1)).await?;
    wait_to_change(place.profile()).await;
    let first = read(&*remote, &path).await?.validator;
    match place.profile().versions {
        Versions::None => ensure_eq!(first, None, "the version"),
        Versions::EachChange | Versions::Apart(_) => {
            ensure!(first.is_some(), "the version is not told");
        }
    }
    ensure_eq!(read(&*remote, &path).await?.validator, first, "the version, read again");
    // Of the same length: who goes by length alone is found out.
    place.publish(&path, pattern(100, 2)).await?;
    wait_to_change(place.profile()).await;
    let second = read(&*remote, &path).await?.validator;
    ensure!(first.is_none() || second != first, "two versions are called {first:?}");
    Ok(())
}

pub(super) async fn handles_agree_on_versions(place: Here<'_>) -> Outcome {
    let (remote, path) = (place.open().await?, path("versions/file")?);
    place.publish(&path, pattern(100, 1)).await?;
    place.publish(&path, pattern(100, 2)).await?;
    wait_to_change(place.profile()).await;
    let first = read(&*remote, &path).await?.validator;
    let second = read(&*place.open().await?, &path).await?.validator;
    ensure_eq!(second, first, "the version, by another handle");
    Ok(())
}

/// Returns the version of a file, where versions are told.
async fn version(
    remote: &dyn Transport,
    path: &treeferry_core::transport::RemotePath,
) -> Result<Option<Validator>, crate::Failed> {
    Ok(read(remote, path).await?.validator)
}

pub(super) async fn an_unchanged_file_is_not_sent_again(place: Here<'_>) -> Outcome {
    let remote = place.open().await?;
    for length in [0, 100, 200_000] {
        let path = path(&format!("unchanged/{length}"))?;
        place.publish(&path, pattern(length, 1)).await?;
        wait_to_change(place.profile()).await;
        if let Some(version) = version(&*remote, &path).await? {
            let second = place.open().await?;
            let sent = read_unless(&*second, &path, &version).await?;
            ensure!(sent.is_none(), "{path}: unchanged, and sent again");
        }
    }
    Ok(())
}

pub(super) async fn a_changed_file_is_sent(place: Here<'_>) -> Outcome {
    let remote = place.open().await?;
    for length in [100, 200_000] {
        let path = path(&format!("changed/{length}"))?;
        place.publish(&path, pattern(length, 1)).await?;
        wait_to_change(place.profile()).await;
        let before = version(&*remote, &path).await?;
        place.publish(&path, pattern(length, 2)).await?;
        wait_to_change(place.profile()).await;
        if let Some(before) = before {
            let sent = read_unless(&*remote, &path, &before).await?;
            ensure!(sent == Some(pattern(length, 2)), "{path}: changed, and not sent whole");
        }
    }
    Ok(())
}

pub(super) async fn a_foreign_version_is_not_believed(place: Here<'_>) -> Outcome {
    let (remote, path) = (place.open().await?, path("versions/file")?);
    place.publish(&path, pattern(100, 1)).await?;
    for foreign in foreign_validators() {
        let sent = read_unless(&*remote, &path, &foreign).await?;
        ensure!(sent == Some(pattern(100, 1)), "not sent whole to who has {foreign:?}");
    }
    Ok(())
}

pub(super) async fn an_absent_file_is_none_whatever_is_known_of_it(place: Here<'_>) -> Outcome {
    let (remote, path) = (place.open().await?, path("versions/file")?);
    place.publish(&path, pattern(100, 1)).await?;
    wait_to_change(place.profile()).await;
    let version = version(&*remote, &path).await?;
    place.withdraw(&path).await?;
    ensure_holds(&*remote, &path, None, "withdrawn").await?;
    for version in version.into_iter().chain(foreign_validators()) {
        let options = FetchOptions {
            unless: Some(version.clone()),
            ..FetchOptions::default()
        };
        let answer = remote.fetch(&path, options).await?;
        ensure!(answer.is_none(), "withdrawn, and there for who has {version:?}");
    }
    Ok(())
}
