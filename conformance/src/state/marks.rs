//! Partial marks and tombstones.

use treeferry_core::store::Partial;

use super::{Here, bytes, commit};
use crate::Outcome;

pub(super) async fn a_partial_mark_comes_back_as_it_is(place: Here<'_>) -> Outcome {
    let state = place.open().await?;
    ensure_eq!(state.read_partial(&commit(1)).await?, None, "the mark at first");
    for mark in [
        Some(Partial::Fetching),
        Some(Partial::Damaged),
        Some(Partial::Fetching),
        Some(Partial::Fetching),
        None,
        None,
        Some(Partial::Damaged),
        None,
    ] {
        state.write_partial(&commit(1), mark).await?;
        for handle in [&state, &place.open().await?] {
            ensure_eq!(handle.read_partial(&commit(1)).await?, mark, "the mark");
            ensure_eq!(handle.read_partial(&commit(2)).await?, None, "another's mark");
        }
    }
    Ok(())
}

pub(super) async fn partial_marks_are_listed(place: Here<'_>) -> Outcome {
    let state = place.open().await?;
    ensure_eq!(state.list_partial().await?, vec![], "the list at first");
    for i in 0..5 {
        let mark = if i % 2 == 0 { Partial::Fetching } else { Partial::Damaged };
        state.write_partial(&commit(i), Some(mark)).await?;
    }
    state.write_partial(&commit(2), None).await?;
    let mut expected = [0, 1, 3, 4].map(commit).to_vec();
    expected.sort();
    for handle in [&state, &place.open().await?] {
        let mut listed = handle.list_partial().await?;
        listed.sort();
        ensure_eq!(listed, expected, "the list");
    }
    Ok(())
}

pub(super) async fn a_tombstone_comes_back(place: Here<'_>) -> Outcome {
    let state = place.open().await?;
    for tombstone in [None, Some(bytes("one")), Some(bytes("two")), None, None] {
        state.write_tombstone(&commit(1), tombstone.clone()).await?;
        for handle in [&state, &place.open().await?] {
            let found = handle.read_tombstone(&commit(1)).await?;
            ensure_eq!(found, tombstone, "the tombstone");
            ensure_eq!(handle.read_tombstone(&commit(2)).await?, None, "another's tombstone");
        }
    }
    Ok(())
}

pub(super) async fn marks_and_tombstones_are_told_apart(place: Here<'_>) -> Outcome {
    let state = place.open().await?;
    let detached = Some(bytes("detached"));
    state.write_tombstone(&commit(1), Some(bytes("tombstone"))).await?;
    ensure_eq!(state.read_partial(&commit(1)).await?, None, "the mark");
    ensure_eq!(state.list_partial().await?, vec![], "the marks");
    ensure_eq!(state.read_detached(&commit(1)).await?, None, "the detached metadata");
    state.swap_detached(&commit(1), None, detached.clone()).await?;
    state.write_partial(&commit(1), Some(Partial::Fetching)).await?;
    state.write_tombstone(&commit(1), None).await?;
    ensure_eq!(state.read_detached(&commit(1)).await?, detached, "the detached metadata");
    ensure_eq!(state.read_partial(&commit(1)).await?, Some(Partial::Fetching), "the mark");
    Ok(())
}
