//! Deleting objects.

use treeferry_core::ErrorKind;
use treeferry_core::format::{Checksum, ObjectName, ObjectType};
use treeferry_core::store::LockKind;

use super::{Here, ensure_has, ensure_lacks, list, put_all, stat};
use crate::Outcome;
use crate::samples::{self, Sample};

fn files(place: Here<'_>) -> Vec<Sample> {
    let holds = place.profile().holds;
    let mut files: Vec<_> = (0..4).map(|i| samples::file(holds, &format!("file {i}"))).collect();
    files.push(samples::symlink(holds, "target"));
    files.push(samples::dirmeta(0o755));
    files
}

pub(super) async fn delete_answers_with_the_bytes_it_freed(place: Here<'_>) -> Outcome {
    let store = place.open().await?;
    let samples = files(place);
    put_all(&*store, &samples).await?;
    let absent = ObjectName::file(Checksum::of(b"absent"));
    let mut names: Vec<_> = samples.iter().rev().map(|s| s.name).collect();
    names.insert(2, absent);
    let mut expected = Vec::new();
    for name in &names {
        expected.push(stat(&*store, *name).await?.map(|s| s.stored_bytes));
    }
    let lock = store.lock(LockKind::Exclusive).await?;
    ensure_eq!(store.delete(&lock, &names).await?, expected, "the first answers");
    let nothing = vec![None; names.len()];
    ensure_eq!(store.delete(&lock, &names).await?, nothing, "the second answers");
    ensure_eq!(store.delete(&lock, &[]).await?, vec![], "the answers for no names");
    Ok(())
}

pub(super) async fn what_was_deleted_is_gone_for_all(place: Here<'_>) -> Outcome {
    let (store, second) = (place.open().await?, place.open().await?);
    let samples = files(place);
    put_all(&*store, &samples).await?;
    let names: Vec<_> = samples.iter().map(|s| s.name).collect();
    let lock = store.lock(LockKind::Exclusive).await?;
    store.delete(&lock, &names).await?;
    drop(lock);
    for handle in [&store, &second, &place.open().await?] {
        for name in &names {
            ensure_lacks(&**handle, *name).await?;
        }
        for kind in ObjectType::ALL {
            ensure_eq!(list(&**handle, kind).await?, vec![], "the {kind}s listed");
        }
    }
    Ok(())
}

pub(super) async fn delete_spares_the_rest(place: Here<'_>) -> Outcome {
    let store = place.open().await?;
    let samples = files(place);
    put_all(&*store, &samples).await?;
    let lock = store.lock(LockKind::Exclusive).await?;
    store.delete(&lock, &[samples[1].name]).await?;
    drop(lock);
    for (i, sample) in samples.iter().enumerate() {
        match i {
            1 => ensure_lacks(&*store, sample.name).await?,
            _ => ensure_has(&*store, sample).await?,
        }
    }
    Ok(())
}

pub(super) async fn delete_tells_kinds_apart(place: Here<'_>) -> Outcome {
    let store = place.open().await?;
    let meta = samples::dirmeta(0o755);
    put_all(&*store, std::slice::from_ref(&meta)).await?;
    let lock = store.lock(LockKind::Exclusive).await?;
    let others = ObjectType::ALL.into_iter().filter(|k| *k != ObjectType::DirMeta);
    let names: Vec<_> = others.map(|k| ObjectName::new(k, meta.name.checksum)).collect();
    let answers = store.delete(&lock, &names).await?;
    ensure_eq!(answers, vec![None; names.len()], "the answers for other kinds");
    ensure_has(&*store, &meta).await
}

pub(super) async fn delete_under_a_shared_lock_is_refused(place: Here<'_>) -> Outcome {
    let store = place.open().await?;
    let meta = samples::dirmeta(0o755);
    put_all(&*store, std::slice::from_ref(&meta)).await?;
    let lock = store.lock(LockKind::Shared).await?;
    let refused = store.delete(&lock, &[meta.name]).await;
    ensure_refused!(refused, ErrorKind::Invalid, "a delete under a shared lock");
    ensure_has(&*store, &meta).await
}

pub(super) async fn what_was_deleted_can_be_put_again(place: Here<'_>) -> Outcome {
    let store = place.open().await?;
    let samples = files(place);
    put_all(&*store, &samples).await?;
    let names: Vec<_> = samples.iter().map(|s| s.name).collect();
    let lock = store.lock(LockKind::Exclusive).await?;
    store.delete(&lock, &names).await?;
    drop(lock);
    let stats = put_all(&*store, &samples).await?;
    ensure_eq!(stats.content_written, 5, "files written again");
    ensure_eq!(stats.metadata_written, 1, "metadata written again");
    for sample in &samples {
        ensure_has(&*place.open().await?, sample).await?;
    }
    Ok(())
}
