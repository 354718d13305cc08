//! Refs in memory: a set of updates moves as one.

use async_trait::async_trait;

use super::{MemoryStore, lock};
use crate::error::Result;
use crate::store::ref_rules::{check_nesting, check_set};
use crate::store::{RefAnswer, RefAtomicity, RefName, RefSpace, RefStore, RefUpdate, RefValue};

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
            check_nesting(after.keys(), &update.name)?;
        }
        *refs = after;
        Ok(vec![RefAnswer::Committed; updates.len()])
    }

    fn ref_atomicity(&self) -> RefAtomicity {
        RefAtomicity::Set
    }
}
