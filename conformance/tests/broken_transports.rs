//! Transports that are wrong in exactly one way must fail exactly the checks that are about it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod faulty_transport;
mod memory_transport;

use std::collections::BTreeSet;

use faulty_transport::{Fault, FaultyRemote};
use treeferry_conformance::{
    Conditions, FileNames, ListedTimes, NameCase, NestedFiles, Resuming, Totals, TransportProfile,
    Versions, reading, run_all, writing,
};

/// Runs both suites over remotes with `fault`, and compares what fails. What is only `found_by_chance`,
/// because a reader and a writer have to meet, may fail and may pass.
async fn fails_exactly(
    fault: Fault,
    say: impl Fn(&mut TransportProfile),
    expected: &[&str],
    found_by_chance: &[&str],
) {
    let mut failed = run_all(reading::CHECKS, || Box::new(FaultyRemote::new(fault, &say))).await;
    failed.extend(run_all(writing::CHECKS, || Box::new(FaultyRemote::new(fault, &say))).await);
    let found: BTreeSet<_> = failed
        .keys()
        .copied()
        .filter(|check| !found_by_chance.contains(check))
        .collect();
    let expected: BTreeSet<_> = expected.iter().copied().collect();
    assert_eq!(found, expected, "{fault:?} fails with {failed:#?}");
}

/// One test a line: the fault, what the remote says of itself, the checks that must fail, and those that
/// fail when a reader meets a writer.
macro_rules! broken {
    ($($name:ident: $fault:ident $(, says $say:expr)? => [$($check:literal),* $(,)?]
        $(, by chance [$($chance:literal),* $(,)?])?;)+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            #[allow(unused_mut, unused_assignments, reason = "most say nothing")]
            let mut say: fn(&mut TransportProfile) = |_| {};
            $(say = $say;)?
            fails_exactly(Fault::$fault, say, &[$($check),*], &[$($($chance),*)?]).await;
        }
    )+};
}

broken! {
    nothing_is_wrong: None => [];
    // Reading.
    loses_the_last_byte_of_large_files: LosesTheLastByteOfLargeFiles => [
        "a_changed_file_is_sent",
        "a_dropped_fetch_harms_nobody",
        "a_fetch_continues_or_starts_over_as_the_profile_says",
        "a_fetch_from_beyond_the_end_brings_no_wrong_bytes",
        "a_fetch_never_mixes_two_versions",
        "a_fetch_of_another_version_starts_over",
        "a_fetch_under_a_foreign_version_starts_over",
        "a_file_at_the_limit_is_fetched",
        "a_large_file_comes_back_whole",
        "a_replaced_file_is_the_new_one",
        "a_stream_that_was_put_comes_back",
        "bytes_that_were_put_come_back",
        "files_come_back_whole",
        "many_fetches_at_once_are_told_apart",
        "many_puts_at_once_are_told_apart",
        "readers_never_see_a_part_of_a_put",
    ];
    absent_is_empty: AbsentIsEmpty => [
        "a_dropped_put_leaves_what_was_there",
        "a_stream_of_the_wrong_length_leaves_what_was_there",
        "a_stream_that_breaks_leaves_what_was_there",
        "a_withdrawn_file_is_none",
        "an_absent_file_cannot_be_continued",
        "an_absent_file_is_none",
        "an_absent_file_is_none_whatever_is_known_of_it",
        "counting_through_two_handles_is_exact",
        "deleted_files_are_gone",
        "deleting_what_is_absent_is_no_error",
        "handles_see_each_others_files",
        "more_than_a_thousand_are_deleted",
        "names_that_differ_in_case_are_as_the_profile_says",
        "paths_are_told_apart",
        "places_do_not_share_files",
        "remotes_do_not_share_files",
        "what_must_be_unchanged_is_put_over_that_version_alone",
    ];
    absent_is_an_error: AbsentIsAnError => [
        "a_dropped_put_leaves_what_was_there",
        "a_stream_of_the_wrong_length_leaves_what_was_there",
        "a_stream_that_breaks_leaves_what_was_there",
        "a_withdrawn_file_is_none",
        "an_absent_file_cannot_be_continued",
        "an_absent_file_is_none",
        "an_absent_file_is_none_whatever_is_known_of_it",
        "counting_through_two_handles_is_exact",
        "deleted_files_are_gone",
        "deleting_what_is_absent_is_no_error",
        "handles_see_each_others_files",
        "more_than_a_thousand_are_deleted",
        "names_that_differ_in_case_are_as_the_profile_says",
        "paths_are_told_apart",
        "places_do_not_share_files",
        "remotes_do_not_share_files",
        "what_must_be_unchanged_is_put_over_that_version_alone",
    ];
    directories_are_files: DirectoriesAreFiles => ["an_absent_file_is_none"];
    decodes_percent: DecodesPercent => ["paths_are_told_apart"];
    folds_case: FoldsCase => [
        "names_in_other_case_are_as_the_profile_says",
        "names_that_differ_in_case_are_as_the_profile_says",
    ];
    tells_no_totals: TellsNoTotals => ["the_total_is_told_as_the_profile_says"];
    tells_the_total_of_the_rest: TellsTheTotalOfTheRest => ["a_fetch_continues_or_starts_over_as_the_profile_says"];
    tells_no_versions: TellsNoVersions => [
        "counting_through_two_handles_is_exact",
        "one_of_many_replacers_of_a_version_wins",
        "versions_are_told_as_the_profile_says",
    ];
    versions_are_lengths: VersionsAreLengths => [
        "a_changed_file_is_sent",
        "a_fetch_of_another_version_starts_over",
        "counting_through_two_handles_is_exact",
        "versions_are_told_as_the_profile_says",
        "what_must_be_unchanged_is_put_over_that_version_alone",
    ];
    versions_per_handle: VersionsPerHandle => [
        "a_conflict_changes_nothing",
        "a_fetch_continues_or_starts_over_as_the_profile_says",
        "an_unchanged_file_is_not_sent_again",
        "handles_agree_on_versions",
        "one_of_many_replacers_of_a_version_wins",
    ];
    never_not_modified: NeverNotModified => ["an_unchanged_file_is_not_sent_again"];
    believes_any_version: BelievesAnyVersion => [
        "a_changed_file_is_sent",
        "a_foreign_version_is_not_believed",
    ];
    forgets_that_it_is_absent: ForgetsThatItIsAbsent => ["an_absent_file_is_none_whatever_is_known_of_it"];
    starts_over: StartsOver => ["a_fetch_continues_or_starts_over_as_the_profile_says"];
    sends_the_whole_as_the_rest: SendsTheWholeAsTheRest => [
        "a_fetch_continues_or_starts_over_as_the_profile_says",
        "a_fetch_from_beyond_the_end_brings_no_wrong_bytes",
        "a_fetch_from_the_end_brings_nothing_or_all",
        "a_fetch_of_another_version_starts_over",
        "a_fetch_under_a_foreign_version_starts_over",
        "the_limit_is_of_the_whole_file",
    ];
    continues_any_version: ContinuesAnyVersion => [
        "a_fetch_of_another_version_starts_over",
        "a_fetch_under_a_foreign_version_starts_over",
    ];
    clamps_the_offset: ClampsTheOffset => ["a_fetch_from_beyond_the_end_brings_no_wrong_bytes"];
    ignores_the_limit: IgnoresTheLimit => [
        "a_file_over_the_limit_is_refused",
        "the_limit_is_of_the_whole_file",
    ];
    cuts_at_the_limit: CutsAtTheLimit => [
        "a_file_over_the_limit_is_refused",
        "the_limit_is_of_the_whole_file",
    ];
    limits_the_rest: LimitsTheRest => ["the_limit_is_of_the_whole_file"];
    mixes_versions: MixesVersions => ["a_fetch_never_mixes_two_versions"],
        by chance ["readers_never_see_a_part_of_a_put"];
    remembers_files: RemembersFiles => [
        "a_replaced_file_is_the_new_one",
        "a_withdrawn_file_is_none",
        "an_absent_file_is_none_whatever_is_known_of_it",
        "handles_see_each_others_files",
    ];
    addresses_name_no_file: AddressesNameNoFile => ["addresses_name_the_file"];

    // Writing.
    shows_puts: ShowsPuts => [
        "a_dropped_put_leaves_what_was_there",
        "a_stream_of_the_wrong_length_leaves_what_was_there",
        "a_stream_that_breaks_leaves_what_was_there",
        "readers_never_see_a_part_of_a_put",
        "what_failed_is_not_listed",
    ];
    keeps_what_broke: KeepsWhatBroke => [
        "a_stream_of_the_wrong_length_leaves_what_was_there",
        "a_stream_that_breaks_leaves_what_was_there",
        "what_failed_is_not_listed",
    ];
    takes_the_wrong_length: TakesTheWrongLength => ["a_stream_of_the_wrong_length_leaves_what_was_there"];
    breaks_as_corrupt: BreaksAsCorrupt => ["a_stream_that_breaks_leaves_what_was_there"];
    ignores_absent: IgnoresAbsent => [
        "a_conflict_changes_nothing",
        "counting_through_two_handles_is_exact",
        "one_of_many_creators_wins",
        "what_must_be_absent_is_put_once",
    ];
    ignores_unchanged: IgnoresUnchanged => [
        "counting_through_two_handles_is_exact",
        "one_of_many_replacers_of_a_version_wins",
        "what_must_be_unchanged_is_put_over_that_version_alone",
        "what_was_deleted_is_absent_again",
    ];
    compares_then_writes: ComparesThenWrites => [
        "counting_through_two_handles_is_exact",
        "one_of_many_creators_wins",
        "one_of_many_replacers_of_a_version_wins",
    ];
    conflict_is_an_error: ConflictIsAnError => [
        "a_conflict_changes_nothing",
        "counting_through_two_handles_is_exact",
        "one_of_many_creators_wins",
        "one_of_many_replacers_of_a_version_wins",
        "what_must_be_absent_is_put_once",
        "what_must_be_unchanged_is_put_over_that_version_alone",
        "what_was_deleted_is_absent_again",
    ];
    conflict_writes: ConflictWrites => [
        "a_conflict_changes_nothing",
        "counting_through_two_handles_is_exact",
        "one_of_many_creators_wins",
        "one_of_many_replacers_of_a_version_wins",
        "what_must_be_absent_is_put_once",
        "what_must_be_unchanged_is_put_over_that_version_alone",
        "what_was_deleted_is_absent_again",
    ];
    tells_the_old_version: TellsTheOldVersion => ["the_version_told_by_a_put_is_the_files"];
    refuses_conditions: RefusesConditions => [
        "a_conflict_changes_nothing",
        "conditions_are_kept_or_refused_as_the_profile_says",
        "counting_through_two_handles_is_exact",
        "one_of_many_creators_wins",
        "one_of_many_replacers_of_a_version_wins",
        "what_must_be_absent_is_put_once",
        "what_must_be_unchanged_is_put_over_that_version_alone",
        "what_was_deleted_is_absent_again",
    ];
    deletes_nothing_absent: DeletesNothingAbsent => [
        "deleting_what_is_absent_is_no_error",
        "more_than_a_thousand_are_deleted",
    ];
    deletes_a_thousand: DeletesAThousand => ["more_than_a_thousand_are_deleted"];
    deletes_what_starts_alike: DeletesWhatStartsAlike => ["delete_spares_the_rest"];
    lists_a_page: ListsAPage => ["a_list_of_more_than_a_thousand_is_whole"];
    lists_no_empty_files: ListsNoEmptyFiles => [
        "a_list_has_exactly_what_is_there",
        "a_list_has_what_starts_with_the_prefix",
        "a_list_of_more_than_a_thousand_is_whole",
        "what_failed_is_not_listed",
    ];
    lists_by_directory_without_slash: ListsByDirectoryWithoutSlash => [
        "a_list_has_what_starts_with_the_prefix",
        "a_list_of_nothing_is_empty",
    ];
    lists_the_wrong_length: ListsTheWrongLength => [
        "a_conflict_changes_nothing",
        "a_list_has_exactly_what_is_there",
        "a_list_has_what_starts_with_the_prefix",
        "what_failed_is_not_listed",
    ];
    lists_no_times: ListsNoTimes => ["a_list_tells_times_as_the_profile_says"];
    lists_what_failed: ListsWhatFailed => ["what_failed_is_not_listed"];
    lists_all: ListsAll => [
        "a_list_has_what_starts_with_the_prefix",
        "a_list_of_nothing_is_empty",
    ];

    // Places.
    places_are_one: PlacesAreOne => [
        "addresses_name_the_file",
        "places_do_not_share_files",
        "remotes_do_not_share_files",
    ];
    addresses_are_one: AddressesAreOne => ["addresses_name_the_file"];

    // Who says what it cannot do is not wrong.
    folds_case_and_says_so: FoldsCase, says |p| p.case = NameCase::Folded => [];
    tells_no_totals_and_says_so: TellsNoTotals, says |p| p.totals = Totals::Unknown => [];
    tells_no_versions_and_says_so: TellsNoVersions, says |p| p.versions = Versions::None => [];
    starts_over_and_says_so: StartsOver, says |p| p.resuming = Resuming::StartsOver => [];
    compares_then_writes_and_says_so: ComparesThenWrites, says |p| p.conditions = Conditions::OneWriter => [];
    refuses_conditions_and_says_so: RefusesConditions, says |p| p.conditions = Conditions::Refused => [];
    lists_no_times_and_says_so: ListsNoTimes, says |p| p.listed_times = ListedTimes::Unknown => [];

    // Who says that it cannot do what it can is.
    says_that_it_folds_case: None, says |p| p.case = NameCase::Folded => [
        "names_in_other_case_are_as_the_profile_says",
        "names_that_differ_in_case_are_as_the_profile_says",
    ];
    says_that_it_tells_no_totals: None, says |p| p.totals = Totals::Unknown => ["the_total_is_told_as_the_profile_says"];
    says_that_it_tells_no_versions: None, says |p| p.versions = Versions::None => ["versions_are_told_as_the_profile_says"];
    says_that_it_starts_over: None, says |p| p.resuming = Resuming::StartsOver => ["a_fetch_continues_or_starts_over_as_the_profile_says"];
    says_that_it_refuses_conditions: None, says |p| p.conditions = Conditions::Refused => ["conditions_are_kept_or_refused_as_the_profile_says"];
    says_that_it_tells_no_times: None, says |p| p.listed_times = ListedTimes::Unknown => ["a_list_tells_times_as_the_profile_says"];
    says_that_it_holds_portable_names: None, says |p| p.names = FileNames::Portable => [
        "a_put_of_a_name_that_cannot_be_held_is_refused",
        "odd_paths_come_back_or_are_refused",
    ];
    says_that_it_refuses_nested_files: None, says |p| p.nesting = NestedFiles::Refused => ["a_file_below_another_is_held_or_refused"];
}
