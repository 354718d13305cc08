//! Listing files.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use treeferry_core::transport::{Precondition, PutBody, RemotePath};

use super::{Here, list, set};
use crate::transport::path;
use crate::{Failed, ListedTimes, Outcome, samples};

const FILES: [(&str, usize); 7] = [
    ("config", 5),
    ("objects/00/11.filez", 0),
    ("objects/00/22.dirtree", 70_000),
    ("objects/ff/33.commit", 3),
    ("objects2/44", 1),
    ("refs/heads/os/stable", 65),
    ("refs/heads/os-2", 65),
];

async fn fill(place: Here<'_>) -> Outcome {
    let remote = place.open().await?;
    for (name, length) in FILES {
        set(&*remote, &path(name)?, &Bytes::from(vec![1; length])).await?;
    }
    Ok(())
}

/// Returns what must be listed below a prefix.
fn below(prefix: &str) -> Vec<(String, u64)> {
    let below = FILES.iter().filter(|(name, _)| name.starts_with(prefix));
    let mut all: Vec<_> = below.map(|(name, n)| ((*name).to_owned(), *n as u64)).collect();
    all.sort();
    all
}

pub(super) async fn a_list_has_exactly_what_is_there(place: Here<'_>) -> Outcome {
    fill(place).await?;
    let remote = place.open().await?;
    ensure_eq!(list(&*remote, "").await?, below(""), "the list of all");
    set(&*remote, &path("config")?, &Bytes::from_static(b"longer than before")).await?;
    remote.delete(&[path("objects2/44")?]).await?;
    let listed = list(&*place.open().await?, "").await?;
    let mut expected = below("");
    expected.retain(|(name, _)| name != "objects2/44");
    expected[0].1 = 18;
    ensure_eq!(listed, expected, "the list after changes");
    Ok(())
}

pub(super) async fn a_list_has_what_starts_with_the_prefix(place: Here<'_>) -> Outcome {
    fill(place).await?;
    let remote = place.open().await?;
    for prefix in ["objects/", "objects/00/", "refs/", "refs/heads/os/", "objects2/"] {
        let listed = list(&*remote, prefix).await?;
        ensure_eq!(listed, below(prefix), "the list below {prefix}");
    }
    Ok(())
}

pub(super) async fn a_list_of_nothing_is_empty(place: Here<'_>) -> Outcome {
    let remote = place.open().await?;
    ensure_eq!(list(&*remote, "").await?, vec![], "the list of an empty remote");
    ensure_eq!(list(&*remote, "objects/").await?, vec![], "the list of an absent directory");
    fill(place).await?;
    for prefix in ["deltas/", "objects/01/", "config/", "objects/0/"] {
        ensure_eq!(list(&*remote, prefix).await?, vec![], "the list below {prefix}");
    }
    Ok(())
}

pub(super) async fn a_list_tells_times_as_the_profile_says(place: Here<'_>) -> Outcome {
    fill(place).await?;
    let listed: Vec<_> = place.open().await?.list("").try_collect().await?;
    for file in listed {
        let expected = place.profile().listed_times == ListedTimes::Known;
        ensure_eq!(file.modified.is_some(), expected, "{}: whether its time is told", file.path);
    }
    Ok(())
}

pub(super) async fn a_list_of_more_than_a_thousand_is_whole(place: Here<'_>) -> Outcome {
    let remote = place.open().await?;
    let names = (0..1010).map(|i| path(&format!("many/{i:04}")));
    let paths: Vec<RemotePath> = names.collect::<Result<_, _>>()?;
    let puts = stream::iter(paths.clone()).map(|path| {
        let remote = remote.clone();
        async move { set(&*remote, &path, &Bytes::new()).await }
    });
    puts.buffer_unordered(16).try_collect::<Vec<()>>().await?;
    let listed = list(&*remote, "many/").await?;
    let expected: Vec<_> = paths.iter().map(|path| (path.to_string(), 0)).collect();
    ensure!(listed == expected, "{} of {} files are listed", listed.len(), expected.len());
    Ok(())
}

pub(super) async fn what_failed_is_not_listed(place: Here<'_>) -> Outcome {
    fill(place).await?;
    let remote = place.open().await?;
    for name in ["objects/00/55.filez", "config", "new/dir/file"] {
        let mut pieces = samples::split(&samples::large_content().slice(..100_000), 40_000);
        pieces.push(Err(samples::broken_connection()));
        let body = PutBody::Stream {
            total_bytes: 200_000,
            bytes: samples::stream(pieces),
        };
        let answer = remote.put(&path(name)?, Precondition::None, body).await;
        ensure!(answer.is_err(), "{name}: a broken stream was answered with {answer:?}");
    }
    let listed: Result<_, Failed> = list(&*place.open().await?, "").await;
    ensure_eq!(listed?, below(""), "the list after failed puts");
    Ok(())
}
