//! What every [`RefStore`] must do.

use treeferry_core::format::Checksum;
use treeferry_core::store::{ExpectedRef, RefAnswer, RefName, RefStore, RefUpdate, RefValue};

use crate::{Failed, Outcome, Place};

/// The place that a check is run on.
type Here<'a> = &'a dyn Place<dyn RefStore>;

suite! {
    ($)
    /// Makes one test of each check of a ref store: `ref_store_suite!(module, fixture)`.
    ///
    /// The fixture is evaluated in each test. Attributes before the module's name, such as
    /// `#[ignore = "needs root"]`, go to each test.
    ref_store_suite in refs over dyn Place<dyn RefStore> {
        compare_and_set: [
            every_case_of_compare_and_set_is_right,
            a_conflict_names_what_is_there,
            a_conflict_changes_nothing,
            deleting_what_is_absent_is_judged_like_the_rest,
            counting_through_two_handles_is_exact,
            one_of_many_creators_wins,
        ],
        sets: [
            updates_are_answered_in_order,
            an_empty_set_is_answered_with_nothing,
            a_set_without_conflict_moves_whole,
            a_set_with_a_conflict_moves_as_the_store_says,
        ],
        values: [
            an_alias_comes_back_as_one,
            an_alias_does_not_follow_what_it_means,
            an_alias_is_compared_as_one,
            a_commit_and_an_alias_replace_each_other,
        ],
        naming: [
            an_absent_ref_is_none,
            odd_names_come_back,
            name_spaces_are_told_apart,
            lists_have_exactly_what_is_there,
            a_ref_below_another_is_held_or_refused,
            a_name_is_free_once_all_below_it_is_deleted,
        ],
        places: [
            handles_see_each_others_refs,
            reopening_keeps_all_refs,
            places_do_not_share_refs,
        ],
    }
}

/// Returns one of many commits.
fn commit(number: u64) -> RefValue {
    let mut bytes = [0xc0; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    RefValue::Commit(Checksum::from_bytes(bytes))
}

/// Reads what [`commit`] made.
fn number(value: &RefValue) -> Result<u64, Failed> {
    match value {
        RefValue::Commit(checksum) => {
            let bytes = checksum.as_bytes().first_chunk::<8>();
            Ok(bytes.map_or(0, |bytes| u64::from_be_bytes(*bytes)))
        }
        RefValue::Alias(target) => Err(Failed::new(format!("found an alias of {target}"))),
    }
}

/// Parses `branch`, `remote:branch`, or `(collection) branch`.
fn name(text: &str) -> Result<RefName, Failed> {
    let parsed = match text.strip_prefix('(').and_then(|t| t.split_once(") ")) {
        Some((collection, branch)) => collection
            .parse()
            .and_then(|collection| Ok(RefName::Mirror(collection, branch.parse()?))),
        None => match text.split_once(':') {
            Some((remote, branch)) => remote
                .parse()
                .and_then(|remote| Ok(RefName::Remote(remote, branch.parse()?))),
            None => text.parse().map(RefName::Local),
        },
    };
    parsed.map_err(|e| Failed::new(format!("{text}: {e}")))
}

async fn update(
    refs: &dyn RefStore,
    name: &RefName,
    expected: ExpectedRef,
    new: Option<RefValue>,
) -> Result<RefAnswer, Failed> {
    let name = name.clone();
    let update = RefUpdate {
        name,
        expected,
        new,
    };
    let mut answers = refs.update_refs(&[update]).await?;
    ensure_eq!(answers.len(), 1, "the number of answers to one update");
    answers.pop().ok_or_else(|| Failed::new("no answer"))
}

/// Sets a ref whatever it holds, and checks that it does.
async fn set(refs: &dyn RefStore, name: &RefName, new: Option<RefValue>) -> Outcome {
    let answer = update(refs, name, ExpectedRef::Any, new.clone()).await?;
    ensure_eq!(
        answer,
        RefAnswer::Committed,
        "setting {name} whatever it holds"
    );
    ensure_eq!(refs.read_ref(name).await?, new, "{name} after it was set");
    Ok(())
}
