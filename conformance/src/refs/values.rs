//! Commits and aliases.

use treeferry_core::store::{ExpectedRef, RefAnswer, RefSpace, RefValue};

use super::{Here, commit, name, set, update};
use crate::Outcome;

pub(super) async fn an_alias_comes_back_as_one(place: Here<'_>) -> Outcome {
    let refs = place.open().await?;
    for (alias, target) in [
        ("stable", "os/41/stable"),
        ("deep/er/alias", "os/41/stable"),
        ("deep/sibling", "deep/er/alias"),
    ] {
        let (alias, target) = (name(alias)?, name(target)?);
        set(&*refs, &name("os/41/stable")?, Some(commit(1))).await?;
        set(&*refs, &alias, Some(RefValue::Alias(target.clone()))).await?;
        let second = place.open().await?;
        let found = second.read_ref(&alias).await?;
        ensure_eq!(found, Some(RefValue::Alias(target.clone())), "the alias {alias}");
        let listed = second.list_refs(&RefSpace::Local).await?;
        let expected = (alias, RefValue::Alias(target));
        ensure!(listed.contains(&expected), "{expected:?} is not in the list {listed:?}");
    }
    Ok(())
}

pub(super) async fn an_alias_does_not_follow_what_it_means(place: Here<'_>) -> Outcome {
    let refs = place.open().await?;
    let (alias, target) = (name("stable")?, name("os/41")?);
    let value = RefValue::Alias(target.clone());
    set(&*refs, &target, Some(commit(1))).await?;
    set(&*refs, &alias, Some(value.clone())).await?;
    set(&*refs, &target, Some(commit(2))).await?;
    ensure_eq!(refs.read_ref(&alias).await?, Some(value), "the alias after its target moved");
    // Replacing an alias must not write through it.
    set(&*refs, &alias, Some(commit(3))).await?;
    ensure_eq!(refs.read_ref(&target).await?, Some(commit(2)), "its target");
    Ok(())
}

pub(super) async fn an_alias_is_compared_as_one(place: Here<'_>) -> Outcome {
    let refs = place.open().await?;
    let (alias, target) = (name("stable")?, name("os/41")?);
    let value = RefValue::Alias(target.clone());
    set(&*refs, &target, Some(commit(1))).await?;
    set(&*refs, &alias, Some(value.clone())).await?;
    let of_target = ExpectedRef::Value(commit(1));
    let answer = update(&*refs, &alias, of_target, Some(commit(2))).await?;
    let current = Some(value.clone());
    ensure_eq!(answer, RefAnswer::Conflict { current }, "expecting its target's commit");
    let answer = update(&*refs, &alias, ExpectedRef::Value(value), None).await?;
    ensure_eq!(answer, RefAnswer::Committed, "expecting the alias");
    ensure_eq!(refs.read_ref(&alias).await?, None, "the alias after it was deleted");
    ensure_eq!(refs.read_ref(&target).await?, Some(commit(1)), "its target");
    Ok(())
}

pub(super) async fn a_commit_and_an_alias_replace_each_other(place: Here<'_>) -> Outcome {
    let refs = place.open().await?;
    let (changing, target) = (name("a/changing")?, name("a/target")?);
    set(&*refs, &target, Some(commit(1))).await?;
    for value in [commit(5), RefValue::Alias(target), commit(6)] {
        set(&*refs, &changing, Some(value)).await?;
    }
    Ok(())
}
