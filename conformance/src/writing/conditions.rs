//! Puts that depend on what is there.

use bytes::Bytes;
use treeferry_core::ErrorKind;
use treeferry_core::transport::{Precondition, PutAnswer, PutBody};

use super::{Here, can_compare, list, put, set, version};
use crate::transport::{ensure_holds, foreign_validators, path, wait_to_change};
use crate::{Conditions, Outcome};

fn text(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn is_done(answer: &PutAnswer) -> bool {
    matches!(answer, PutAnswer::Done { .. })
}

pub(super) async fn conditions_are_kept_or_refused_as_the_profile_says(place: Here<'_>) -> Outcome {
    let (remote, path) = (place.open().await?, path("on/condition")?);
    let body = || PutBody::Bytes(text("new"));
    let foreign = foreign_validators().map(Precondition::Unchanged);
    match place.profile().conditions {
        Conditions::Enforced | Conditions::OneWriter => {
            let answer = remote.put(&path, Precondition::Absent, body()).await?;
            ensure!(is_done(&answer), "put where nothing is: answered with {answer:?}");
        }
        Conditions::Refused => {
            for precondition in [Precondition::Absent].into_iter().chain(foreign) {
                let what = format!("{precondition:?}");
                let answer = remote.put(&path, precondition, body()).await;
                ensure_refused!(answer, ErrorKind::Unsupported, "a put on condition {what}");
            }
            ensure_eq!(list(&*remote, "").await?, vec![], "what is there after refusals");
        }
    }
    Ok(())
}

pub(super) async fn what_must_be_absent_is_put_once(place: Here<'_>) -> Outcome {
    if !can_compare(place) {
        return Ok(());
    }
    let remote = place.open().await?;
    // Also in a directory that is not there yet, and of an empty file.
    for (name, first) in [("once", text("first")), ("new/dir/once", Bytes::new())] {
        let path = path(name)?;
        let answer = put(&*remote, &path, Precondition::Absent, &first).await?;
        ensure!(is_done(&answer), "{path}, absent: answered with {answer:?}");
        let second = place.open().await?;
        let answer = put(&*second, &path, Precondition::Absent, &text("second")).await?;
        ensure_eq!(answer, PutAnswer::Conflict, "the answer, it is there");
        ensure_holds(&*remote, &path, Some(&first), "after a conflict").await?;
    }
    Ok(())
}

pub(super) async fn what_must_be_unchanged_is_put_over_that_version_alone(
    place: Here<'_>,
) -> Outcome {
    if !can_compare(place) {
        return Ok(());
    }
    let (remote, path) = (place.open().await?, path("dir/unchanged")?);
    for foreign in foreign_validators() {
        let unchanged = Precondition::Unchanged(foreign);
        let answer = put(&*remote, &path, unchanged, &text("never")).await?;
        ensure_eq!(answer, PutAnswer::Conflict, "the answer, it is not there");
        ensure_holds(&*remote, &path, None, "after a conflict").await?;
    }
    set(&*remote, &path, &text("1st")).await?;
    wait_to_change(place.profile()).await;
    let Some(first) = version(&*remote, &path).await? else {
        return Ok(());
    };
    let unchanged = || Precondition::Unchanged(first.clone());
    let answer = put(&*remote, &path, unchanged(), &text("2nd")).await?;
    ensure!(is_done(&answer), "over the version that it is: answered with {answer:?}");
    ensure_holds(&*remote, &path, Some(&text("2nd")), "put over its version").await?;
    wait_to_change(place.profile()).await;
    let stale = [unchanged()].into_iter();
    let foreign = foreign_validators().map(Precondition::Unchanged);
    for precondition in stale.chain(foreign) {
        let what = format!("{precondition:?}");
        let answer = put(&*remote, &path, precondition, &text("3rd")).await?;
        ensure_eq!(answer, PutAnswer::Conflict, "the answer, {what} is not its version");
        ensure_holds(&*remote, &path, Some(&text("2nd")), "after a conflict").await?;
    }
    Ok(())
}

pub(super) async fn what_was_deleted_is_absent_again(place: Here<'_>) -> Outcome {
    if !can_compare(place) {
        return Ok(());
    }
    let (remote, path) = (place.open().await?, path("dir/deleted")?);
    set(&*remote, &path, &text("first")).await?;
    wait_to_change(place.profile()).await;
    let before = version(&*remote, &path).await?;
    remote.delete(std::slice::from_ref(&path)).await?;
    if let Some(before) = before {
        let unchanged = Precondition::Unchanged(before);
        let answer = put(&*remote, &path, unchanged, &text("never")).await?;
        ensure_eq!(answer, PutAnswer::Conflict, "the answer, its version was deleted");
    }
    let answer = put(&*remote, &path, Precondition::Absent, &text("again")).await?;
    ensure!(is_done(&answer), "absent again: answered with {answer:?}");
    ensure_holds(&*remote, &path, Some(&text("again")), "put again").await
}

pub(super) async fn a_conflict_changes_nothing(place: Here<'_>) -> Outcome {
    if !can_compare(place) {
        return Ok(());
    }
    let (remote, path) = (place.open().await?, path("kept")?);
    set(&*remote, &path, &text("kept")).await?;
    wait_to_change(place.profile()).await;
    let before = version(&*remote, &path).await?;
    for bytes in [text("other"), Bytes::new(), Bytes::from(vec![7; 100_000])] {
        let body = PutBody::Stream {
            total_bytes: bytes.len() as u64,
            bytes: crate::samples::stream(crate::samples::split(&bytes, 9000)),
        };
        let answer = remote.put(&path, Precondition::Absent, body).await?;
        ensure_eq!(answer, PutAnswer::Conflict, "the answer, it is there");
        let second = place.open().await?;
        ensure_holds(&*second, &path, Some(&text("kept")), "after a conflict").await?;
        ensure_eq!(version(&*second, &path).await?, before, "its version after a conflict");
    }
    ensure_eq!(list(&*remote, "").await?, vec![("kept".to_owned(), 4)], "the list");
    Ok(())
}

pub(super) async fn the_version_told_by_a_put_is_the_files(place: Here<'_>) -> Outcome {
    let (remote, path) = (place.open().await?, path("dir/told")?);
    for bytes in [text("one"), text("two"), Bytes::new()] {
        let answer = put(&*remote, &path, Precondition::None, &bytes).await?;
        wait_to_change(place.profile()).await;
        let PutAnswer::Done { validator: told } = answer else {
            return Err(crate::Failed::new("a put without condition is a conflict"));
        };
        if told.is_some() {
            let found = version(&*remote, &path).await?;
            ensure_eq!(told, found, "the version that the put told");
        }
    }
    Ok(())
}
