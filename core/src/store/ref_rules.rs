//! What every set of updates must keep to, wherever the refs lie.

use std::collections::BTreeSet;

use super::{RefName, RefUpdate, RefValue};
use crate::error::{Error, Result, Subject};

/// Refuses a set that names a ref twice, or an alias of a ref elsewhere.
pub(crate) fn check_set(updates: &[RefUpdate]) -> Result<()> {
    let mut seen = BTreeSet::new();
    for update in updates {
        let fail = |problem: &'static str| {
            Err(Error::invalid(problem).about(Subject::Ref(update.name.to_string())))
        };
        if !seen.insert(&update.name) {
            return fail("is updated twice in one set");
        }
        match &update.new {
            Some(RefValue::Alias(target)) if !same_space(target, &update.name) => {
                return fail("cannot be an alias of a ref in another name space");
            }
            Some(RefValue::Alias(target)) if *target == update.name => {
                return fail("cannot be an alias of itself");
            }
            _ => {}
        }
    }
    Ok(())
}

fn same_space(a: &RefName, b: &RefName) -> bool {
    match (a, b) {
        (RefName::Local(_), RefName::Local(_)) => true,
        (RefName::Remote(a, _), RefName::Remote(b, _)) => a == b,
        (RefName::Mirror(a, _), RefName::Mirror(b, _)) => a == b,
        _ => false,
    }
}

/// Refuses a ref that is a directory of another: places of plain files cannot hold both.
pub(crate) fn check_nesting<'a>(
    refs: impl Iterator<Item = &'a RefName>,
    name: &RefName,
) -> Result<()> {
    let path = name.path();
    let below = |outer: &str, inner: &str| {
        let rest = inner.strip_prefix(outer);
        rest.is_some_and(|rest| rest.starts_with('/'))
    };
    for other in refs {
        let other_path = other.path();
        if below(&path, &other_path) || below(&other_path, &path) {
            let problem = format!("stands in the way of the ref '{other}': delete that one first");
            return Err(Error::invalid(problem).about(Subject::Ref(name.to_string())));
        }
    }
    Ok(())
}
