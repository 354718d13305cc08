//! What every [`Transport`] must do.

use treeferry_core::transport::Transport;

use crate::TransportPlace;

/// The remote that a check is run on.
type Here<'a> = &'a dyn TransportPlace<dyn Transport>;

suite! {
    ($)
    /// Makes one test of each check of a readable transport: `transport_suite!(module, fixture)`.
    ///
    /// The fixture is evaluated in each test. Attributes before the module's name, such as
    /// `#[ignore = "needs root"]`, go to each test.
    transport_suite in reading over dyn TransportPlace<dyn Transport> {
        whole: [
            files_come_back_whole,
            a_large_file_comes_back_whole,
            an_absent_file_is_none,
            odd_paths_come_back_or_are_refused,
            paths_are_told_apart,
            names_that_differ_in_case_are_as_the_profile_says,
            the_total_is_told_as_the_profile_says,
            a_replaced_file_is_the_new_one,
            a_withdrawn_file_is_none,
            many_fetches_at_once_are_told_apart,
            a_dropped_fetch_harms_nobody,
            a_fetch_never_mixes_two_versions,
            addresses_name_the_file,
            remotes_do_not_share_files,
        ],
        versions: [
            versions_are_told_as_the_profile_says,
            handles_agree_on_versions,
            an_unchanged_file_is_not_sent_again,
            a_changed_file_is_sent,
            a_foreign_version_is_not_believed,
            an_absent_file_is_none_whatever_is_known_of_it,
        ],
        resuming: [
            a_fetch_continues_or_starts_over_as_the_profile_says,
            a_fetch_of_another_version_starts_over,
            a_fetch_under_a_foreign_version_starts_over,
            a_fetch_from_the_end_brings_nothing_or_all,
            a_fetch_from_beyond_the_end_brings_no_wrong_bytes,
            an_absent_file_cannot_be_continued,
        ],
        limits: [
            a_file_at_the_limit_is_fetched,
            a_file_over_the_limit_is_refused,
            the_limit_is_of_the_whole_file,
        ],
    }
}
