//! Refs in memory: a set of updates moves as one.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;

use super::{MemoryStore, lock};
use crate::error::{Error, Result, Subject};
use crate::store::{RefAnswer, RefAtomicity, RefName, RefSpace, RefStore, RefUpdate, RefValue};

type Refs = BTreeMap<RefName, RefValue>;

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl RefStore for MemoryStore {
    async fn read_ref(&self, name: &RefName) -> Result<Option<RefValue>> {
        Ok(lock(&self.place.refs).get(name).cloned())
    }

    async fn list_refs(&self, space: &RefSpace) -> Result<Vec<(RefName, RefValue)>> {
        let wanted = |name: &RefName| match (space, name) {
            (RefSpace::All, _)
            | (RefSpace::Local, RefName::Local(_))
            | (RefSpace::Mirrors, RefName::Mirror(..)) => true,
            (RefSpace::Remote(remote), RefName::Remote(of, _)) => remote == of,
            _ => false,
        };
        let refs = lock(&self.place.refs);
        let wanted = refs.iter().filter(|(name, _)| wanted(name));
        Ok(wanted.map(|(n, v)| (n.clone(), v.clone())).collect())
    }

    async fn update_refs(&self, updates: &[RefUpdate]) -> Result<Vec<RefAnswer>> {
        check_set(updates)?;
        let mut refs = lock(&self.place.refs);
        let holds = |u: &RefUpdate| u.expected.matches(refs.get(&u.name));
        if !updates.iter().all(holds) {
            let current = |u: &RefUpdate| refs.get(&u.name).cloned();
            let conflict = |u| RefAnswer::Conflict {
                current: current(u),
            };
            return Ok(updates.iter().map(conflict).collect());
        }
        let mut after = refs.clone();
        for update in updates {
            match &update.new {
                Some(value) => after.insert(update.name.clone(), value.clone()),
                None => after.remove(&update.name),
            };
        }
        for update in updates.iter().filter(|u| u.new.is_some()) {
            check_nesting(&after, &update.name)?;
        }
        *refs = after;
        Ok(vec![RefAnswer::Committed; updates.len()])
    }

    fn ref_atomicity(&self) -> RefAtomicity {
        RefAtomicity::Set
    }
}

fn check_set(updates: &[RefUpdate]) -> Result<()> {
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
fn check_nesting(refs: &Refs, name: &RefName) -> Result<()> {
    let path = name.path();
    let below = |outer: &str, inner: &str| {
        let rest = inner.strip_prefix(outer);
        rest.is_some_and(|rest| rest.starts_with('/'))
    };
    for other in refs.keys() {
        let other_path = other.path();
        if below(&path, &other_path) || below(&other_path, &path) {
            let problem = format!("stands in the way of the ref '{other}': delete that one first");
            return Err(Error::invalid(problem).about(Subject::Ref(name.to_string())));
        }
    }
    Ok(())
}
