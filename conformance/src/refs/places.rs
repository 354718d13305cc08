//! Handles and places.

use treeferry_core::store::{RefSpace, RefValue};

use super::{Here, commit, name, set};
use crate::Outcome;

pub(super) async fn handles_see_each_others_refs(place: Here<'_>) -> Outcome {
    let (refs, second) = (place.open().await?, place.open().await?);
    let name = name("os/stable")?;
    // It looks before and after each change: what it saw it must not go on believing.
    for value in [None, Some(commit(1)), Some(commit(2)), None, Some(commit(3))] {
        set(&*refs, &name, value.clone()).await?;
        ensure_eq!(second.read_ref(&name).await?, value, "what the second handle reads");
        let listed = second.list_refs(&RefSpace::All).await?;
        let listed = listed.into_iter().next().map(|(_, value)| value);
        ensure_eq!(listed, value, "what the second handle lists");
    }
    Ok(())
}

pub(super) async fn reopening_keeps_all_refs(place: Here<'_>) -> Outcome {
    let refs = place.open().await?;
    let alias = RefValue::Alias(name("a")?);
    let all = [("a", commit(1)), ("b", alias), ("o:c", commit(2)), ("(x.Y) d", commit(3))];
    for (text, value) in &all {
        set(&*refs, &name(text)?, Some(value.clone())).await?;
    }
    drop(refs);
    let refs = place.open().await?;
    for (text, value) in all {
        ensure_eq!(refs.read_ref(&name(text)?).await?, Some(value), "{text}");
    }
    Ok(())
}

pub(super) async fn places_do_not_share_refs(place: Here<'_>) -> Outcome {
    let other = place.another().await?;
    set(&*place.open().await?, &name("os/stable")?, Some(commit(1))).await?;
    let refs = other.open().await?;
    ensure_eq!(refs.list_refs(&RefSpace::All).await?, vec![], "the refs of another place");
    ensure_eq!(refs.read_ref(&name("os/stable")?).await?, None, "a ref of another place");
    Ok(())
}
