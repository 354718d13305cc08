//! Stores that are wrong in exactly one way must fail exactly the checks that are about it.
//!
//! A suite that passes them is worth nothing; one that fails more than it must does not say what
//! is wrong.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod faulty;

use std::collections::BTreeSet;

use faulty::{Fault, FaultyPlace};
use treeferry_conformance::{Holds, Profile, objects, refs, run_all, state};
use treeferry_conformance::{ListedTimes, NestedRefs, ScratchPlace, Unfinished};
use treeferry_core::store::RefAtomicity;

/// Runs all suites over places with `fault`, and compares what fails.
async fn fails_exactly(fault: Fault, say: impl Fn(&mut Profile), expected: &[&str]) {
    let mut failed = run_all(objects::CHECKS, || Box::new(FaultyPlace::new(fault, &say))).await;
    failed.extend(run_all(refs::CHECKS, || Box::new(FaultyPlace::new(fault, &say))).await);
    failed.extend(run_all(state::CHECKS, || Box::new(FaultyPlace::new(fault, &say))).await);
    let found: BTreeSet<_> = failed.keys().copied().collect();
    let expected: BTreeSet<_> = expected.iter().copied().collect();
    assert_eq!(found, expected, "{fault:?} fails with {failed:#?}");
}

/// One test a line: the fault, what the place says of itself, the checks that must fail.
macro_rules! broken {
    ($($name:ident: $fault:ident $(, says $say:expr)? => [$($check:literal),* $(,)?];)+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            #[allow(unused_mut, unused_assignments, reason = "most say nothing")]
            let mut say: fn(&mut Profile) = |_| {};
            $(say = $say;)?
            fails_exactly(Fault::$fault, say, &[$($check),*]).await;
        }
    )+};
}

broken! {
    // Nothing is wrong: nothing fails.
    nothing_is_wrong: None => [];

    // Objects.
    stores_unverified_bytes: StoresUnverifiedBytes => [
        "a_file_cut_short_leaves_nothing",
        "a_file_longer_than_announced_leaves_nothing",
        "a_file_with_the_wrong_name_leaves_nothing",
        "a_filez_bomb_leaves_nothing",
        "a_filez_cut_short_leaves_nothing",
        "a_filez_whose_header_lies_leaves_nothing",
        "a_filez_with_bytes_after_its_end_leaves_nothing",
        "a_refused_object_can_be_put_again",
        "metadata_over_the_limit_leaves_nothing",
        "metadata_with_the_wrong_name_leaves_nothing",
        "one_bad_object_does_not_spoil_the_others",
    ];
    keeps_half_an_object: KeepsHalfAnObject => [
        "a_body_of_the_wrong_kind_leaves_nothing",
        "a_file_cut_short_leaves_nothing",
        "a_file_longer_than_announced_leaves_nothing",
        "a_file_with_the_wrong_name_leaves_nothing",
        "a_filez_bomb_leaves_nothing",
        "a_filez_cut_short_leaves_nothing",
        "a_filez_whose_header_lies_leaves_nothing",
        "a_filez_with_bytes_after_its_end_leaves_nothing",
        "a_stream_that_breaks_leaves_nothing",
        "metadata_over_the_limit_leaves_nothing",
        "metadata_with_the_wrong_name_leaves_nothing",
        "one_bad_object_does_not_spoil_the_others",
    ];
    shows_objects_before_commit: ShowsObjectsBeforeCommit => [
        "a_dropped_batch_leaves_no_parent_visible",
        "leftovers_can_be_left_alone",
        "leftovers_that_lack_children_stay_hidden",
        "others_see_a_batch_when_it_is_committed",
    ];
    shows_commits_first: ShowsCommitsFirst => ["whoever_sees_a_commit_sees_its_tree"];
    loses_the_last_of_a_large_batch: LosesTheLastOfALargeBatch => [
        "a_batch_of_many_objects_is_whole",
    ];
    says_new_for_present: SaysNewForPresent => [
        "an_object_of_an_earlier_batch_is_present",
        "an_object_put_twice_is_present_and_unchanged",
        "leftovers_are_taken_up",
    ];
    answers_puts_backwards: AnswersPutsBackwards => [
        "one_bad_object_does_not_spoil_the_others",
        "puts_are_answered_in_order",
        "what_is_recorded_is_named_by_its_hash",
    ];
    calls_every_error_corrupt: CallsEveryErrorCorrupt => [
        "a_body_of_the_wrong_kind_leaves_nothing",
        "a_stream_that_breaks_leaves_nothing",
    ];
    counts_present_as_written: CountsPresentAsWritten => [
        "an_object_of_an_earlier_batch_is_present",
        "the_stats_of_a_batch_are_exact",
    ];
    deflates_again: DeflatesAgain => ["content_is_handed_out_as_the_store_says"];
    holds_only_canonical_headers: HoldsOnlyCanonicalHeaders => [
        "every_header_that_can_be_held_comes_back",
    ];
    loses_leftovers: LosesLeftovers => [
        "leftovers_are_taken_up",
        "leftovers_can_be_left_alone",
    ];
    adopts_leftovers_always: AdoptsLeftoversAlways => ["leftovers_can_be_left_alone"];
    sorts_stats: SortsStats => ["stat_answers_in_order"];
    finds_absent_ones_in_large_stats: FindsAbsentOnesInLargeStats => [
        "a_dropped_batch_leaves_no_parent_visible",
        "others_see_a_batch_when_it_is_committed",
        "places_do_not_share_objects",
        "stat_answers_in_order",
    ];
    confuses_kinds_in_stat: ConfusesKindsInStat => ["stat_tells_kinds_apart"];
    lists_no_dirmeta: ListsNoDirmeta => [
        "a_list_has_exactly_what_is_there",
        "an_object_put_twice_is_present_and_unchanged",
    ];
    lists_twice: ListsTwice => [
        "a_list_has_exactly_what_is_there",
        "an_object_put_twice_is_present_and_unchanged",
        "one_object_put_by_many_at_once_is_one_object",
        "two_batches_can_add_the_same_object",
    ];
    forgets_to_delete: ForgetsToDelete => [
        "delete_answers_with_the_bytes_it_freed",
        "delete_spares_the_rest",
        "what_was_deleted_can_be_put_again",
        "what_was_deleted_is_gone_for_all",
    ];
    deletes_under_a_shared_lock: DeletesUnderASharedLock => [
        "delete_under_a_shared_lock_is_refused",
    ];
    exclusive_excludes_nobody: ExclusiveExcludesNobody => [
        "a_batch_holds_the_lock",
        "a_clone_keeps_the_lock",
        "a_handle_excludes_itself",
        "an_exclusive_lock_excludes_all_others",
        "shared_locks_exclude_an_exclusive_one",
    ];
    locks_per_handle: LocksPerHandle => [
        "a_batch_holds_the_lock",
        "a_clone_keeps_the_lock",
        "an_exclusive_lock_excludes_all_others",
        "shared_locks_exclude_an_exclusive_one",
    ];
    batches_take_no_lock: BatchesTakeNoLock => [
        "a_batch_holds_the_lock",
        "an_exclusive_lock_excludes_all_others",
    ];
    never_releases_the_lock: NeverReleasesTheLock => [
        "a_batch_holds_the_lock",
        "a_clone_keeps_the_lock",
        "a_guard_tells_its_kind",
        "a_handle_excludes_itself",
        "a_released_lock_goes_to_who_waits",
        "an_exclusive_lock_excludes_all_others",
        "shared_locks_exclude_an_exclusive_one",
        "what_was_deleted_can_be_put_again",
    ];

    // Half-done downloads.
    has_no_scratch: HasNoScratch => ["the_profile_tells_whether_there_is_a_scratch"];
    forgets_the_validator: ForgetsTheValidator => [
        "a_download_can_start_over",
        "a_kept_download_keeps_what_is_known_of_it",
    ];
    confuses_origins: ConfusesOrigins => [
        "downloads_are_told_apart",
        "the_kept_downloads_of_an_origin_are_listed",
    ];
    shares_downloads: SharesDownloads => ["two_downloads_do_not_share_an_entry"];
    keeps_discarded: KeepsDiscarded => ["a_discarded_download_is_gone"];

    // Refs.
    ignores_the_expected_ref: IgnoresTheExpectedRef => [
        "a_conflict_changes_nothing",
        "a_conflict_names_what_is_there",
        "a_set_with_a_conflict_moves_as_the_store_says",
        "an_alias_is_compared_as_one",
        "counting_through_two_handles_is_exact",
        "deleting_what_is_absent_is_judged_like_the_rest",
        "every_case_of_compare_and_set_is_right",
        "one_of_many_creators_wins",
        "updates_are_answered_in_order",
    ];
    compares_then_sets: ComparesThenSets => [
        "counting_through_two_handles_is_exact",
        "one_of_many_creators_wins",
    ];
    conflict_is_an_error: ConflictIsAnError => [
        "a_conflict_changes_nothing",
        "a_conflict_names_what_is_there",
        "a_set_with_a_conflict_moves_as_the_store_says",
        "an_alias_is_compared_as_one",
        "counting_through_two_handles_is_exact",
        "deleting_what_is_absent_is_judged_like_the_rest",
        "every_case_of_compare_and_set_is_right",
        "one_of_many_creators_wins",
        "updates_are_answered_in_order",
    ];
    flattens_aliases: FlattensAliases => [
        "a_commit_and_an_alias_replace_each_other",
        "an_alias_comes_back_as_one",
        "an_alias_does_not_follow_what_it_means",
        "an_alias_is_compared_as_one",
        "reopening_keeps_all_refs",
    ];
    remembers_refs: RemembersRefs => ["handles_see_each_others_refs"];
    lists_refs_backwards: ListsRefsBackwards => ["lists_have_exactly_what_is_there"];
    lists_all_refs_as_local: ListsAllRefsAsLocal => ["lists_have_exactly_what_is_there"];
    moves_refs_one_by_one: MovesRefsOneByOne => ["a_set_with_a_conflict_moves_as_the_store_says"];

    // State.
    ignores_the_expected_metadata: IgnoresTheExpectedMetadata => [
        "adding_to_detached_metadata_through_two_handles_is_exact",
        "empty_detached_metadata_is_not_absent",
        "every_case_of_swapping_detached_metadata_is_right",
    ];
    ignores_the_expected_config: IgnoresTheExpectedConfig => [
        "a_stale_config_is_a_conflict",
        "two_who_swap_the_config_do_not_lose_a_change",
    ];
    empty_metadata_is_absent: EmptyMetadataIsAbsent => ["empty_detached_metadata_is_not_absent"];
    partial_marks_per_handle: PartialMarksPerHandle => [
        "a_partial_mark_comes_back_as_it_is",
        "handles_see_each_others_state",
        "partial_marks_are_listed",
        "reopening_keeps_all_state",
    ];
    forgets_why_partial: ForgetsWhyPartial => [
        "a_partial_mark_comes_back_as_it_is",
        "handles_see_each_others_state",
        "reopening_keeps_all_state",
    ];
    keeps_tombstones: KeepsTombstones => ["a_tombstone_comes_back"];
    keeps_the_old_signature: KeepsTheOldSignature => ["an_unsigned_summary_has_no_signature"];
    tears_the_summary: TearsTheSummary => ["a_summary_is_never_read_with_anothers_signature"];
    confuses_extras: ConfusesExtras => ["extras_are_told_apart"];
    lists_no_indexes: ListsNoIndexes => ["files_of_deltas_are_listed_and_deleted"];
    ignores_the_offset: IgnoresTheOffset => ["a_file_of_a_delta_is_read_from_any_byte"];
    keeps_half_a_delta_file: KeepsHalfADeltaFile => [
        "a_file_of_a_delta_that_breaks_off_changes_nothing",
    ];
    deletes_one_delta_file: DeletesOneDeltaFile => ["files_of_deltas_are_listed_and_deleted"];

    // Places.
    places_are_one: PlacesAreOne => [
        "downloads_are_told_apart",
        "places_do_not_share_a_lock",
        "places_do_not_share_objects",
        "places_do_not_share_refs",
        "places_do_not_share_state",
    ];

    // Who says what it cannot do is not wrong.
    has_no_scratch_and_says_so: HasNoScratch, says |p| p.scratch = ScratchPlace::Absent => [];
    holds_only_canonical_headers_and_says_so: HoldsOnlyCanonicalHeaders, says |p| p.holds = Holds::CANONICAL => [];
    moves_refs_one_by_one_and_says_so: MovesRefsOneByOne, says |p| p.ref_atomicity = RefAtomicity::Each => [];
    loses_leftovers_and_says_so: LosesLeftovers, says |p| p.unfinished = Unfinished::Lost => [];

    // Who says that it cannot do what it can is.
    says_that_it_has_no_scratch: None, says |p| p.scratch = ScratchPlace::Absent => [
        "the_profile_tells_whether_there_is_a_scratch",
    ];
    says_that_it_holds_only_canonical_headers: None, says |p| p.holds = Holds::CANONICAL => [
        "headers_that_cannot_be_held_are_refused",
    ];
    says_that_it_loses_leftovers: None, says |p| p.unfinished = Unfinished::Lost => [
        "leftovers_are_taken_up",
        "leftovers_can_be_left_alone",
    ];
    says_that_it_holds_nested_refs: None, says |p| p.nested_refs = NestedRefs::Held => [
        "a_ref_below_another_is_held_or_refused",
    ];
    says_that_it_tells_no_times: None, says |p| p.listed_times = ListedTimes::Unknown => [
        "a_list_tells_times_or_never_does",
    ];
}
