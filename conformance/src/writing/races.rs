//! Many writers of one file.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::try_join_all;
use tokio::sync::Barrier;
use treeferry_core::transport::{
    FetchOptions, Fetched, Precondition, PutAnswer, RemotePath, WritableTransport,
};

use super::{Here, can_race, put, set, version};
use crate::suite::spawned;
use crate::transport::{drain, ensure_holds, path, read};
use crate::{Failed, Outcome, Versions};

const WRITERS: usize = 8;

/// Lets all writers put at once on `precondition`; exactly one may win, and its bytes are there.
async fn one_wins(place: Here<'_>, path: &RemotePath, precondition: Precondition) -> Outcome {
    let start = Arc::new(Barrier::new(WRITERS));
    let mut writers = Vec::new();
    for i in 0..WRITERS {
        let (remote, path, start) = (place.open().await?, path.clone(), Arc::clone(&start));
        let precondition = precondition.clone();
        writers.push(spawned(async move {
            start.wait().await;
            put(&*remote, &path, precondition, &content(i)).await
        }));
    }
    let answers = try_join_all(writers).await?;
    let won = |(_, answer): &(usize, &PutAnswer)| **answer != PutAnswer::Conflict;
    let winners: Vec<_> = answers.iter().enumerate().filter(won).map(|(i, _)| i).collect();
    ensure_eq!(winners.len(), 1, "the number of winners");
    let remote = place.open().await?;
    ensure_holds(&*remote, path, Some(&content(winners[0])), "what the winner put").await
}

fn content(writer: usize) -> Bytes {
    Bytes::from(format!("put by writer {writer}"))
}

pub(super) async fn one_of_many_creators_wins(place: Here<'_>) -> Outcome {
    if can_race(place) {
        for round in 0..4 {
            let path = path(&format!("created/once/{round}"))?;
            one_wins(place, &path, Precondition::Absent).await?;
        }
    }
    Ok(())
}

pub(super) async fn one_of_many_replacers_of_a_version_wins(place: Here<'_>) -> Outcome {
    let told = place.profile().versions == Versions::EachChange;
    if !can_race(place) || !told {
        return Ok(());
    }
    for round in 0..4 {
        let (remote, path) = (place.open().await?, path(&format!("replaced/once/{round}"))?);
        set(&*remote, &path, &Bytes::from_static(b"before")).await?;
        let before = version(&*remote, &path).await?.ok_or_else(|| Failed::new("no version"))?;
        one_wins(place, &path, Precondition::Unchanged(before)).await?;
    }
    Ok(())
}

/// How often a count is tried: each conflict means that somebody else has counted.
const TRIES_MAX: usize = 200;

/// Adds one to the number in a file, and again until nobody was in between.
async fn count_one(remote: &dyn WritableTransport, path: &RemotePath, all_read: &Barrier) -> Outcome {
    let mut waited = false;
    for _ in 0..TRIES_MAX {
        let (precondition, before) = match remote.fetch(path, FetchOptions::default()).await? {
            None => (Precondition::Absent, 0),
            Some(Fetched::NotModified) => return Err(Failed::new("called not modified")),
            Some(Fetched::File(file)) => {
                let version = file.validator.clone();
                let version = version.ok_or_else(|| Failed::new("no version"))?;
                let (bytes, end) = drain(file).await;
                end?;
                (Precondition::Unchanged(version), number(&bytes)?)
            }
        };
        // All that count have read before any of them writes: who does not compare loses counts.
        if !waited {
            all_read.wait().await;
            waited = true;
        }
        let next = Bytes::from((before + 1).to_string());
        if put(remote, path, precondition, &next).await? != PutAnswer::Conflict {
            return Ok(());
        }
    }
    Err(Failed::new(format!("{TRIES_MAX} conflicts, and nobody else writes so often")))
}

fn number(bytes: &Bytes) -> Result<u64, Failed> {
    let text = String::from_utf8_lossy(bytes);
    text.parse().map_err(|_| Failed::new(format!("found {text:?} where a number was put")))
}

pub(super) async fn counting_through_two_handles_is_exact(place: Here<'_>) -> Outcome {
    const TASKS: u64 = 4;
    const ROUNDS: u64 = 8;
    if !can_race(place) || place.profile().versions != Versions::EachChange {
        return Ok(());
    }
    let path = path("counter")?;
    let handles = [place.open().await?, place.open().await?];
    let all_read = Arc::new(Barrier::new(TASKS as usize));
    let counting = (0..TASKS).zip(handles.iter().cycle()).map(|(_, remote)| {
        let (remote, path) = (Arc::clone(remote), path.clone());
        let all_read = Arc::clone(&all_read);
        spawned(async move {
            for _ in 0..ROUNDS {
                count_one(&*remote, &path, &all_read).await?;
            }
            Ok(())
        })
    });
    try_join_all(counting).await?;
    let counted = number(&read(&*place.open().await?, &path).await?.bytes)?;
    ensure_eq!(counted, TASKS * ROUNDS, "the count");
    Ok(())
}
