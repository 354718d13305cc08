//! The lock between writers and prunes.

use std::time::Duration;

use treeferry_core::ErrorKind;
use treeferry_core::store::{BatchOptions, LockKind, ObjectStore};

use super::Here;
use crate::{Failed, Outcome};

/// Checks that `store` gives up waiting for the lock.
async fn is_locked(store: &dyn ObjectStore, kind: LockKind, when: &str) -> Outcome {
    let refused = store.lock(kind).await;
    ensure_refused!(refused, ErrorKind::Locked, "the {kind:?} lock, {when}");
    Ok(())
}

pub(super) async fn a_guard_tells_its_kind(place: Here<'_>) -> Outcome {
    let store = place.open().await?;
    for kind in [LockKind::Shared, LockKind::Exclusive] {
        let guard = store.lock(kind).await?;
        ensure_eq!(guard.kind(), kind, "the kind of the guard");
    }
    Ok(())
}

pub(super) async fn many_hold_the_lock_shared(place: Here<'_>) -> Outcome {
    let (store, second) = (place.open().await?, place.open().await?);
    let mut guards = Vec::new();
    for handle in [&store, &second, &store, &second] {
        guards.push(handle.lock(LockKind::Shared).await?);
    }
    let batch = second.begin(BatchOptions::default()).await?;
    batch.commit().await?;
    Ok(())
}

pub(super) async fn an_exclusive_lock_excludes_all_others(place: Here<'_>) -> Outcome {
    let (store, second) = (place.open().await?, place.open().await?);
    let guard = store.lock(LockKind::Exclusive).await?;
    is_locked(&*second, LockKind::Shared, "while another holds it exclusively").await?;
    is_locked(&*second, LockKind::Exclusive, "while another holds it exclusively").await?;
    let begun = second.begin(BatchOptions::default()).await;
    ensure_refused!(begun, ErrorKind::Locked, "a batch during a prune");
    drop(guard);
    second.lock(LockKind::Exclusive).await?;
    store.lock(LockKind::Shared).await?;
    Ok(())
}

pub(super) async fn shared_locks_exclude_an_exclusive_one(place: Here<'_>) -> Outcome {
    let (store, second) = (place.open().await?, place.open().await?);
    let third = place.open().await?;
    let guards = [store.lock(LockKind::Shared).await?, second.lock(LockKind::Shared).await?];
    for guard in guards {
        is_locked(&*third, LockKind::Exclusive, "while others hold it shared").await?;
        drop(guard);
    }
    third.lock(LockKind::Exclusive).await?;
    Ok(())
}

pub(super) async fn a_handle_excludes_itself(place: Here<'_>) -> Outcome {
    let store = place.open().await?;
    let guard = store.lock(LockKind::Shared).await?;
    is_locked(&*store, LockKind::Exclusive, "while the same handle holds it shared").await?;
    drop(guard);
    let guard = store.lock(LockKind::Exclusive).await?;
    is_locked(&*store, LockKind::Shared, "while the same handle holds it exclusively").await?;
    drop(guard);
    store.lock(LockKind::Shared).await?;
    Ok(())
}

pub(super) async fn a_clone_keeps_the_lock(place: Here<'_>) -> Outcome {
    let (store, second) = (place.open().await?, place.open().await?);
    for (kind, other) in [
        (LockKind::Exclusive, LockKind::Shared),
        (LockKind::Shared, LockKind::Exclusive),
    ] {
        let guard = store.lock(kind).await?;
        let clone = guard.clone();
        drop(guard);
        is_locked(&*second, other, "while a clone of the guard lives").await?;
        drop(clone);
        second.lock(other).await?;
    }
    Ok(())
}

pub(super) async fn a_released_lock_goes_to_who_waits(place: Here<'_>) -> Outcome {
    let (store, second) = (place.open().await?, place.open().await?);
    for (held, wanted) in [
        (LockKind::Exclusive, LockKind::Shared),
        (LockKind::Shared, LockKind::Exclusive),
    ] {
        let guard = store.lock(held).await?;
        let release = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            drop(guard);
            Ok::<_, Failed>(())
        };
        let wait = async {
            let waited = second.lock(wanted).await;
            waited.map_err(|e| Failed::new(format!("{wanted:?}, released after 20 ms: {e}")))
        };
        futures::future::try_join(release, wait).await?;
    }
    Ok(())
}

pub(super) async fn a_batch_holds_the_lock(place: Here<'_>) -> Outcome {
    let (store, second) = (place.open().await?, place.open().await?);
    let batch = store.begin(BatchOptions::default()).await?;
    is_locked(&*second, LockKind::Exclusive, "while a batch is open").await?;
    batch.commit().await?;
    drop(second.lock(LockKind::Exclusive).await?);
    let batch = store.begin(BatchOptions::default()).await?;
    is_locked(&*second, LockKind::Exclusive, "while a batch is open").await?;
    drop(batch);
    second.lock(LockKind::Exclusive).await?;
    Ok(())
}

pub(super) async fn places_do_not_share_a_lock(place: Here<'_>) -> Outcome {
    let other = place.another().await?;
    let _guard = place.open().await?.lock(LockKind::Exclusive).await?;
    other.open().await?.lock(LockKind::Exclusive).await?;
    Ok(())
}
