//! What is not needed any more, and stays until those who read it now are done.

use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::format::ObjectName;
use crate::repo::Repo;
use crate::spill::{Name, NameSet, SortedNames};
use crate::store::{Condemned, LockGuard, Note};

/// How many objects are noted together.
const NAMES_A_NOTE: usize = 16 * 1024;

/// The notes of earlier prunes, and what this one adds.
pub(super) struct Waiting<'a> {
    condemned: Arc<dyn Condemned>,
    lock: &'a LockGuard,
    grace: Duration,
    /// Notes that have done their work when this prune is over.
    over: Vec<Note>,
    /// Objects that were found not to be needed longer than the grace ago.
    due: SortedNames,
    /// Those since.
    noted: SortedNames,
    fresh: Vec<ObjectName>,
}

fn name_of(name: &ObjectName) -> Name {
    Name::new(name.object_type as u32, &name.checksum)
}

impl<'a> Waiting<'a> {
    /// Reads what earlier prunes noted; `None` if all that is not needed goes at once.
    pub(super) async fn open(
        repo: &Repo,
        lock: &'a LockGuard,
        grace: Option<Duration>,
    ) -> Result<Option<Self>> {
        let Some(condemned) = repo.objects().condemned() else {
            return Ok(None);
        };
        let grace = grace.unwrap_or_else(|| condemned.grace());
        let notes = condemned.notes(lock).await?;
        let (over, young): (Vec<_>, Vec<_>) = notes.into_iter().partition(|note| note.age >= grace);
        let read = async |notes: &[Note]| {
            let names = NameSet::new(repo.spill().clone(), repo.pool().clone());
            for note in notes {
                let read = condemned.read(note).await?;
                names.insert(read.iter().map(name_of).collect()).await?;
            }
            names.into_sorted().await
        };
        // Without a grace all goes, noted or not.
        let due = read(if grace.is_zero() { &[] } else { &over }).await?;
        let noted = read(&young).await?;
        Ok(Some(Self {
            condemned,
            lock,
            grace,
            over,
            due,
            noted,
            fresh: Vec::new(),
        }))
    }

    /// Returns of each object that is not needed whether it goes now; notes those that nobody has.
    pub(super) async fn may_go(&mut self, names: &[ObjectName]) -> Result<Vec<bool>> {
        if self.grace.is_zero() {
            return Ok(vec![true; names.len()]);
        }
        let asked = || names.iter().map(name_of).collect();
        let due = self.due.contains(asked()).await?;
        let noted = self.noted.contains(asked()).await?;
        for ((name, due), noted) in names.iter().zip(&due).zip(noted) {
            if !due && !noted {
                self.fresh.push(*name);
            }
        }
        if self.fresh.len() >= NAMES_A_NOTE {
            self.note().await?;
        }
        Ok(due)
    }

    /// Writes down what is to wait from now on.
    pub(super) async fn note(&mut self) -> Result<()> {
        for names in std::mem::take(&mut self.fresh).chunks(NAMES_A_NOTE) {
            self.condemned.add(self.lock, names).await?;
        }
        Ok(())
    }

    /// Removes the notes of what was deleted, or has come to be needed again.
    pub(super) async fn forget(self) -> Result<()> {
        self.condemned.remove(self.lock, &self.over).await
    }
}
