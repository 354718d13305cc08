//! The configuration: compared and swapped.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::try_join_all;
use tokio::sync::Barrier;
use treeferry_core::store::Swap;

use super::Here;
use crate::Outcome;
use crate::suite::spawned;

/// Returns `config` with a remote more. The rest stays: it says how the place is read.
fn with_remote(config: &Bytes, name: &str) -> Bytes {
    let text = format!("\n# added by a check\n[remote \"{name}\"]\nurl=https://example.org/\n");
    [&config[..], text.as_bytes()].concat().into()
}

pub(super) async fn a_swapped_config_comes_back(place: Here<'_>) -> Outcome {
    let state = place.open().await?;
    let before = state.read_config().await?;
    let after = with_remote(&before, "one");
    ensure_eq!(state.swap_config(&before, after.clone()).await?, Swap::Done, "the swap");
    for handle in [&state, &place.open().await?] {
        ensure_eq!(handle.read_config().await?, after, "the config");
    }
    Ok(())
}

pub(super) async fn a_stale_config_is_a_conflict(place: Here<'_>) -> Outcome {
    let state = place.open().await?;
    let before = state.read_config().await?;
    let after = with_remote(&before, "one");
    state.swap_config(&before, after.clone()).await?;
    let swap = state.swap_config(&before, with_remote(&before, "two")).await?;
    let current = Some(after.clone());
    ensure_eq!(swap, Swap::Conflict { current }, "a swap of a stale config");
    ensure_eq!(state.read_config().await?, after, "the config");
    Ok(())
}

pub(super) async fn two_who_swap_the_config_do_not_lose_a_change(place: Here<'_>) -> Outcome {
    // All read before any of them writes: who ignores what was expected loses some.
    let all_have_read = Arc::new(Barrier::new(4));
    let mut tasks = Vec::new();
    for who in 0..4 {
        let state = place.open().await?;
        let all_have_read = Arc::clone(&all_have_read);
        tasks.push(spawned(async move {
            for round in 0..4 {
                let mut current = state.read_config().await?;
                all_have_read.wait().await;
                let name = format!("r{who}-{round}");
                while let Swap::Conflict { current: found } =
                    state.swap_config(&current, with_remote(&current, &name)).await?
                {
                    current = found.unwrap_or_default();
                }
            }
            Ok(())
        }));
    }
    try_join_all(tasks).await?;
    let config = place.open().await?.read_config().await?;
    let config = String::from_utf8_lossy(&config);
    let remotes = config.matches("[remote \"r").count();
    ensure_eq!(remotes, 16, "the remotes that were added");
    Ok(())
}
