//! Objects on their way into a store.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;
use treeferry_core::format::ObjectType;
use treeferry_core::store::{
    BatchOptions, BatchStats, Incoming, ObjectStore, Payload, Put, Stored,
};

use super::{Here, all_ok, ensure_has, ensure_lacks, list, only, put_all, stat};
use crate::samples::{self, Sample};
use crate::{Failed, Outcome, Visibility};

pub(super) async fn puts_are_answered_in_order(place: Here<'_>) -> Outcome {
    let holds = place.profile().holds;
    let samples: Vec<Sample> = (0..9)
        .map(|i| match i % 3 {
            0 => samples::dirmeta(0o700 + i),
            _ => samples::file(holds, &format!("number {i}")),
        })
        .collect();
    // Some come at hand and some arrive: the answers' order is not the order of completion.
    let incoming = samples.iter().enumerate().map(|(i, sample)| match i % 2 {
        0 => sample.streamed(2),
        _ => sample.incoming(),
    });
    let store = place.open().await?;
    let batch = store.begin(BatchOptions::default()).await?;
    let puts = all_ok(batch.put(incoming.collect()).await)?;
    ensure_eq!(puts.len(), samples.len(), "the number of answers");
    for (put, sample) in puts.iter().zip(&samples) {
        let stored = stat(&*batch, sample.name).await?.map(|s| s.stored_bytes);
        let expected = Put {
            name: sample.name,
            stored: Stored::New,
            unpacked_bytes: sample.unpacked_bytes(),
            stored_bytes: stored.unwrap_or(u64::MAX),
        };
        ensure_eq!(*put, expected, "an answer");
    }
    Ok(())
}

pub(super) async fn an_object_put_twice_is_present_and_unchanged(place: Here<'_>) -> Outcome {
    let holds = place.profile().holds;
    let store = place.open().await?;
    for sample in [samples::file(holds, "put twice"), samples::dirmeta(0o755)] {
        let batch = store.begin(BatchOptions::default()).await?;
        let first = only(batch.put(vec![sample.incoming()]).await)??;
        let before = stat(&*batch, sample.name).await?;
        // The other encoding: who overwrites would show another length.
        let second = only(batch.put(vec![sample.incoming_filez()]).await)??;
        let stored = Stored::Present;
        ensure_eq!(second, Put { stored, ..first }, "the second answer");
        ensure_eq!(stat(&*batch, sample.name).await?, before, "stat after the second");
        batch.commit().await?;
        ensure_has(&*store, &sample).await?;
        let listed = list(&*store, sample.name.object_type).await?;
        ensure_eq!(listed, vec![sample.name], "the list");
    }
    Ok(())
}

pub(super) async fn an_object_of_an_earlier_batch_is_present(place: Here<'_>) -> Outcome {
    let sample = samples::file(place.profile().holds, "put before");
    let store = place.open().await?;
    put_all(&*store, std::slice::from_ref(&sample)).await?;
    let before = stat(&*store, sample.name).await?;
    let second = place.open().await?;
    let batch = second.begin(BatchOptions::default()).await?;
    let put = only(batch.put(vec![sample.incoming_filez()]).await)??;
    ensure_eq!(put.stored, Stored::Present, "whether it was new");
    let stats = batch.commit().await?;
    ensure_eq!(stats.content_written, 0, "files written");
    ensure_eq!(stats.content_total, 1, "files handed in");
    ensure_eq!(stat(&*store, sample.name).await?, before, "stat after the second");
    ensure_has(&*store, &sample).await
}

pub(super) async fn one_object_put_by_many_at_once_is_one_object(place: Here<'_>) -> Outcome {
    let header = samples::plain_header(place.profile().holds);
    let sample = Sample::file(header, samples::large_content().slice(..300_000));
    let store = place.open().await?;
    let batch = store.begin(BatchOptions::default()).await?;
    let puts = (0..6).map(|i| batch.put(vec![sample.streamed(20_000 + i)]));
    let mut news = 0;
    for answers in join_all(puts).await {
        news += u32::from(only(answers)??.stored == Stored::New);
    }
    ensure!(news >= 1, "six puts of a new object, and none says that it was new");
    batch.commit().await?;
    ensure_eq!(list(&*store, ObjectType::File).await?, vec![sample.name], "the list");
    ensure_has(&*place.open().await?, &sample).await
}

pub(super) async fn two_batches_can_add_the_same_object(place: Here<'_>) -> Outcome {
    let tree = samples::tree(place.profile().holds, "twice", 4);
    let (first, second) = (place.open().await?, place.open().await?);
    let one = first.begin(BatchOptions::default()).await?;
    let other = second.begin(BatchOptions::default()).await?;
    for batch in [&one, &other] {
        all_ok(batch.put(tree.objects.iter().map(Sample::incoming).collect()).await)?;
    }
    one.commit().await?;
    for sample in &tree.objects {
        ensure_has(&*other, sample).await?;
    }
    other.commit().await?;
    for sample in &tree.objects {
        ensure_has(&*first, sample).await?;
    }
    ensure_eq!(list(&*first, ObjectType::Commit).await?.len(), 1, "the commits listed");
    Ok(())
}

pub(super) async fn a_batch_shows_what_it_holds(place: Here<'_>) -> Outcome {
    let holds = place.profile().holds;
    let store = place.open().await?;
    let batch = store.begin(BatchOptions::default()).await?;
    for sample in [samples::file(holds, "in a batch"), samples::dirmeta(0o711)] {
        ensure_lacks(&*batch, sample.name).await?;
        only(batch.put(vec![sample.incoming()]).await)??;
        ensure_has(&*batch, &sample).await?;
    }
    Ok(())
}

pub(super) async fn a_batch_shows_the_store(place: Here<'_>) -> Outcome {
    let sample = samples::file(place.profile().holds, "in the store");
    let store = place.open().await?;
    put_all(&*store, std::slice::from_ref(&sample)).await?;
    let batch = store.begin(BatchOptions::default()).await?;
    ensure_eq!(batch.encoding(), store.encoding(), "the batch's encoding");
    let (seen, expected) = (stat(&*batch, sample.name).await?, stat(&*store, sample.name).await?);
    ensure_eq!(seen, expected, "stat through a batch");
    ensure_has(&*batch, &sample).await
}

pub(super) async fn others_see_a_batch_when_it_is_committed(place: Here<'_>) -> Outcome {
    let tree = samples::tree(place.profile().holds, "hidden", 3);
    let (store, second) = (place.open().await?, place.open().await?);
    let batch = store.begin(BatchOptions::default()).await?;
    // Parents first: a store that shows each write at once must hold them back.
    for sample in tree.objects.iter().rev() {
        only(batch.put(vec![sample.incoming()]).await)??;
        for handle in [&store, &second] {
            nothing_too_early(place, &**handle, &tree).await?;
        }
    }
    batch.commit().await?;
    for sample in &tree.objects {
        ensure_has(&*store, sample).await?;
        ensure_has(&*second, sample).await?;
    }
    Ok(())
}

/// Checks that a tree whose commit is not complete is not to be seen.
async fn nothing_too_early(
    place: Here<'_>,
    store: &dyn ObjectStore,
    tree: &samples::TreeSample,
) -> Outcome {
    let stats = store.stat(&tree.names()).await?;
    let first_absent = stats.iter().position(Option::is_none).unwrap_or(stats.len());
    match place.profile().visibility {
        Visibility::AtCommit => {
            let seen = stats.iter().flatten().count();
            ensure_eq!(seen, 0, "objects seen before the commit of their batch");
            for kind in ObjectType::ALL {
                let listed = list(store, kind).await?;
                ensure_eq!(listed, vec![], "what is listed before the commit");
            }
            ensure_lacks(store, tree.commit.name).await
        }
        Visibility::ChildrenFirst if first_absent < stats.len() => {
            ensure_eq!(stats.last(), Some(&None), "stat of a commit whose tree is not there");
            Ok(())
        }
        Visibility::ChildrenFirst => Ok(()),
    }
}

pub(super) async fn a_dropped_batch_leaves_no_parent_visible(place: Here<'_>) -> Outcome {
    let tree = samples::tree(place.profile().holds, "dropped", 3);
    let store = place.open().await?;
    let batch = store.begin(BatchOptions::default()).await?;
    let without_a_file = tree.objects.iter().skip(1).map(Sample::incoming);
    all_ok(batch.put(without_a_file.collect()).await)?;
    drop(batch);
    for handle in [&store, &place.open().await?] {
        nothing_too_early(place, &**handle, &tree).await?;
    }
    Ok(())
}

pub(super) async fn a_dropped_put_leaves_nothing(place: Here<'_>) -> Outcome {
    let header = samples::plain_header(place.profile().holds);
    let sample = Sample::file(header, samples::large_content().slice(..200_000));
    let store = place.open().await?;
    let batch = store.begin(BatchOptions::default()).await?;
    let (sender, receiver) = futures::channel::mpsc::unbounded();
    let body = sample.body_with(|bytes| {
        let half: Bytes = bytes.slice(..100_000);
        // The receiver lives on in the test: it cannot have hung up.
        let _ = sender.unbounded_send(Ok(half));
        Payload::Stream(receiver.boxed())
    });
    let put = batch.put(vec![Incoming::named(sample.name, body)]);
    let waited = tokio::time::timeout(Duration::from_millis(50), put).await;
    ensure!(waited.is_err(), "half a file was answered before its other half came");
    // The job that reads may run on: now it meets the end of half a file.
    drop(sender);
    ensure_lacks(&*batch, sample.name).await?;
    batch.commit().await?;
    ensure_lacks(&*store, sample.name).await?;
    put_all(&*store, std::slice::from_ref(&sample)).await?;
    ensure_has(&*store, &sample).await
}

pub(super) async fn an_empty_batch_can_be_committed(place: Here<'_>) -> Outcome {
    let store = place.open().await?;
    let batch = store.begin(BatchOptions::default()).await?;
    let answers = batch.put(Vec::new()).await;
    ensure!(answers.is_empty(), "a put of nothing was answered");
    let stats = batch.commit().await?;
    ensure_eq!(stats, BatchStats::default(), "the stats of nothing");
    Ok(())
}

pub(super) async fn the_stats_of_a_batch_are_exact(place: Here<'_>) -> Outcome {
    let holds = place.profile().holds;
    let store = place.open().await?;
    let before = [samples::file(holds, "before"), samples::dirmeta(0o755)];
    put_all(&*store, &before).await?;
    let files = [samples::file(holds, "seventeen bytes.."), samples::symlink(holds, "x")];
    let new = [samples::dirmeta(0o711), samples::dirtree(&[("f", &files[0])], &[])];
    let all = [&before[..], &files, &new].concat();
    let stats = put_all(&*store, &all).await?;
    let expected = BatchStats {
        metadata_total: 3,
        metadata_written: 2,
        content_total: 3,
        content_written: 2,
        content_bytes_written: 17,
    };
    ensure_eq!(stats, expected, "the stats");
    Ok(())
}

pub(super) async fn a_batch_of_many_objects_is_whole(place: Here<'_>) -> Outcome {
    let tree = samples::tree(place.profile().holds, "many", 400);
    let store = place.open().await?;
    put_all(&*store, &tree.objects).await?;
    let second = place.open().await?;
    let stats = second.stat(&tree.names()).await?;
    let absent = stats.iter().filter(|s| s.is_none()).count();
    ensure_eq!(absent, 0, "objects absent of {}", stats.len());
    for sample in tree.objects.iter().step_by(37).chain([&tree.commit]) {
        ensure_has(&*second, sample).await?;
    }
    Ok(())
}

pub(super) async fn whoever_sees_a_commit_sees_its_tree(place: Here<'_>) -> Outcome {
    let (store, second) = (place.open().await?, place.open().await?);
    for round in 0..5 {
        let tree = samples::tree(place.profile().holds, &format!("round {round}"), 60);
        let names = tree.names();
        let done = AtomicBool::new(false);
        let watched = async {
            let mut last_look = false;
            loop {
                let seen = stat(&*second, tree.commit.name).await?.is_some();
                if seen {
                    let stats = second.stat(&names).await?;
                    let absent = stats.iter().filter(|s| s.is_none()).count();
                    ensure_eq!(absent, 0, "objects absent when the commit was seen");
                }
                if last_look {
                    ensure!(seen, "the commit is not seen after its batch was committed");
                    return Ok::<_, Failed>(());
                }
                last_look = seen || done.load(Ordering::Acquire);
                tokio::task::yield_now().await;
            }
        };
        let written = async {
            let batch = store.begin(BatchOptions::default()).await?;
            let incoming = tree.objects.iter().rev().map(Sample::incoming);
            all_ok(batch.put(incoming.collect()).await)?;
            batch.commit().await?;
            done.store(true, Ordering::Release);
            Ok::<_, Failed>(())
        };
        futures::future::try_join(watched, written).await?;
    }
    Ok(())
}
