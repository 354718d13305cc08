//! Writing files whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::try_join_all;
use futures::stream::BoxStream;
use treeferry_core::ErrorKind;
use treeferry_core::transport::{Precondition, PutAnswer, PutBody, RemotePath, WritableTransport};

use super::{Here, list, put, set};
use crate::suite::spawned;
use crate::transport::{ODD_PATHS, ensure_holds, is_refusal, path, read};
use crate::{NameCase, NestedFiles, Outcome, samples};

/// Returns `bytes` arriving in pieces, announced as `total_bytes`.
fn arriving(bytes: &Bytes, total_bytes: u64) -> PutBody {
    let bytes = samples::stream(samples::split(bytes, 60_000));
    PutBody::Stream { total_bytes, bytes }
}

fn text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub(super) async fn bytes_that_were_put_come_back(place: Here<'_>) -> Outcome {
    let (remote, names) = (place.open().await?, place.profile().names);
    let odd = ODD_PATHS.into_iter().filter(|odd| odd.split('/').all(|name| names.can_hold(name)));
    for text in odd {
        let (path, bytes) = (path(text)?, Bytes::from(format!("at {text}")));
        set(&*remote, &path, &bytes).await?;
        ensure_holds(&*remote, &path, Some(&bytes), "as put").await?;
    }
    let (path, large) = (path("large")?, samples::large_content());
    for bytes in [Bytes::new(), large.slice(..65_537), large] {
        set(&*remote, &path, &bytes).await?;
        ensure_holds(&*remote, &path, Some(&bytes), "as put").await?;
    }
    Ok(())
}

pub(super) async fn a_stream_that_was_put_comes_back(place: Here<'_>) -> Outcome {
    let (remote, path) = (place.open().await?, path("dir/streamed")?);
    let large = samples::large_content();
    for bytes in [Bytes::new(), large.slice(..1), large.slice(..180_000), large] {
        let body = arriving(&bytes, bytes.len() as u64);
        let answer = remote.put(&path, Precondition::None, body).await?;
        ensure!(matches!(answer, PutAnswer::Done { .. }), "answered with {answer:?}");
        ensure_holds(&*remote, &path, Some(&bytes), "as put").await?;
    }
    Ok(())
}

pub(super) async fn a_put_replaces_all_of_a_file(place: Here<'_>) -> Outcome {
    let (remote, path) = (place.open().await?, path("replaced")?);
    for content in ["a long content of a file", "a short one", "", "again"] {
        set(&*remote, &path, &text(content)).await?;
        ensure_holds(&*remote, &path, Some(&text(content)), "replaced").await?;
    }
    Ok(())
}

pub(super) async fn a_put_of_a_name_that_cannot_be_held_is_refused(place: Here<'_>) -> Outcome {
    let (remote, names) = (place.open().await?, place.profile().names);
    for odd in ODD_PATHS {
        if odd.split('/').all(|name| names.can_hold(name)) {
            continue;
        }
        let body = PutBody::Bytes(text("odd"));
        let answer = remote.put(&path(odd)?, Precondition::None, body).await;
        let refused = matches!(&answer, Err(error) if is_refusal(error));
        ensure!(refused, "{odd}: not refused, but {answer:?}");
    }
    ensure_eq!(list(&*remote, "").await?, vec![], "what is there after refusals");
    Ok(())
}

pub(super) async fn a_file_below_another_is_held_or_refused(place: Here<'_>) -> Outcome {
    let remote = place.open().await?;
    for (first, second) in [("one", "one/below"), ("two/below", "two")] {
        let (first, second) = (path(first)?, path(second)?);
        set(&*remote, &first, &text("first")).await?;
        let body = PutBody::Bytes(text("second"));
        let answer = remote.put(&second, Precondition::None, body).await;
        let held = match (place.profile().nesting, answer) {
            (NestedFiles::Held, answer) => {
                answer?;
                Some(text("second"))
            }
            (NestedFiles::Refused, Err(error)) if is_refusal(&error) => None,
            (NestedFiles::Refused, answer) => {
                return Err(crate::Failed::new(format!("{second}: not refused: {answer:?}")));
            }
        };
        ensure_holds(&*remote, &first, Some(&text("first")), "beside another").await?;
        ensure_holds(&*remote, &second, held.as_ref(), "beside another").await?;
    }
    Ok(())
}

pub(super) async fn names_in_other_case_are_as_the_profile_says(place: Here<'_>) -> Outcome {
    let (remote, upper, lower) = (place.open().await?, path("dir/Name")?, path("dir/name")?);
    set(&*remote, &upper, &text("upper")).await?;
    let body = PutBody::Bytes(text("lower"));
    let answer = remote.put(&lower, Precondition::None, body).await;
    let case = place.profile().case;
    match (case, answer) {
        (NameCase::OneSpelling, Err(error)) if is_refusal(&error) => {}
        (NameCase::OneSpelling, answer) => {
            return Err(crate::Failed::new(format!("{lower}: not refused: {answer:?}")));
        }
        (NameCase::ToldApart | NameCase::Folded, answer) => drop(answer?),
    }
    let (in_upper, in_lower, count) = match case {
        NameCase::ToldApart => ("upper", Some("lower"), 2),
        NameCase::Folded => ("lower", Some("lower"), 1),
        NameCase::OneSpelling => ("upper", None, 1),
    };
    ensure_holds(&*remote, &upper, Some(&text(in_upper)), "the upper case").await?;
    ensure_holds(&*remote, &lower, in_lower.map(text).as_ref(), "the lower case").await?;
    ensure_eq!(list(&*remote, "").await?.len(), count, "the number of files listed");
    Ok(())
}

/// Puts a body that must fail, over nothing and over a file; neither may change.
async fn leaves_what_was_there(
    remote: &dyn WritableTransport,
    body: impl Fn() -> PutBody,
    what: &str,
) -> Result<Vec<ErrorKind>, crate::Failed> {
    let (absent, present) = (path("put/absent")?, path("put/present")?);
    let mut kinds = Vec::new();
    for (path, before) in [(absent, None), (present, Some(text("as before")))] {
        if let Some(before) = &before {
            set(remote, &path, before).await?;
        }
        match remote.put(&path, Precondition::None, body()).await {
            Ok(answer) => ensure!(false, "{what}: answered with {answer:?}"),
            Err(error) => kinds.push(error.kind()),
        }
        ensure_holds(remote, &path, before.as_ref(), what).await?;
    }
    Ok(kinds)
}

pub(super) async fn a_stream_that_breaks_leaves_what_was_there(place: Here<'_>) -> Outcome {
    let remote = place.open().await?;
    for length in [0, 100, 120_000, 5_000_000] {
        let body = || {
            let mut pieces = samples::split(&samples::large_content().slice(..length), 60_000);
            pieces.push(Err(samples::broken_connection()));
            PutBody::Stream {
                total_bytes: length as u64 + 10,
                bytes: samples::stream(pieces),
            }
        };
        let what = format!("a stream that breaks after {length} bytes");
        for kind in leaves_what_was_there(&*remote, body, &what).await? {
            let same = matches!(kind, ErrorKind::Unavailable { .. });
            ensure!(same, "{what}: fails as {kind:?}, not as the stream did");
        }
    }
    Ok(())
}

pub(super) async fn a_stream_of_the_wrong_length_leaves_what_was_there(place: Here<'_>) -> Outcome {
    let (remote, large) = (place.open().await?, samples::large_content());
    let lengths: [(usize, u64); 5] =
        [(0, 1), (1, 0), (120_000, 119_999), (120_000, 120_001), (5_000_000, 5_200_000)];
    for (length, announced) in lengths {
        let body = || arriving(&large.slice(..length), announced);
        let what = format!("{length} bytes announced as {announced}");
        for kind in leaves_what_was_there(&*remote, body, &what).await? {
            let right = matches!(kind, ErrorKind::Invalid | ErrorKind::Corrupt);
            ensure!(right, "{what}: fails as {kind:?}");
        }
    }
    Ok(())
}

pub(super) async fn a_dropped_put_leaves_what_was_there(place: Here<'_>) -> Outcome {
    let remote = place.open().await?;
    for (text_before, path) in [(None, path("put/absent")?), (Some("before"), path("put/there")?)] {
        let before = text_before.map(text);
        if let Some(before) = &before {
            set(&*remote, &path, before).await?;
        }
        let pieces = samples::stream(samples::split(&samples::large_content().slice(..150_000), 60_000));
        let body = PutBody::Stream {
            total_bytes: 1_000_000,
            bytes: pieces.chain(futures::stream::pending()).boxed(),
        };
        let put = remote.put(&path, Precondition::None, body);
        let limit = Duration::from_millis(100);
        let ended = tokio::time::timeout(limit, put).await;
        ensure!(ended.is_err(), "a put ended before its bytes came: {ended:?}");
        ensure_holds(&*remote, &path, before.as_ref(), "after a dropped put").await?;
    }
    Ok(())
}

/// Returns content that arrives slowly enough for readers to look in between.
fn slowly(bytes: Bytes) -> BoxStream<'static, treeferry_core::Result<Bytes>> {
    let pieces = futures::stream::iter(samples::split(&bytes, 20_000));
    let slow = pieces.then(async |piece| {
        tokio::time::sleep(Duration::from_millis(1)).await;
        piece
    });
    slow.boxed()
}

pub(super) async fn readers_never_see_a_part_of_a_put(place: Here<'_>) -> Outcome {
    const LENGTH: usize = 150_000;
    let (remote, path) = (place.open().await?, path("read/while/written")?);
    set(&*remote, &path, &Bytes::from(vec![0; LENGTH])).await?;
    let done = Arc::new(AtomicBool::new(false));
    let (reader, looked_at) = (place.open().await?, path.clone());
    let stop = Arc::clone(&done);
    let looking = spawned(async move {
        while !stop.load(Ordering::Acquire) {
            let seen = read(&*reader, &looked_at).await?.bytes;
            ensure_eq!(seen.len(), LENGTH, "the length that a reader sees");
            let mixed = seen.iter().any(|byte| *byte != seen[0]);
            ensure!(!mixed, "a reader sees parts of two versions");
        }
        Ok(())
    });
    let writing = async {
        let mut outcome = Ok(());
        for version in 1..12 {
            let body = PutBody::Stream {
                total_bytes: LENGTH as u64,
                bytes: slowly(Bytes::from(vec![version; LENGTH])),
            };
            outcome = outcome.and(remote.put(&path, Precondition::None, body).await.map(drop));
        }
        done.store(true, Ordering::Release);
        outcome
    };
    let (written, looked) = futures::join!(writing, looking);
    written?;
    looked
}

pub(super) async fn many_puts_at_once_are_told_apart(place: Here<'_>) -> Outcome {
    let mut puts = Vec::new();
    let mut files: Vec<(RemotePath, Bytes)> = Vec::new();
    for i in 0..20_usize {
        let (path, bytes) = (path(&format!("many/{i}"))?, Bytes::from(vec![i as u8; i * 7001]));
        files.push((path.clone(), bytes.clone()));
        let remote = place.open().await?;
        puts.push(spawned(async move {
            put(&*remote, &path, Precondition::None, &bytes).await
        }));
    }
    try_join_all(puts).await?;
    let remote = place.open().await?;
    for (path, bytes) in &files {
        ensure_holds(&*remote, path, Some(bytes), "of many").await?;
    }
    Ok(())
}
