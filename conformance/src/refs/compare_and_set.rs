//! One ref, compared and set.

use std::sync::Arc;

use futures::future::try_join_all;
use tokio::sync::Barrier;
use treeferry_core::store::{ExpectedRef, RefAnswer, RefName, RefStore};

use super::{Here, commit, name, number, set, update};
use crate::Outcome;
use crate::suite::spawned;

pub(super) async fn every_case_of_compare_and_set_is_right(place: Here<'_>) -> Outcome {
    let refs = place.open().await?;
    let name = name("os/stable")?;
    let expectations = [
        ExpectedRef::Any,
        ExpectedRef::Absent,
        ExpectedRef::Value(commit(1)),
        ExpectedRef::Value(commit(2)),
    ];
    for before in [None, Some(commit(1))] {
        for expected in &expectations {
            for new in [None, Some(commit(1)), Some(commit(3))] {
                set(&*refs, &name, before.clone()).await?;
                let case = format!("{before:?}, expected {expected:?}, new {new:?}");
                let holds = expected.matches(before.as_ref());
                let answer = update(&*refs, &name, expected.clone(), new.clone()).await?;
                let (right, after) = match holds {
                    true => (RefAnswer::Committed, new.clone()),
                    false => {
                        let current = before.clone();
                        (RefAnswer::Conflict { current }, before.clone())
                    }
                };
                ensure_eq!(answer, right, "the answer: {case}");
                ensure_eq!(refs.read_ref(&name).await?, after, "what it holds then: {case}");
            }
        }
    }
    Ok(())
}

pub(super) async fn a_conflict_names_what_is_there(place: Here<'_>) -> Outcome {
    let refs = place.open().await?;
    let name = name("os/stable")?;
    let stale = ExpectedRef::Value(commit(1));
    let answer = update(&*refs, &name, stale.clone(), Some(commit(2))).await?;
    ensure_eq!(answer, RefAnswer::Conflict { current: None }, "of an absent ref");
    set(&*refs, &name, Some(commit(7))).await?;
    let current = Some(commit(7));
    for expected in [stale, ExpectedRef::Absent] {
        let answer = update(&*refs, &name, expected, Some(commit(2))).await?;
        let right = RefAnswer::Conflict { current: current.clone() };
        ensure_eq!(answer, right, "of a ref that moved");
    }
    Ok(())
}

pub(super) async fn a_conflict_changes_nothing(place: Here<'_>) -> Outcome {
    let refs = place.open().await?;
    let name = name("os/stable")?;
    set(&*refs, &name, Some(commit(1))).await?;
    for new in [Some(commit(2)), None] {
        update(&*refs, &name, ExpectedRef::Absent, new.clone()).await?;
        update(&*refs, &name, ExpectedRef::Value(commit(9)), new).await?;
        let second = place.open().await?;
        ensure_eq!(second.read_ref(&name).await?, Some(commit(1)), "after conflicts");
    }
    Ok(())
}

pub(super) async fn deleting_what_is_absent_is_judged_like_the_rest(place: Here<'_>) -> Outcome {
    let refs = place.open().await?;
    let name = name("os/stable")?;
    for (expected, right) in [
        (ExpectedRef::Any, RefAnswer::Committed),
        (ExpectedRef::Absent, RefAnswer::Committed),
        (ExpectedRef::Value(commit(1)), RefAnswer::Conflict { current: None }),
    ] {
        let answer = update(&*refs, &name, expected.clone(), None).await?;
        ensure_eq!(answer, right, "deleting an absent ref, {expected:?}");
    }
    Ok(())
}

/// Adds one to the number in a ref, and again until nobody was in between.
///
/// All that count read before any of them writes: who ignores what was expected loses counts.
async fn count_one(refs: &dyn RefStore, name: &RefName, all_have_read: &Barrier) -> Outcome {
    let mut current = refs.read_ref(name).await?;
    all_have_read.wait().await;
    loop {
        let (expected, next) = match current {
            None => (ExpectedRef::Absent, 1),
            Some(value) => {
                let next = number(&value)? + 1;
                (ExpectedRef::Value(value), next)
            }
        };
        match update(refs, name, expected, Some(commit(next))).await? {
            RefAnswer::Committed => return Ok(()),
            RefAnswer::Conflict { current: found } => current = found,
        }
    }
}

pub(super) async fn counting_through_two_handles_is_exact(place: Here<'_>) -> Outcome {
    const TASKS: u32 = 6;
    const ROUNDS: u32 = 15;
    let name = name("counter")?;
    let handles = [place.open().await?, place.open().await?];
    let all_have_read = Arc::new(Barrier::new(TASKS as usize));
    let counting = (0..TASKS).zip(handles.iter().cycle()).map(|(_, refs)| {
        let (refs, name) = (Arc::clone(refs), name.clone());
        let all_have_read = Arc::clone(&all_have_read);
        spawned(async move {
            for _ in 0..ROUNDS {
                count_one(&*refs, &name, &all_have_read).await?;
            }
            Ok(())
        })
    });
    try_join_all(counting).await?;
    let counted = place.open().await?.read_ref(&name).await?;
    ensure_eq!(counted, Some(commit(u64::from(TASKS * ROUNDS))), "the count");
    Ok(())
}

pub(super) async fn one_of_many_creators_wins(place: Here<'_>) -> Outcome {
    let name = name("created/once")?;
    let start = Arc::new(Barrier::new(8));
    let mut tasks = Vec::new();
    for i in 0..8 {
        let refs = place.open().await?;
        let (name, start) = (name.clone(), Arc::clone(&start));
        tasks.push(spawned(async move {
            start.wait().await;
            update(&*refs, &name, ExpectedRef::Absent, Some(commit(i))).await
        }));
    }
    let answers = try_join_all(tasks).await?;
    let winners: Vec<_> = (0..8).zip(&answers).filter(|(_, a)| **a == RefAnswer::Committed).collect();
    ensure_eq!(winners.len(), 1, "the number of winners");
    let current = Some(commit(winners[0].0));
    ensure_eq!(place.open().await?.read_ref(&name).await?, current, "what the ref holds");
    for answer in answers.iter().filter(|a| **a != RefAnswer::Committed) {
        let right = RefAnswer::Conflict { current: current.clone() };
        ensure_eq!(*answer, right, "the answer to a loser");
    }
    Ok(())
}
