//! Half-done downloads, in memory.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::io::Cursor;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;

use super::lock;
use crate::error::Result;
use crate::store::{Scratch, ScratchContent, ScratchFile};
use crate::transport::{RemotePath, Validator};

type Key = (String, RemotePath);

/// The entries that nobody holds. Who takes one has it alone, and gives it back by dropping it.
#[derive(Clone, Default)]
pub(super) struct ScratchEntries(Arc<Mutex<BTreeMap<Key, Entry>>>);

struct Entry {
    received: Vec<u8>,
    validator: Option<Validator>,
    total_bytes: Option<u64>,
}

/// An entry that is held.
struct HeldEntry {
    entries: ScratchEntries,
    key: Key,
    entry: Option<Entry>,
}

impl ScratchEntries {
    fn hold(&self, key: Key, entry: Entry) -> Box<dyn ScratchFile> {
        Box::new(HeldEntry {
            entries: self.clone(),
            key,
            entry: Some(entry),
        })
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Scratch for ScratchEntries {
    async fn kept(&self, origin: &str) -> Result<Vec<RemotePath>> {
        let entries = lock(&self.0);
        let of_origin = entries.keys().filter(|(of, _)| of == origin);
        Ok(of_origin.map(|(_, path)| path.clone()).collect())
    }

    async fn take(&self, origin: &str, path: &RemotePath) -> Result<Option<Box<dyn ScratchFile>>> {
        let key = (origin.to_owned(), path.clone());
        let entry = lock(&self.0).remove(&key);
        Ok(entry.map(|entry| self.hold(key, entry)))
    }

    async fn create(
        &self,
        origin: &str,
        path: &RemotePath,
        validator: Option<Validator>,
        total_bytes: Option<u64>,
    ) -> Result<Box<dyn ScratchFile>> {
        let key = (origin.to_owned(), path.clone());
        lock(&self.0).remove(&key);
        let entry = Entry {
            received: Vec::new(),
            validator,
            total_bytes,
        };
        Ok(self.hold(key, entry))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ScratchFile for HeldEntry {
    fn received_bytes(&self) -> u64 {
        let received = self.entry.as_ref().map(|e| e.received.len());
        received.unwrap_or_default() as u64
    }

    fn total_bytes(&self) -> Option<u64> {
        self.entry.as_ref()?.total_bytes
    }

    fn validator(&self) -> Option<&Validator> {
        self.entry.as_ref()?.validator.as_ref()
    }

    async fn append(&mut self, bytes: Bytes) -> Result<()> {
        if let Some(entry) = &mut self.entry {
            entry.received.extend_from_slice(&bytes);
        }
        Ok(())
    }

    fn open(&self) -> Result<ScratchContent> {
        let received = self.entry.as_ref().map(|e| e.received.clone());
        let received = Cursor::new(received.unwrap_or_default());
        Ok(ScratchContent::Reader(Box::new(received)))
    }

    async fn discard(mut self: Box<Self>) -> Result<()> {
        self.entry = None;
        Ok(())
    }
}

impl Drop for HeldEntry {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            lock(&self.entries.0).insert(self.key.clone(), entry);
        }
    }
}

impl Debug for ScratchEntries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScratchEntries").finish_non_exhaustive()
    }
}

impl Debug for HeldEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldEntry")
            .field("key", &self.key)
            .field("received_bytes", &self.received_bytes())
            .finish_non_exhaustive()
    }
}
