//! What a dropped batch leaves to the next.

use treeferry_core::store::{BatchOptions, Leftovers, ObjectStore, Stored};

use super::{Here, all_ok, ensure_has, ensure_lacks, list, only};
use crate::samples::{self, Sample};
use crate::{Outcome, Unfinished};

const IGNORE: BatchOptions = BatchOptions {
    durability: treeferry_core::store::Durability::Configured,
    leftovers: Leftovers::Ignore,
};

/// Puts `samples` in a batch and drops it.
async fn interrupt(store: &dyn ObjectStore, samples: &[Sample]) -> Outcome {
    let batch = store.begin(BatchOptions::default()).await?;
    all_ok(batch.put(samples.iter().map(Sample::incoming).collect()).await)?;
    Ok(())
}

pub(super) async fn leftovers_are_taken_up(place: Here<'_>) -> Outcome {
    let holds = place.profile().holds;
    let kept = [samples::file(holds, "left"), samples::dirmeta(0o711)];
    let store = place.open().await?;
    interrupt(&*store, &kept).await?;
    drop(store);
    let store = place.open().await?;
    let batch = store.begin(BatchOptions::default()).await?;
    match place.profile().unfinished {
        Unfinished::Kept | Unfinished::Visible => {
            for sample in &kept {
                ensure_has(&*batch, sample).await?;
            }
            // One is put again, the other just relied on.
            let put = only(batch.put(vec![kept[0].incoming()]).await)??;
            ensure_eq!(put.stored, Stored::Present, "whether a leftover was new");
            batch.commit().await?;
            for sample in &kept {
                ensure_has(&*place.open().await?, sample).await?;
            }
        }
        Unfinished::Lost => {
            for sample in &kept {
                ensure_lacks(&*batch, sample.name).await?;
            }
        }
    }
    Ok(())
}

pub(super) async fn leftovers_can_be_left_alone(place: Here<'_>) -> Outcome {
    let left = samples::file(place.profile().holds, "left alone");
    let store = place.open().await?;
    interrupt(&*store, std::slice::from_ref(&left)).await?;
    let batch = store.begin(IGNORE).await?;
    if place.profile().unfinished == Unfinished::Visible {
        ensure_has(&*batch, &left).await?;
        return ensure_has(&*store, &left).await;
    }
    ensure_lacks(&*batch, left.name).await?;
    batch.commit().await?;
    ensure_lacks(&*store, left.name).await?;
    let batch = store.begin(BatchOptions::default()).await?;
    match place.profile().unfinished {
        Unfinished::Kept | Unfinished::Visible => ensure_has(&*batch, &left).await,
        Unfinished::Lost => ensure_lacks(&*batch, left.name).await,
    }
}

pub(super) async fn leftovers_that_lack_children_stay_hidden(place: Here<'_>) -> Outcome {
    let holds = place.profile().holds;
    let absent = samples::file(holds, "never put");
    let parent = samples::dirtree(&[("absent", &absent)], &[]);
    let store = place.open().await?;
    interrupt(&*store, std::slice::from_ref(&parent)).await?;
    // Another batch has nothing to do with it: it must neither fail nor show it.
    let batch = store.begin(BatchOptions::default()).await?;
    let other = samples::file(holds, "another");
    only(batch.put(vec![other.incoming()]).await)??;
    batch.commit().await?;
    let store = place.open().await?;
    ensure_has(&*store, &other).await?;
    ensure_eq!(list(&*store, parent.name.object_type).await?, vec![], "the dirtrees listed");
    ensure_lacks(&*store, parent.name).await
}
