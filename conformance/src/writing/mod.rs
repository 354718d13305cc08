//! What every [`WritableTransport`] must do, besides what every [`Transport`] must.
//!
//! [`Transport`]: treeferry_core::transport::Transport

use bytes::Bytes;
use futures::TryStreamExt;
use treeferry_core::transport::{
    Precondition, PutAnswer, PutBody, RemotePath, Validator, WritableTransport,
};

use crate::{Conditions, Failed, Outcome, TransportPlace};

/// The remote that a check is run on.
type Here<'a> = &'a dyn TransportPlace<dyn WritableTransport>;

suite! {
    ($)
    /// Makes one test of each check of a writable transport:
    /// `writable_transport_suite!(module, fixture)`. Run [`transport_suite`] as well.
    ///
    /// The fixture is evaluated in each test. Attributes before the module's name, such as
    /// `#[ignore = "needs root"]`, go to each test.
    ///
    /// [`transport_suite`]: crate::transport_suite
    writable_transport_suite in writing over dyn TransportPlace<dyn WritableTransport> {
        puts: [
            bytes_that_were_put_come_back,
            a_stream_that_was_put_comes_back,
            a_put_replaces_all_of_a_file,
            a_put_of_a_name_that_cannot_be_held_is_refused,
            a_file_below_another_is_held_or_refused,
            names_in_other_case_are_as_the_profile_says,
            a_stream_that_breaks_leaves_what_was_there,
            a_stream_of_the_wrong_length_leaves_what_was_there,
            a_dropped_put_leaves_what_was_there,
            readers_never_see_a_part_of_a_put,
            many_puts_at_once_are_told_apart,
        ],
        conditions: [
            conditions_are_kept_or_refused_as_the_profile_says,
            what_must_be_absent_is_put_once,
            what_must_be_unchanged_is_put_over_that_version_alone,
            what_was_deleted_is_absent_again,
            a_conflict_changes_nothing,
            the_version_told_by_a_put_is_the_files,
        ],
        races: [
            one_of_many_creators_wins,
            counting_through_two_handles_is_exact,
            one_of_many_replacers_of_a_version_wins,
        ],
        deletion: [
            deleted_files_are_gone,
            deleting_what_is_absent_is_no_error,
            delete_spares_the_rest,
            more_than_a_thousand_are_deleted,
        ],
        listing: [
            a_list_has_exactly_what_is_there,
            a_list_has_what_starts_with_the_prefix,
            a_list_of_nothing_is_empty,
            a_list_tells_times_as_the_profile_says,
            a_list_of_more_than_a_thousand_is_whole,
            what_failed_is_not_listed,
        ],
        places: [
            handles_see_each_others_files,
            reopening_keeps_all_files,
            places_do_not_share_files,
        ],
    }
}

/// Puts `bytes`, and returns what became of it.
async fn put(
    remote: &dyn WritableTransport,
    path: &RemotePath,
    precondition: Precondition,
    bytes: &Bytes,
) -> Result<PutAnswer, Failed> {
    let body = PutBody::Bytes(bytes.clone());
    Ok(remote.put(path, precondition, body).await?)
}

/// Puts `bytes` whatever is there.
async fn set(remote: &dyn WritableTransport, path: &RemotePath, bytes: &Bytes) -> Outcome {
    let answer = put(remote, path, Precondition::None, bytes).await?;
    let done = matches!(answer, PutAnswer::Done { .. });
    ensure!(
        done,
        "{path}: put without condition, and answered with {answer:?}"
    );
    Ok(())
}

/// Returns all paths and lengths below `prefix`, sorted.
async fn list(remote: &dyn WritableTransport, prefix: &str) -> Result<Vec<(String, u64)>, Failed> {
    let listed = remote
        .list(prefix)
        .map_ok(|file| (file.path.to_string(), file.bytes));
    let mut all: Vec<_> = listed.try_collect().await?;
    all.sort();
    Ok(all)
}

/// Returns the version of a file that is there, where versions are told.
async fn version(
    remote: &dyn WritableTransport,
    path: &RemotePath,
) -> Result<Option<Validator>, Failed> {
    Ok(crate::transport::read(remote, path).await?.validator)
}

/// Returns whether the conditions of puts can be checked at all.
fn can_compare(place: Here<'_>) -> bool {
    place.profile().conditions != Conditions::Refused
}

/// Returns whether the conditions of puts hold however many write at once.
fn can_race(place: Here<'_>) -> bool {
    place.profile().conditions == Conditions::Enforced
}
