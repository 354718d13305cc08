//! Detached metadata: compared and swapped.

use bytes::Bytes;
use futures::future::try_join_all;
use treeferry_core::store::{RepoState, Swap};

use super::{Here, bytes, commit};
use crate::{Failed, Outcome};

async fn set(state: &dyn RepoState, number: u8, new: Option<Bytes>) -> Outcome {
    let current = state.read_detached(&commit(number)).await?;
    let swap = state.swap_detached(&commit(number), current.as_ref(), new.clone()).await?;
    ensure_eq!(swap, Swap::Done, "a swap of what was just read");
    let found = state.read_detached(&commit(number)).await?;
    ensure_eq!(found, new, "what it holds after the swap");
    Ok(())
}

pub(super) async fn every_case_of_swapping_detached_metadata_is_right(place: Here<'_>) -> Outcome {
    let state = place.open().await?;
    let values = [None, Some(bytes("one")), Some(bytes("another"))];
    for before in &values[..2] {
        for expected in &values {
            for new in &values {
                set(&*state, 1, before.clone()).await?;
                let case = format!("{before:?}, expected {expected:?}, new {new:?}");
                let swap = state.swap_detached(&commit(1), expected.as_ref(), new.clone()).await?;
                let (right, after) = match before == expected {
                    true => (Swap::Done, new),
                    false => (Swap::Conflict { current: before.clone() }, before),
                };
                ensure_eq!(swap, right, "the answer: {case}");
                let found = state.read_detached(&commit(1)).await?;
                ensure_eq!(found, *after, "what it holds then: {case}");
            }
        }
    }
    Ok(())
}

pub(super) async fn detached_metadata_belongs_to_one_commit(place: Here<'_>) -> Outcome {
    let state = place.open().await?;
    set(&*state, 1, Some(bytes("of one"))).await?;
    ensure_eq!(state.read_detached(&commit(2)).await?, None, "that of another commit");
    set(&*state, 2, Some(bytes("of two"))).await?;
    set(&*state, 1, None).await?;
    let found = state.read_detached(&commit(2)).await?;
    ensure_eq!(found, Some(bytes("of two")), "that of another commit");
    Ok(())
}

pub(super) async fn empty_detached_metadata_is_not_absent(place: Here<'_>) -> Outcome {
    let state = place.open().await?;
    set(&*state, 1, Some(Bytes::new())).await?;
    let swap = state.swap_detached(&commit(1), None, Some(bytes("x"))).await?;
    let current = Some(Bytes::new());
    ensure_eq!(swap, Swap::Conflict { current }, "expecting none where it is empty");
    Ok(())
}

/// Adds a byte to the detached metadata until nobody was in between.
async fn add_one(state: &dyn RepoState) -> Outcome {
    let mut current = state.read_detached(&commit(1)).await?;
    loop {
        let longer = [current.as_deref().unwrap_or_default(), b"+"].concat();
        let longer = Some(longer.into());
        match state.swap_detached(&commit(1), current.as_ref(), longer).await? {
            Swap::Done => return Ok(()),
            Swap::Conflict { current: found } => current = found,
        }
        tokio::task::yield_now().await;
    }
}

pub(super) async fn adding_to_detached_metadata_through_two_handles_is_exact(
    place: Here<'_>,
) -> Outcome {
    let mut tasks = Vec::new();
    for _ in 0..3 {
        for state in [place.open().await?, place.open().await?] {
            tasks.push(async move {
                let adding = tokio::spawn(async move {
                    for _ in 0..10 {
                        add_one(&*state).await?;
                    }
                    Ok::<_, Failed>(())
                });
                adding.await.map_err(|e| Failed::new(e.to_string()))?
            });
        }
    }
    try_join_all(tasks).await?;
    let found = place.open().await?.read_detached(&commit(1)).await?;
    ensure_eq!(found.map(|b| b.len()), Some(60), "the signatures added");
    Ok(())
}
