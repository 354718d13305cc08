//! Handles and places.

use treeferry_core::format::ObjectType;

use super::{Here, ensure_has, list, put_all};
use crate::Outcome;
use crate::samples;

pub(super) async fn reopening_keeps_all_objects(place: Here<'_>) -> Outcome {
    let tree = samples::tree(place.profile().holds, "kept", 4);
    let store = place.open().await?;
    put_all(&*store, &tree.objects).await?;
    drop(store);
    let store = place.open().await?;
    for sample in &tree.objects {
        ensure_has(&*store, sample).await?;
    }
    Ok(())
}

pub(super) async fn places_do_not_share_objects(place: Here<'_>) -> Outcome {
    let tree = samples::tree(place.profile().holds, "here", 4);
    let other = place.another().await?;
    put_all(&*place.open().await?, &tree.objects).await?;
    let store = other.open().await?;
    let stats = store.stat(&tree.names()).await?;
    ensure_eq!(stats.iter().flatten().count(), 0, "objects seen in another place");
    for kind in ObjectType::ALL {
        ensure_eq!(list(&*store, kind).await?, vec![], "the {kind}s of another place");
    }
    Ok(())
}
