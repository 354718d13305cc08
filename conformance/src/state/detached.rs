//! Detached metadata: compared and swapped.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::try_join_all;
use tokio::sync::Barrier;
use treeferry_core::store::{RepoState, Swap};

use super::{Here, bytes, commit};
use crate::Outcome;
use crate::suite::spawned;

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

/// Adds a byte to the detached metadata, and again until nobody was in between.
///
/// All read before any of them writes: who ignores what was expected loses some.
async fn add_one(state: &dyn RepoState, all_have_read: &Barrier) -> Outcome {
    let mut current = state.read_detached(&commit(1)).await?;
    all_have_read.wait().await;
    loop {
        let longer = [current.as_deref().unwrap_or_default(), b"+"].concat();
        let longer = Some(longer.into());
        match state.swap_detached(&commit(1), current.as_ref(), longer).await? {
            Swap::Done => return Ok(()),
            Swap::Conflict { current: found } => current = found,
        }
    }
}

pub(super) async fn adding_to_detached_metadata_through_two_handles_is_exact(
    place: Here<'_>,
) -> Outcome {
    let handles = [place.open().await?, place.open().await?];
    let all_have_read = Arc::new(Barrier::new(6));
    let adding = (0..6).zip(handles.iter().cycle()).map(|(_, state)| {
        let (state, all_have_read) = (Arc::clone(state), Arc::clone(&all_have_read));
        spawned(async move {
            for _ in 0..10 {
                add_one(&*state, &all_have_read).await?;
            }
            Ok(())
        })
    });
    try_join_all(adding).await?;
    let found = place.open().await?.read_detached(&commit(1)).await?;
    ensure_eq!(found.map(|b| b.len()), Some(60), "the signatures added");
    Ok(())
}
