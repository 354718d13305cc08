//! Notes of what prunes found not to be needed: a file of names each.
//!
//! ```text
//! .treeferry/condemned/ID    the names of objects, one a line
//! ```
//!
//! When a note was made is told by the place, and held against the time of one's own lease, which was
//! written just before.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;

use super::objects::Exclusive;
use super::{ArchiveStore, Place};
use crate::archive::layout::CONDEMNED_PREFIX;
use crate::archive::read;
use crate::error::{Error, Result, Subject};
use crate::format::ObjectName;
use crate::store::{Condemned, LockGuard, Note};
use crate::transport::{ListedFile, Precondition, PutAnswer, RemotePath, retrying};

/// The longest note that is read, bytes.
const NOTE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// From which the names of notes are made.
#[derive(Debug, Default)]
pub(super) struct Notes(AtomicU64);

fn path_of(id: &str) -> RemotePath {
    RemotePath::of_checked_parts(format!("{CONDEMNED_PREFIX}{id}"))
}

impl Place {
    async fn list_notes(&self) -> Result<Vec<ListedFile>> {
        let once = async || self.transport.list(CONDEMNED_PREFIX).try_collect().await;
        retrying(&self.options.retry, || Box::pin(once())).await
    }

    async fn read_note(&self, path: &RemotePath) -> Result<Vec<ObjectName>> {
        let about = || read::url(&*self.transport, path);
        let Some(file) = self.read(path, NOTE_BYTES_MAX).await? else {
            // Somebody has removed it: what it named is kept for longer.
            return Ok(Vec::new());
        };
        let bad = || Error::corrupt("is no note of objects to delete: delete it").about(about());
        let text = std::str::from_utf8(&file.bytes).map_err(|_| bad())?;
        text.lines()
            .map(|line| line.parse().map_err(|_| bad()))
            .collect()
    }

    /// Takes back the notes of objects that are about to be needed again. A lease is held.
    pub(super) async fn spare(&self, names: impl IntoIterator<Item = ObjectName>) -> Result<()> {
        let listed = self.list_notes().await?;
        if listed.is_empty() {
            return Ok(());
        }
        let needed: HashSet<_> = names.into_iter().collect();
        for file in listed {
            let noted = self.read_note(&file.path).await?;
            if noted.iter().any(|name| needed.contains(name)) {
                // The others of the note wait anew.
                self.delete(std::slice::from_ref(&file.path)).await?;
            }
        }
        Ok(())
    }
}

impl ArchiveStore {
    fn exclusive(&self, lock: &LockGuard) -> Result<std::sync::Arc<Exclusive>> {
        self.place.held.exclusive(lock)
    }
}

#[async_trait]
impl Condemned for ArchiveStore {
    fn grace(&self) -> Duration {
        self.place.options.grace
    }

    async fn notes(&self, lock: &LockGuard) -> Result<Vec<Note>> {
        let exclusive = self.exclusive(lock)?;
        let mut notes = Vec::new();
        let listed = self.place.list_notes().await?;
        if listed.is_empty() {
            return Ok(notes);
        }
        let now = self.place.leases.time_of(&exclusive.lease).await?;
        for file in listed {
            let (Some(now), Some(made)) = (now, file.modified) else {
                let problem = "the place does not tell when files were written: what is not needed \
                               any more can only be deleted at once, without a grace";
                let url = Subject::Url(self.origin().to_owned());
                return Err(Error::unsupported(problem).about(url));
            };
            let id = file.path.as_str().strip_prefix(CONDEMNED_PREFIX);
            notes.push(Note {
                id: id.unwrap_or_default().to_owned(),
                age: now.duration_since(made).unwrap_or_default(),
            });
        }
        Ok(notes)
    }

    async fn read(&self, note: &Note) -> Result<Vec<ObjectName>> {
        self.place.read_note(&path_of(&note.id)).await
    }

    async fn add(&self, lock: &LockGuard, names: &[ObjectName]) -> Result<()> {
        self.exclusive(lock)?;
        let lines: String = names.iter().map(|name| format!("{name}\n")).collect();
        loop {
            let number = self.place.notes.0.fetch_add(1, Ordering::Relaxed);
            let seed = self.place.options.lease.seed;
            let path = path_of(&format!("{seed:016x}-{number}"));
            let bytes = Bytes::from(lines.clone());
            let put = self.place.write_if(&path, Precondition::Absent, bytes);
            if let PutAnswer::Done { .. } = put.await? {
                return Ok(());
            }
            // Another handle has the same seed: the next number will do.
        }
    }

    async fn remove(&self, lock: &LockGuard, notes: &[Note]) -> Result<()> {
        self.exclusive(lock)?;
        let paths: Vec<_> = notes.iter().map(|note| path_of(&note.id)).collect();
        self.place.delete(&paths).await
    }
}
