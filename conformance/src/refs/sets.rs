//! Several refs at once.

use treeferry_core::store::{ExpectedRef, RefAnswer, RefAtomicity, RefUpdate, RefValue};

use super::{Here, commit, name, set};
use crate::{Failed, Outcome};

fn to(text: &str, expected: ExpectedRef, new: Option<RefValue>) -> Result<RefUpdate, Failed> {
    Ok(RefUpdate {
        name: name(text)?,
        expected,
        new,
    })
}

pub(super) async fn updates_are_answered_in_order(place: Here<'_>) -> Outcome {
    let refs = place.open().await?;
    for i in 0..4 {
        set(&*refs, &name(&format!("r{i}"))?, Some(commit(i))).await?;
    }
    // All conflict, so that the answer does not depend on whether the set moves as one.
    let mut updates = Vec::new();
    for i in [2, 0, 3, 1] {
        updates.push(to(&format!("r{i}"), ExpectedRef::Absent, Some(commit(9)))?);
    }
    let answers = refs.update_refs(&updates).await?;
    let conflict = |i| RefAnswer::Conflict { current: Some(commit(i)) };
    ensure_eq!(answers, [2, 0, 3, 1].map(conflict).to_vec(), "the answers");
    Ok(())
}

pub(super) async fn an_empty_set_is_answered_with_nothing(place: Here<'_>) -> Outcome {
    let answers = place.open().await?.update_refs(&[]).await?;
    ensure_eq!(answers, vec![], "the answers to no updates");
    Ok(())
}

pub(super) async fn a_set_without_conflict_moves_whole(place: Here<'_>) -> Outcome {
    let refs = place.open().await?;
    set(&*refs, &name("moved")?, Some(commit(1))).await?;
    set(&*refs, &name("deleted")?, Some(commit(1))).await?;
    let updates = [
        to("moved", ExpectedRef::Value(commit(1)), Some(commit(2)))?,
        to("deleted", ExpectedRef::Value(commit(1)), None)?,
        to("created", ExpectedRef::Absent, Some(commit(3)))?,
        to("origin:created", ExpectedRef::Any, Some(commit(4)))?,
    ];
    let answers = refs.update_refs(&updates).await?;
    ensure_eq!(answers, vec![RefAnswer::Committed; 4], "the answers");
    let second = place.open().await?;
    for update in updates {
        let found = second.read_ref(&update.name).await?;
        ensure_eq!(found, update.new, "{} afterwards", update.name);
    }
    Ok(())
}

pub(super) async fn a_set_with_a_conflict_moves_as_the_store_says(place: Here<'_>) -> Outcome {
    let refs = place.open().await?;
    let atomicity = refs.ref_atomicity();
    ensure_eq!(atomicity, place.profile().ref_atomicity, "the atomicity");
    set(&*refs, &name("b")?, Some(commit(7))).await?;
    let updates = [
        to("a", ExpectedRef::Absent, Some(commit(1)))?,
        to("b", ExpectedRef::Value(commit(6)), Some(commit(2)))?,
        to("c", ExpectedRef::Absent, Some(commit(3)))?,
    ];
    let answers = refs.update_refs(&updates).await?;
    let lost = RefAnswer::Conflict { current: Some(commit(7)) };
    ensure_eq!(answers.len(), 3, "the number of answers");
    ensure_eq!(answers[1], lost, "the answer to the update that conflicts");
    for (update, answer) in updates.iter().zip(&answers) {
        let found = refs.read_ref(&update.name).await?;
        let moved = *answer == RefAnswer::Committed;
        ensure_eq!(found == update.new, moved, "{} is {found:?}, {answer:?}", update.name);
        if atomicity == RefAtomicity::Set {
            let current = found;
            let stayed = RefAnswer::Conflict { current };
            ensure_eq!(*answer, stayed, "{}, in a set that moves as one", update.name);
        }
    }
    Ok(())
}
