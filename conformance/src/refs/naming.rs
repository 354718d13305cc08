//! Names, name spaces, lists.

use treeferry_core::ErrorKind;
use treeferry_core::store::{ExpectedRef, RefName, RefSpace, RefUpdate, RefValue};

use super::{Here, commit, name, set};
use crate::{Failed, NestedRefs, Outcome};

const NAMES: [&str; 9] = [
    "a",
    "os/stable/x86_64",
    "os/stable/aarch64",
    "os.d/a-b_c.9",
    "_under/1",
    "größe/ü",
    "origin:os/stable/x86_64",
    "other-origin.1:os/stable/x86_64",
    "(org.example.Os) os/stable/x86_64",
];

pub(super) async fn an_absent_ref_is_none(place: Here<'_>) -> Outcome {
    let refs = place.open().await?;
    for text in NAMES {
        ensure_eq!(refs.read_ref(&name(text)?).await?, None, "{text} in an empty place");
    }
    set(&*refs, &name("os/stable")?, Some(commit(1))).await?;
    for text in ["os", "stable", "os/stabl", "os/stable2", "origin:os/stable"] {
        ensure_eq!(refs.read_ref(&name(text)?).await?, None, "{text}");
    }
    Ok(())
}

pub(super) async fn odd_names_come_back(place: Here<'_>) -> Outcome {
    let refs = place.open().await?;
    let long = format!("{}/{}", "p".repeat(200), "q/".repeat(60) + "end");
    let texts = NAMES.iter().copied().chain([long.as_str()]);
    for (i, text) in (0..).zip(texts.clone()) {
        set(&*refs, &name(text)?, Some(commit(i))).await?;
    }
    let second = place.open().await?;
    for (i, text) in (0..).zip(texts) {
        let found = second.read_ref(&name(text)?).await?;
        ensure_eq!(found, Some(commit(i)), "{text}");
    }
    Ok(())
}

pub(super) async fn name_spaces_are_told_apart(place: Here<'_>) -> Outcome {
    let refs = place.open().await?;
    let texts = ["b", "one:b", "two:b", "(org.example.One) b", "(org.example.Two) b"];
    for (i, text) in (0..).zip(texts) {
        set(&*refs, &name(text)?, Some(commit(i))).await?;
    }
    set(&*refs, &name("one:b")?, None).await?;
    for (i, text) in (0..).zip(texts) {
        let expected = (text != "one:b").then(|| commit(i));
        ensure_eq!(refs.read_ref(&name(text)?).await?, expected, "{text}");
    }
    Ok(())
}

pub(super) async fn lists_have_exactly_what_is_there(place: Here<'_>) -> Outcome {
    let refs = place.open().await?;
    let origin = "origin".parse().map_err(|e| Failed::new(format!("{e}")))?;
    let nobody = "nobody".parse().map_err(|e| Failed::new(format!("{e}")))?;
    let (origin, nobody) = (RefSpace::Remote(origin), RefSpace::Remote(nobody));
    let spaces = [RefSpace::All, RefSpace::Local, origin.clone(), RefSpace::Mirrors, nobody];
    for space in &spaces {
        ensure_eq!(refs.list_refs(space).await?, vec![], "{space:?} of an empty place");
    }
    let mut all = Vec::new();
    // Backwards, so that a store that lists in the order of writing is found out.
    for (i, text) in (0..9_u32).zip(NAMES).rev() {
        let value = commit(u64::from(i));
        set(&*refs, &name(text)?, Some(value.clone())).await?;
        all.push((name(text)?, value));
    }
    set(&*refs, &name("gone/again")?, Some(commit(99))).await?;
    set(&*refs, &name("gone/again")?, None).await?;
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    let second = place.open().await?;
    for space in &spaces {
        let belongs = |(name, _): &&(RefName, RefValue)| match (space, name) {
            (RefSpace::All, _)
            | (RefSpace::Local, RefName::Local(_))
            | (RefSpace::Mirrors, RefName::Mirror(..)) => true,
            (RefSpace::Remote(wanted), RefName::Remote(remote, _)) => wanted == remote,
            _ => false,
        };
        let expected: Vec<_> = all.iter().filter(belongs).cloned().collect();
        ensure_eq!(second.list_refs(space).await?, expected, "the list of {space:?}");
    }
    Ok(())
}

pub(super) async fn a_ref_below_another_is_held_or_refused(place: Here<'_>) -> Outcome {
    let refs = place.open().await?;
    for (first, second) in [("os", "os/stable"), ("deep/a/b", "deep/a")] {
        set(&*refs, &name(first)?, Some(commit(1))).await?;
        let update = RefUpdate {
            name: name(second)?,
            expected: ExpectedRef::Absent,
            new: Some(commit(2)),
        };
        let updated = refs.update_refs(&[update]).await;
        let held = match place.profile().nested_refs {
            NestedRefs::Held => {
                updated?;
                Some(commit(2))
            }
            NestedRefs::Refused => {
                ensure_refused!(updated, ErrorKind::Invalid, "'{second}' beside '{first}'");
                None
            }
        };
        ensure_eq!(refs.read_ref(&name(first)?).await?, Some(commit(1)), "{first}");
        ensure_eq!(refs.read_ref(&name(second)?).await?, held, "{second}");
    }
    Ok(())
}

pub(super) async fn a_name_is_free_once_all_below_it_is_deleted(place: Here<'_>) -> Outcome {
    let refs = place.open().await?;
    for text in ["os/a/b", "os/a", "os/a/b/c/d", "os"] {
        set(&*refs, &name(text)?, Some(commit(1))).await?;
        set(&*refs, &name(text)?, None).await?;
    }
    ensure_eq!(refs.list_refs(&RefSpace::All).await?, vec![], "what is left");
    Ok(())
}
