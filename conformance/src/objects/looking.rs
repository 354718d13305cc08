//! Looking objects up, and listing them.

use futures::TryStreamExt;
use treeferry_core::format::{Checksum, ObjectName, ObjectType};
use treeferry_core::store::{Listed, Trust};

use super::{Here, ensure_lacks, expected_stat, list, put_all, stat};
use crate::samples::{self, Parts};
use crate::{ListedTimes, Outcome};

pub(super) async fn an_absent_object_is_none(place: Here<'_>) -> Outcome {
    let store = place.open().await?;
    for kind in ObjectType::ALL {
        let name = ObjectName::new(kind, Checksum::of(b"absent"));
        ensure_lacks(&*store, name).await?;
    }
    Ok(())
}

pub(super) async fn stat_answers_in_order(place: Here<'_>) -> Outcome {
    let tree = samples::tree(place.profile().holds, "looked up", 5);
    let store = place.open().await?;
    put_all(&*store, &tree.objects).await?;
    // Backwards, with absent ones between and one asked for twice.
    let mut names = Vec::new();
    for (i, sample) in tree.objects.iter().rev().enumerate() {
        names.push(sample.name);
        names.push(ObjectName::file(Checksum::of(&[i as u8])));
    }
    names.push(names[0]);
    let stats = store.stat(&names).await?;
    ensure_eq!(stats.len(), names.len(), "the number of answers");
    for (at, name) in names.iter().enumerate() {
        let alone = stat(&*store, *name).await?;
        ensure_eq!(stats[at], alone, "answer {at} of a batch, for {name}");
        let there = tree.objects.iter().any(|o| o.name == *name);
        ensure_eq!(alone.is_some(), there, "whether {name} is there");
    }
    Ok(())
}

pub(super) async fn stat_of_nothing_is_nothing(place: Here<'_>) -> Outcome {
    let stats = place.open().await?.stat(&[]).await?;
    ensure_eq!(stats, vec![], "stat of no names");
    Ok(())
}

pub(super) async fn stat_tells_kinds_apart(place: Here<'_>) -> Outcome {
    let sample = samples::dirmeta(0o755);
    let store = place.open().await?;
    put_all(&*store, std::slice::from_ref(&sample)).await?;
    for kind in ObjectType::ALL {
        if kind != ObjectType::DirMeta {
            ensure_lacks(&*store, ObjectName::new(kind, sample.name.checksum)).await?;
        }
    }
    Ok(())
}

pub(super) async fn stat_tells_the_length_of_metadata(place: Here<'_>) -> Outcome {
    let tree = samples::tree(place.profile().holds, "measured", 2);
    let store = place.open().await?;
    put_all(&*store, &tree.objects).await?;
    for sample in &tree.objects {
        if let Parts::Metadata(bytes) = &sample.parts {
            let expected = expected_stat(sample, store.encoding(), bytes.len() as u64);
            let found = stat(&*store, sample.name).await?;
            ensure_eq!(found, Some(expected), "stat of {}", sample.name);
        }
    }
    Ok(())
}

pub(super) async fn stat_trusts_what_was_put(place: Here<'_>) -> Outcome {
    let tree = samples::tree(place.profile().holds, "trusted", 2);
    let store = place.open().await?;
    put_all(&*store, &tree.objects).await?;
    let second = place.open().await?;
    for sample in &tree.objects {
        let found = stat(&*second, sample.name).await?;
        let Some(found) = found else {
            return super::ensure_has(&*second, sample).await;
        };
        ensure_eq!(found.trust, Trust::Whole, "the trust in {}", sample.name);
        let expected = expected_stat(sample, place.profile().encoding, found.stored_bytes);
        ensure_eq!(found, expected, "stat of {}", sample.name);
    }
    Ok(())
}

pub(super) async fn a_list_has_exactly_what_is_there(place: Here<'_>) -> Outcome {
    let tree = samples::tree(place.profile().holds, "listed", 7);
    let store = place.open().await?;
    for kind in ObjectType::ALL {
        ensure_eq!(list(&*store, kind).await?, vec![], "the {kind}s of an empty place");
    }
    put_all(&*store, &tree.objects).await?;
    for handle in [&store, &place.open().await?] {
        for kind in ObjectType::ALL {
            let of_kind = tree.names().into_iter().filter(|n| n.object_type == kind);
            let mut expected: Vec<_> = of_kind.collect();
            expected.sort_unstable();
            ensure_eq!(list(&**handle, kind).await?, expected, "the {kind}s listed");
        }
    }
    Ok(())
}

pub(super) async fn a_list_agrees_with_stat(place: Here<'_>) -> Outcome {
    let tree = samples::tree(place.profile().holds, "compared", 3);
    let store = place.open().await?;
    put_all(&*store, &tree.objects).await?;
    for kind in ObjectType::ALL {
        let listed: Vec<Listed> = store.list(kind).try_collect().await?;
        for entry in listed {
            let stat = stat(&*store, entry.name).await?.map(|s| s.stored_bytes);
            ensure_eq!(Some(entry.stored_bytes), stat, "the listed length of {}", entry.name);
        }
    }
    Ok(())
}

pub(super) async fn a_list_tells_times_or_never_does(place: Here<'_>) -> Outcome {
    let tree = samples::tree(place.profile().holds, "timed", 1);
    let store = place.open().await?;
    put_all(&*store, &tree.objects).await?;
    let told = place.profile().listed_times == ListedTimes::Known;
    // Files are left out: their time is part of what a checkout shows, and may be zeroed.
    let listed = ObjectType::ALL.into_iter().filter(|k| k.is_metadata());
    for kind in listed {
        let listed: Vec<Listed> = store.list(kind).try_collect().await?;
        for entry in listed {
            let found = entry.modified.is_some();
            ensure_eq!(found, told, "whether the time of {} is listed", entry.name);
        }
    }
    Ok(())
}
