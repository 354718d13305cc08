//! The memory store as a fixture.

use std::time::{Duration, SystemTime};

use treeferry_conformance::{Fixture, Profile};
use treeferry_core::Result;
use treeferry_core::store::{MemoryOptions, MemoryStore, RefAtomicity};

/// A repository in memory.
pub(crate) struct Memory {
    options: MemoryOptions,
    store: MemoryStore,
}

impl Memory {
    pub(crate) fn plain() -> Self {
        Self::new(MemoryOptions::default())
    }

    pub(crate) fn archive() -> Self {
        Self::new(MemoryOptions::archive())
    }

    fn new(options: MemoryOptions) -> Self {
        let options = MemoryOptions {
            lock_wait: Duration::from_millis(100),
            clock: Some(SystemTime::now),
            ..options
        };
        let store = MemoryStore::new(options.clone());
        Self { options, store }
    }
}

impl Fixture for Memory {
    type Store = MemoryStore;

    async fn open(&self) -> Result<MemoryStore> {
        Ok(self.store.clone())
    }

    async fn another(&self) -> Result<Self> {
        Ok(Self::new(self.options.clone()))
    }

    fn profile(&self) -> Profile {
        Profile {
            encoding: self.options.encoding,
            ref_atomicity: RefAtomicity::Set,
            ..Profile::default()
        }
    }
}
