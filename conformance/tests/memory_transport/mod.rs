//! Files in memory as a fixture.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use treeferry_conformance::{TransportFixture, TransportProfile};
use treeferry_conformance::{publish_by_put, withdraw_by_delete};
use treeferry_core::Result;
use treeferry_core::transport::{MemoryTransport, MemoryTransportOptions, RemotePath};

static REMOTES: AtomicU64 = AtomicU64::new(0);

/// Returns files in memory, at an address of their own.
pub(crate) fn memory_files() -> MemoryTransport {
    MemoryTransport::new(MemoryTransportOptions {
        origin: format!("memory:{}", REMOTES.fetch_add(1, Ordering::Relaxed)),
        clock: Some(SystemTime::now),
    })
}

/// The memory transport as a fixture.
pub(crate) struct Memory(MemoryTransport);

impl Default for Memory {
    fn default() -> Self {
        Self(memory_files())
    }
}

impl TransportFixture for Memory {
    type Transport = MemoryTransport;

    async fn open(&self) -> Result<MemoryTransport> {
        Ok(self.0.clone())
    }

    async fn another(&self) -> Result<Self> {
        Ok(Self::default())
    }

    async fn publish(&self, path: &RemotePath, bytes: Bytes) -> Result<()> {
        publish_by_put(&self.0, path, bytes).await
    }

    async fn withdraw(&self, path: &RemotePath) -> Result<()> {
        withdraw_by_delete(&self.0, path).await
    }

    fn profile(&self) -> TransportProfile {
        TransportProfile::default()
    }
}
