//! Wrong ref stores.

use async_trait::async_trait;
use treeferry_core::store::{
    ExpectedRef, RefAnswer, RefAtomicity, RefName, RefSpace, RefStore, RefUpdate, RefValue,
};
use treeferry_core::{Error, ErrorKind, Result};

use super::{Fault, Faulty};

impl Faulty {
    async fn flattened(&self, mut update: RefUpdate) -> Result<RefUpdate> {
        if let Some(RefValue::Alias(target)) = &update.new {
            update.new = self.inner.read_ref(target).await?;
        }
        Ok(update)
    }

    /// Compares, lets others in, and sets.
    async fn compare_then_set(&self, update: RefUpdate) -> Result<RefAnswer> {
        let current = self.inner.read_ref(&update.name).await?;
        if !update.expected.matches(current.as_ref()) {
            return Ok(RefAnswer::Conflict { current });
        }
        tokio::task::yield_now().await;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        let expected = ExpectedRef::Any;
        let update = RefUpdate { expected, ..update };
        Ok(self.inner.update_refs(&[update]).await?.remove(0))
    }

    async fn update_wrongly(&self, updates: &[RefUpdate]) -> Result<Vec<RefAnswer>> {
        let mut updates = updates.to_vec();
        match self.fault {
            Fault::IgnoresTheExpectedRef => {
                updates
                    .iter_mut()
                    .for_each(|u| u.expected = ExpectedRef::Any);
            }
            Fault::FlattensAliases => {
                for update in &mut updates {
                    *update = self.flattened(update.clone()).await?;
                }
            }
            Fault::MovesRefsOneByOne => {
                let mut answers = Vec::new();
                for update in updates {
                    answers.extend(self.inner.update_refs(&[update]).await?);
                }
                return Ok(answers);
            }
            // A set still moves as one, so that only the race is wrong.
            Fault::ComparesThenSets if updates.len() == 1 => {
                return Ok(vec![self.compare_then_set(updates.remove(0)).await?]);
            }
            _ => {}
        }
        let answers = self.inner.update_refs(&updates).await?;
        let conflict = |a: &RefAnswer| matches!(a, RefAnswer::Conflict { .. });
        if self.fault == Fault::ConflictIsAnError && answers.iter().any(conflict) {
            return Err(Error::new(ErrorKind::Locked, "somebody else moved the ref"));
        }
        Ok(answers)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl RefStore for Faulty {
    async fn read_ref(&self, name: &RefName) -> Result<Option<RefValue>> {
        if self.fault == Fault::RemembersRefs {
            let seen = self.seen.lock().unwrap().get(name).cloned();
            if let Some(seen) = seen {
                return Ok(seen);
            }
        }
        let found = self.inner.read_ref(name).await?;
        self.seen
            .lock()
            .unwrap()
            .insert(name.clone(), found.clone());
        Ok(found)
    }

    async fn list_refs(&self, space: &RefSpace) -> Result<Vec<(RefName, RefValue)>> {
        let space = match (self.fault, space) {
            (Fault::ListsAllRefsAsLocal, RefSpace::Local) => &RefSpace::All,
            _ => space,
        };
        let mut list = self.inner.list_refs(space).await?;
        if self.fault == Fault::ListsRefsBackwards {
            list.reverse();
        }
        Ok(list)
    }

    async fn update_refs(&self, updates: &[RefUpdate]) -> Result<Vec<RefAnswer>> {
        let answers = self.update_wrongly(updates).await?;
        // Its own writes it does not forget.
        let mut seen = self.seen.lock().unwrap();
        updates.iter().for_each(|u| drop(seen.remove(&u.name)));
        Ok(answers)
    }

    fn ref_atomicity(&self) -> RefAtomicity {
        self.says.ref_atomicity
    }
}
