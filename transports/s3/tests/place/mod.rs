//! A place in a bucket of any server, as a transport and as a repository, for the suites.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use treeferry_conformance::{
    Fixture, Profile, TransportFixture, TransportProfile, publish_by_put, withdraw_by_delete,
};
use treeferry_core::Result;
use treeferry_core::archive::{ArchiveStore, CreateArchive};
use treeferry_core::transport::RemotePath;
use treeferry_transport_s3::{BucketOptions, BucketTransport};

use crate::support::{archive_options, fresh_address_of};

/// A place that nobody else uses.
pub(crate) struct Place {
    scheme: &'static str,
    options: fn() -> BucketOptions,
    pub(crate) address: String,
}

impl Place {
    /// Returns one in a bucket of addresses that begin with `scheme`, opened with `options`.
    pub(crate) fn new(scheme: &'static str, options: fn() -> BucketOptions) -> Self {
        Self {
            scheme,
            options,
            address: fresh_address_of(scheme),
        }
    }

    fn fresh(&self) -> Self {
        Self::new(self.scheme, self.options)
    }

    async fn open_transport(&self) -> Result<BucketTransport> {
        BucketTransport::open_for_writing(&self.address, (self.options)()).await
    }
}

impl TransportFixture for Place {
    type Transport = BucketTransport;

    async fn open(&self) -> Result<BucketTransport> {
        self.open_transport().await
    }

    async fn another(&self) -> Result<Self> {
        Ok(self.fresh())
    }

    async fn publish(&self, path: &RemotePath, bytes: Bytes) -> Result<()> {
        publish_by_put(&self.open_transport().await?, path, bytes).await
    }

    async fn withdraw(&self, path: &RemotePath) -> Result<()> {
        withdraw_by_delete(&self.open_transport().await?, path).await
    }

    fn profile(&self) -> TransportProfile {
        TransportProfile::default()
    }
}

/// A repository in such a place.
pub(crate) struct Repository(pub(crate) Place);

impl Fixture for Repository {
    type Store = ArchiveStore;

    async fn open(&self) -> Result<ArchiveStore> {
        let transport = self.0.open_transport().await?;
        let mut options = archive_options();
        options.lease.wait = Duration::from_millis(400);
        ArchiveStore::create(Arc::new(transport), CreateArchive::default(), options).await
    }

    async fn another(&self) -> Result<Self> {
        Ok(Self(self.0.fresh()))
    }

    fn profile(&self) -> Profile {
        Profile::archive()
    }
}
