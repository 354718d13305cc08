//! What every [`ObjectStore`] must do.

use treeferry_core::codec::FlateCodec;
use treeferry_core::format::{ObjectName, ObjectType};
use treeferry_core::store::{
    BatchOptions, BatchStats, Body, Encoding, Incoming, ObjectSource, ObjectStore, Payload, Put,
    Stat, Trust,
};

use crate::samples::{Parts, Sample};
use crate::{Failed, Outcome, Place};

/// The place that a check is run on.
type Here<'a> = &'a dyn Place<dyn ObjectStore>;

suite! {
    ($)
    /// Makes one test of each check of an object store: `object_store_suite!(module, fixture)`.
    ///
    /// The fixture is evaluated in each test. Attributes before the module's name, such as
    /// `#[ignore = "needs root"]`, go to each test.
    object_store_suite in objects over dyn Place<dyn ObjectStore> {
        round_trip: [
            an_empty_file_comes_back,
            a_small_file_comes_back,
            a_large_file_comes_back,
            a_symbolic_link_comes_back,
            a_file_that_arrives_in_pieces_comes_back,
            a_file_from_a_blocking_reader_comes_back,
            every_header_that_can_be_held_comes_back,
            a_filez_body_becomes_an_object,
            a_large_filez_body_becomes_an_object,
            content_is_handed_out_as_the_store_says,
            metadata_comes_back,
            a_dirtree_of_many_entries_comes_back,
            what_is_recorded_is_named_by_its_hash,
        ],
        refusal: [
            a_file_with_the_wrong_name_leaves_nothing,
            metadata_with_the_wrong_name_leaves_nothing,
            a_file_cut_short_leaves_nothing,
            a_file_longer_than_announced_leaves_nothing,
            a_stream_that_breaks_leaves_nothing,
            a_filez_cut_short_leaves_nothing,
            a_filez_with_bytes_after_its_end_leaves_nothing,
            a_filez_whose_header_lies_leaves_nothing,
            a_filez_bomb_leaves_nothing,
            metadata_over_the_limit_leaves_nothing,
            a_body_of_the_wrong_kind_leaves_nothing,
            one_bad_object_does_not_spoil_the_others,
            a_refused_object_can_be_put_again,
            headers_that_cannot_be_held_are_refused,
        ],
        batches: [
            puts_are_answered_in_order,
            an_object_put_twice_is_present_and_unchanged,
            an_object_of_an_earlier_batch_is_present,
            one_object_put_by_many_at_once_is_one_object,
            two_batches_can_add_the_same_object,
            a_batch_shows_what_it_holds,
            a_batch_shows_the_store,
            others_see_a_batch_when_it_is_committed,
            a_dropped_batch_leaves_no_parent_visible,
            a_dropped_put_leaves_nothing,
            an_empty_batch_can_be_committed,
            the_stats_of_a_batch_are_exact,
            a_batch_of_many_objects_is_whole,
            whoever_sees_a_commit_sees_its_tree,
        ],
        leftovers: [
            leftovers_are_taken_up,
            leftovers_can_be_left_alone,
            leftovers_that_lack_children_stay_hidden,
        ],
        looking: [
            an_absent_object_is_none,
            stat_answers_in_order,
            stat_of_nothing_is_nothing,
            stat_tells_kinds_apart,
            stat_tells_the_length_of_metadata,
            stat_trusts_what_was_put,
            a_list_has_exactly_what_is_there,
            a_list_agrees_with_stat,
            a_list_tells_times_or_never_does,
        ],
        deletion: [
            delete_answers_with_the_bytes_it_freed,
            what_was_deleted_is_gone_for_all,
            delete_spares_the_rest,
            delete_tells_kinds_apart,
            delete_under_a_shared_lock_is_refused,
            what_was_deleted_can_be_put_again,
        ],
        locking: [
            a_guard_tells_its_kind,
            many_hold_the_lock_shared,
            an_exclusive_lock_excludes_all_others,
            shared_locks_exclude_an_exclusive_one,
            a_handle_excludes_itself,
            a_clone_keeps_the_lock,
            a_released_lock_goes_to_who_waits,
            a_batch_holds_the_lock,
            places_do_not_share_a_lock,
        ],
        places: [
            reopening_keeps_all_objects,
            places_do_not_share_objects,
        ],
        scratch: [
            the_profile_tells_whether_there_is_a_scratch,
            a_kept_download_is_taken_up_by_another_handle,
            a_kept_download_can_be_continued,
            a_kept_download_keeps_what_is_known_of_it,
            what_is_unknown_of_a_download_stays_unknown,
            downloads_are_told_apart,
            two_downloads_do_not_share_an_entry,
            a_download_can_start_over,
            a_discarded_download_is_gone,
            the_kept_downloads_of_an_origin_are_listed,
        ],
    }
}

/// Puts `samples` in a batch of their own and commits it.
async fn put_all(store: &dyn ObjectStore, samples: &[Sample]) -> Result<BatchStats, Failed> {
    let batch = store.begin(BatchOptions::default()).await?;
    let incoming = samples.iter().map(Sample::incoming).collect();
    all_ok(batch.put(incoming).await)?;
    Ok(batch.commit().await?)
}

/// Returns the answers of a put of which all must have worked.
fn all_ok(answers: Vec<treeferry_core::Result<Put>>) -> Result<Vec<Put>, Failed> {
    answers.into_iter().map(|a| Ok(a?)).collect()
}

/// Returns the answer of a put of one object.
fn only<T>(mut answers: Vec<T>) -> Result<T, Failed> {
    ensure_eq!(
        answers.len(),
        1,
        "the number of answers to a put of one object"
    );
    answers.pop().ok_or_else(|| Failed::new("no answer"))
}

/// Fetches an object, verifies it, and takes it apart.
async fn read(source: &dyn ObjectSource, name: ObjectName) -> Result<Option<Parts>, Failed> {
    match source.fetch(&name).await? {
        Some(body) => Ok(Some(take_apart(name, body).await?)),
        None => Ok(None),
    }
}

async fn take_apart(name: ObjectName, body: Body) -> Result<Parts, Failed> {
    let incoming = Incoming::named(name, body);
    let read = move || -> Result<Parts, Failed> {
        if name.object_type.is_metadata() {
            return Ok(Parts::Metadata(incoming.into_metadata()?.1));
        }
        let mut reader = incoming.into_content(&FlateCodec)?;
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut reader, &mut content)
            .map_err(|e| Failed::new(format!("what was fetched as {name} is not it: {e}")))?;
        Ok(Parts::File(reader.header().clone(), content.into()))
    };
    let read = tokio::task::spawn_blocking(read).await;
    read.map_err(|e| Failed::new(e.to_string()))?
}

/// Reads bytes that may block.
async fn read_payload(payload: Payload) -> Result<Vec<u8>, Failed> {
    let read = move || -> Result<Vec<u8>, Failed> {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut payload.into_reader()?, &mut bytes)
            .map_err(|e| Failed::new(e.to_string()))?;
        Ok(bytes)
    };
    let read = tokio::task::spawn_blocking(read).await;
    read.map_err(|e| Failed::new(e.to_string()))?
}

async fn stat(source: &dyn ObjectSource, name: ObjectName) -> Result<Option<Stat>, Failed> {
    let mut stats = source.stat(&[name]).await?;
    ensure_eq!(
        stats.len(),
        1,
        "the number of answers to a stat of one name"
    );
    Ok(stats.pop().flatten())
}

/// Checks that `source` has exactly `sample`.
async fn ensure_has(source: &dyn ObjectSource, sample: &Sample) -> Outcome {
    let name = sample.name;
    let stat = stat(source, name).await?;
    ensure!(stat.is_some(), "stat does not find {name}");
    match (read(source, name).await?, &sample.parts) {
        (None, _) => ensure!(false, "fetch does not find {name}"),
        (Some(Parts::File(header, content)), Parts::File(expected, bytes)) => {
            ensure_eq!(header, *expected, "the header of {name}");
            // Not shown: it may be large.
            ensure!(content == *bytes, "the content of {name} is another");
        }
        (Some(found), expected) => ensure_eq!(found, *expected, "the bytes of {name}"),
    }
    Ok(())
}

/// Checks that nothing of `name` is to be seen through `source`.
async fn ensure_lacks(source: &dyn ObjectSource, name: ObjectName) -> Outcome {
    ensure_eq!(stat(source, name).await?, None, "stat of {name}");
    let body = source.fetch(&name).await?;
    ensure!(
        body.is_none(),
        "fetch finds {name}, which must not be there"
    );
    Ok(())
}

/// Returns the names of all objects of one kind, sorted; each must be listed once.
async fn list(store: &dyn ObjectStore, kind: ObjectType) -> Result<Vec<ObjectName>, Failed> {
    use futures::TryStreamExt;
    let listed: Vec<_> = store.list(kind).try_collect().await?;
    let mut names: Vec<_> = listed.iter().map(|l| l.name).collect();
    names.sort_unstable();
    for pair in names.windows(2) {
        ensure!(pair[0] != pair[1], "{} is listed twice", pair[0]);
    }
    Ok(names)
}

/// Returns what stat must say of `sample`, given the length that the store says it has.
fn expected_stat(sample: &Sample, store_encoding: Encoding, stored_bytes: u64) -> Stat {
    Stat {
        encoding: match sample.parts {
            Parts::Metadata(_) => Encoding::Canonical,
            Parts::File(..) => store_encoding,
        },
        stored_bytes,
        trust: Trust::Whole,
    }
}
