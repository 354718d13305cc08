//! What is not needed any more, and since when.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

use super::LockGuard;
use crate::error::Result;
use crate::format::ObjectName;

/// Where a place whose readers hold no lock notes what prunes found not to be needed.
///
/// A reader learns from a ref what it wants, and then takes its time. So a prune notes first what is
/// not needed any more, and deletes it when it is still not needed after a while. Whoever comes to
/// rely on what is noted removes the note before anybody can see that.
///
/// All of it is done under the exclusive lock, which is passed.
#[async_trait]
pub trait Condemned: Debug + Send + Sync + 'static {
    /// Returns how long what is not needed is kept, where nothing else is said.
    fn grace(&self) -> Duration;

    /// Returns what was noted, and when.
    async fn notes(&self, lock: &LockGuard) -> Result<Vec<Note>>;

    /// Returns the objects of a note.
    async fn read(&self, note: &Note) -> Result<Vec<ObjectName>>;

    /// Notes that objects are not needed from now on, few enough to be held in memory.
    async fn add(&self, lock: &LockGuard, names: &[ObjectName]) -> Result<()>;

    /// Removes notes.
    async fn remove(&self, lock: &LockGuard, notes: &[Note]) -> Result<()>;
}

/// A note that some objects were not needed any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Its name among the notes of the place.
    pub id: String,
    /// How long ago it was made, by the clock of the place.
    pub age: Duration,
}
