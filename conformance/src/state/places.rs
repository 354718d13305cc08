//! Handles and places.

use treeferry_core::format::delta::DeltaFile;
use treeferry_core::store::{Partial, RepoState, SignedSummary};
use treeferry_core::transport::PutBody;

use super::{Here, bytes, commit, keyring};
use crate::{Failed, Outcome};

fn index() -> DeltaFile {
    DeltaFile::Index(commit(5))
}

async fn fill(state: &dyn RepoState) -> Outcome {
    state.swap_detached(&commit(1), None, Some(bytes("detached"))).await?;
    state.write_partial(&commit(2), Some(Partial::Fetching)).await?;
    state.write_partial(&commit(3), Some(Partial::Damaged)).await?;
    state.write_tombstone(&commit(4), Some(bytes("tombstone"))).await?;
    let summary = SignedSummary {
        summary: bytes("summary"),
        signature: Some(bytes("signature")),
    };
    state.write_summary(Some(summary)).await?;
    state.write_extra(&keyring("origin")?, Some(bytes("key"))).await?;
    state.write_delta_file(&index(), PutBody::Bytes(bytes("index"))).await?;
    Ok(())
}

async fn ensure_filled(state: &dyn RepoState) -> Outcome {
    let detached = state.read_detached(&commit(1)).await?;
    ensure_eq!(detached, Some(bytes("detached")), "the detached metadata");
    let (fetching, damaged) = (Some(Partial::Fetching), Some(Partial::Damaged));
    ensure_eq!(state.read_partial(&commit(2)).await?, fetching, "the first mark");
    ensure_eq!(state.read_partial(&commit(3)).await?, damaged, "the second mark");
    ensure_eq!(state.list_partial().await?.len(), 2, "the number of marks");
    let tombstone = state.read_tombstone(&commit(4)).await?;
    ensure_eq!(tombstone, Some(bytes("tombstone")), "the tombstone");
    let summary = state.read_summary().await?.ok_or_else(|| Failed::new("no summary"))?;
    ensure_eq!(summary.summary, bytes("summary"), "the summary");
    ensure_eq!(summary.signature, Some(bytes("signature")), "the signature");
    let key = state.read_extra(&keyring("origin")?).await?;
    ensure_eq!(key, Some(bytes("key")), "the keyring");
    let index = state.open_delta_file(&index(), 0).await?;
    ensure_eq!(index.is_some(), true, "whether the index of deltas is there");
    Ok(())
}

async fn ensure_empty(state: &dyn RepoState) -> Outcome {
    ensure_eq!(state.read_detached(&commit(1)).await?, None, "the detached metadata");
    ensure_eq!(state.list_partial().await?, vec![], "the marks");
    ensure_eq!(state.read_tombstone(&commit(4)).await?, None, "the tombstone");
    ensure_eq!(state.read_summary().await?, None, "the summary");
    ensure_eq!(state.read_extra(&keyring("origin")?).await?, None, "the keyring");
    ensure_eq!(state.list_delta_files().await?, vec![], "the files of deltas");
    Ok(())
}

pub(super) async fn handles_see_each_others_state(place: Here<'_>) -> Outcome {
    let (state, second) = (place.open().await?, place.open().await?);
    // It looks first: what it saw it must not go on believing.
    ensure_empty(&*second).await?;
    fill(&*state).await?;
    ensure_filled(&*second).await
}

pub(super) async fn reopening_keeps_all_state(place: Here<'_>) -> Outcome {
    let state = place.open().await?;
    fill(&*state).await?;
    drop(state);
    ensure_filled(&*place.open().await?).await
}

pub(super) async fn places_do_not_share_state(place: Here<'_>) -> Outcome {
    let other = place.another().await?;
    fill(&*place.open().await?).await?;
    ensure_empty(&*other.open().await?).await
}
