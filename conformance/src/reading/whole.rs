//! Whole files.

use bytes::Bytes;
use futures::StreamExt;
use futures::future::try_join_all;
use treeferry_core::transport::FetchOptions;

use super::Here;
use crate::suite::spawned;
use crate::transport::{ODD_PATHS, drain, ensure_holds, open_file, path, read};
use crate::{Failed, NameCase, Outcome, Totals, samples};

pub(super) async fn files_come_back_whole(place: Here<'_>) -> Outcome {
    let remote = place.open().await?;
    for length in [0, 1, 2, 1000, 65_535, 65_536, 65_537, 200_000] {
        let (path, bytes) = (path(&format!("files/{length}"))?, pattern(length, 1));
        place.publish(&path, bytes.clone()).await?;
        ensure_holds(&*remote, &path, Some(&bytes), "as published").await?;
    }
    Ok(())
}

pub(super) async fn a_large_file_comes_back_whole(place: Here<'_>) -> Outcome {
    let (path, bytes) = (path("large")?, samples::large_content());
    place.publish(&path, bytes.clone()).await?;
    ensure_holds(&*place.open().await?, &path, Some(&bytes), "as published").await
}

pub(super) async fn an_absent_file_is_none(place: Here<'_>) -> Outcome {
    let remote = place.open().await?;
    ensure_holds(&*remote, &path("in/an/empty/remote")?, None, "never published").await?;
    place.publish(&path("dir/file")?, pattern(10, 1)).await?;
    // A directory is no file, and a file no directory.
    for text in ["absent", "dir", "dir/absent", "dir/file/below", "dir/fil", "dir/file2"] {
        ensure_holds(&*remote, &path(text)?, None, "never published").await?;
    }
    Ok(())
}

pub(super) async fn odd_paths_come_back_or_are_refused(place: Here<'_>) -> Outcome {
    let (remote, names) = (place.open().await?, place.profile().names);
    let mut published = Vec::new();
    for text in ODD_PATHS {
        let (path, bytes) = (path(text)?, Bytes::from(format!("at {text}")));
        let held = text.split('/').all(|name| names.can_hold(name));
        match (place.publish(&path, bytes.clone()).await, held) {
            (Ok(()), true) => published.push((path, bytes)),
            (Err(_), false) => {}
            (Err(error), true) => return Err(error.into()),
            (Ok(()), false) => ensure!(false, "{path}: accepted, though it cannot be held"),
        }
    }
    for (path, bytes) in &published {
        ensure_holds(&*remote, path, Some(bytes), "as published").await?;
    }
    Ok(())
}

pub(super) async fn paths_are_told_apart(place: Here<'_>) -> Outcome {
    let remote = place.open().await?;
    let pairs = [("a b", "a%20b"), ("a+b", "a b"), ("x/y", "x%2Fy"), ("e\u{301}", "é")];
    let names = place.profile().names;
    for (published, other) in pairs {
        if !published.split('/').all(|name| names.can_hold(name)) {
            continue;
        }
        let bytes = Bytes::from(format!("at {published}"));
        place.publish(&path(published)?, bytes).await?;
        ensure_holds(&*remote, &path(other)?, None, "only alike").await?;
        place.withdraw(&path(published)?).await?;
    }
    Ok(())
}

pub(super) async fn names_that_differ_in_case_are_as_the_profile_says(place: Here<'_>) -> Outcome {
    let (remote, bytes) = (place.open().await?, pattern(10, 1));
    place.publish(&path("refs/heads/Main")?, bytes.clone()).await?;
    let expected = match place.profile().case {
        NameCase::ToldApart | NameCase::OneSpelling => None,
        NameCase::Folded => Some(&bytes),
    };
    ensure_holds(&*remote, &path("refs/heads/main")?, expected, "in other case").await
}

pub(super) async fn the_total_is_told_as_the_profile_says(place: Here<'_>) -> Outcome {
    let remote = place.open().await?;
    for length in [0, 1, 100_000] {
        let path = path(&format!("of-{length}"))?;
        place.publish(&path, pattern(length, 1)).await?;
        let expected = match place.profile().totals {
            Totals::Told => Some(length as u64),
            Totals::Unknown => None,
        };
        let told = read(&*remote, &path).await?.total_bytes;
        ensure_eq!(told, expected, "how long {path} is said to be");
    }
    Ok(())
}

pub(super) async fn a_replaced_file_is_the_new_one(place: Here<'_>) -> Outcome {
    let (remote, path) = (place.open().await?, path("replaced")?);
    for (length, salt) in [(100, 1), (100, 2), (5, 3), (200_000, 4), (0, 5)] {
        let bytes = pattern(length, salt);
        place.publish(&path, bytes.clone()).await?;
        ensure_holds(&*remote, &path, Some(&bytes), "replaced").await?;
    }
    Ok(())
}

pub(super) async fn a_withdrawn_file_is_none(place: Here<'_>) -> Outcome {
    let (remote, path) = (place.open().await?, path("dir/withdrawn")?);
    place.publish(&path, pattern(10, 1)).await?;
    read(&*remote, &path).await?;
    place.withdraw(&path).await?;
    ensure_holds(&*remote, &path, None, "withdrawn").await
}

pub(super) async fn many_fetches_at_once_are_told_apart(place: Here<'_>) -> Outcome {
    let remote = place.open().await?;
    let mut files = Vec::new();
    for i in 0..24_u8 {
        let (path, bytes) = (path(&format!("many/{i}"))?, pattern(usize::from(i) * 5003, i));
        place.publish(&path, bytes.clone()).await?;
        files.push((path, bytes));
    }
    let fetches = files.into_iter().map(|(path, bytes)| {
        let remote = remote.clone();
        spawned(async move { ensure_holds(&*remote, &path, Some(&bytes), "of many").await })
    });
    try_join_all(fetches).await?;
    Ok(())
}

pub(super) async fn a_dropped_fetch_harms_nobody(place: Here<'_>) -> Outcome {
    let (remote, large) = (place.open().await?, samples::large_content());
    let (path, other) = (path("large")?, path("other")?);
    place.publish(&path, large.clone()).await?;
    place.publish(&other, pattern(10, 1)).await?;
    for _ in 0..12 {
        let mut file = open_file(&*remote, &path, FetchOptions::default()).await?;
        file.bytes.next().await.ok_or_else(|| Failed::new("no bytes"))??;
    }
    ensure_holds(&*remote, &other, Some(&pattern(10, 1)), "after dropped fetches").await?;
    ensure_holds(&*remote, &path, Some(&large), "after dropped fetches").await
}

pub(super) async fn a_fetch_never_mixes_two_versions(place: Here<'_>) -> Outcome {
    let (remote, path) = (place.open().await?, path("replaced-under-way")?);
    let (old, new) = (samples::large_content(), pattern(samples::large_content().len(), 9));
    place.publish(&path, old.clone()).await?;
    let mut file = open_file(&*remote, &path, FetchOptions::default()).await?;
    let first = file.bytes.next().await.ok_or_else(|| Failed::new("no bytes"))??;
    place.publish(&path, new).await?;
    let (rest, end) = drain(file).await;
    // To break off is right as well.
    let whole = [first, rest].concat();
    ensure!(end.is_err() || whole == *old, "the bytes are of two versions");
    ensure!(old.starts_with(&whole), "the bytes before the end are of two versions");
    Ok(())
}

pub(super) async fn addresses_name_the_file(place: Here<'_>) -> Outcome {
    let (remote, second) = (place.open().await?, place.open().await?);
    let origin = remote.origin().to_owned();
    ensure!(!origin.is_empty(), "the remote has no address");
    ensure_eq!(second.origin(), origin, "the address, by another handle");
    let (one, other) = (path("refs/heads/one")?, path("refs/heads/other")?);
    let address = remote.describe(&one);
    ensure!(address.contains("one"), "{address}: does not name the file");
    ensure!(address != remote.describe(&other), "{address}: is that of two files");
    ensure_eq!(second.describe(&one), address, "the address of a file, by another handle");
    let elsewhere = place.another().await?.open().await?.describe(&one);
    ensure!(elsewhere != address, "{address}: is that of files on two remotes");
    Ok(())
}

pub(super) async fn remotes_do_not_share_files(place: Here<'_>) -> Outcome {
    let (other, path) = (place.another().await?, path("here-alone")?);
    place.publish(&path, pattern(10, 1)).await?;
    ensure_holds(&*other.open().await?, &path, None, "published elsewhere").await
}

/// Returns bytes that tell where in the file, and in which file, they are.
pub(super) fn pattern(length: usize, salt: u8) -> Bytes {
    let byte = |i: usize| (i as u8) ^ ((i >> 8) as u8).wrapping_mul(31) ^ salt.wrapping_mul(101);
    (0..length).map(byte).collect()
}
