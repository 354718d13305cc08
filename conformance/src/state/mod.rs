//! What every [`RepoState`] must do.

use bytes::Bytes;
use treeferry_core::format::Checksum;
use treeferry_core::store::{ExtraName, RepoState};

use crate::{Failed, Place};

/// The place that a check is run on.
type Here<'a> = &'a dyn Place<dyn RepoState>;

suite! {
    ($)
    /// Makes one test of each check of a repository's state: `repo_state_suite!(module, fixture)`.
    ///
    /// The fixture is evaluated in each test. Attributes before the module's name, such as
    /// `#[ignore = "needs root"]`, go to each test.
    repo_state_suite in state over dyn Place<dyn RepoState> {
        detached: [
            every_case_of_swapping_detached_metadata_is_right,
            detached_metadata_belongs_to_one_commit,
            empty_detached_metadata_is_not_absent,
            adding_to_detached_metadata_through_two_handles_is_exact,
        ],
        marks: [
            a_partial_mark_comes_back_as_it_is,
            partial_marks_are_listed,
            a_tombstone_comes_back,
            marks_and_tombstones_are_told_apart,
        ],
        summary: [
            a_summary_comes_back_with_its_signature,
            an_unsigned_summary_has_no_signature,
            a_deleted_summary_takes_its_signature_along,
            a_summary_is_never_read_with_anothers_signature,
        ],
        config: [
            a_swapped_config_comes_back,
            a_stale_config_is_a_conflict,
            two_who_swap_the_config_do_not_lose_a_change,
        ],
        extras: [
            extras_come_back,
            extras_are_told_apart,
        ],
        deltas: [
            files_of_deltas_come_back,
            a_file_of_a_delta_is_replaced,
            a_file_of_a_delta_is_read_from_any_byte,
            a_file_of_a_delta_that_breaks_off_changes_nothing,
            files_of_deltas_are_listed_and_deleted,
        ],
        places: [
            handles_see_each_others_state,
            reopening_keeps_all_state,
            places_do_not_share_state,
        ],
    }
}

/// Returns the name of one of many commits.
fn commit(number: u8) -> Checksum {
    Checksum::of(&[number])
}

/// Returns bytes to keep.
fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn keyring(remote: &str) -> Result<ExtraName, Failed> {
    let remote = remote.parse();
    Ok(ExtraName::Keyring(
        remote.map_err(|e| Failed::new(format!("{e}")))?,
    ))
}

fn cookies(remote: &str) -> Result<ExtraName, Failed> {
    let remote = remote.parse();
    Ok(ExtraName::Cookies(
        remote.map_err(|e| Failed::new(format!("{e}")))?,
    ))
}
