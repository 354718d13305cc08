//! A bucket of a double of Google Cloud Storage, under the suites of transports.

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod support;

use std::sync::OnceLock;

use bytes::Bytes;
use support::{anonymous, fresh_address_of, google};
use treeferry_conformance::{
    TransportFixture, TransportProfile, publish_by_put, withdraw_by_delete,
};
use treeferry_core::Result;
use treeferry_core::transport::{
    FetchOptions, Fetched, Precondition, PutBody, RemotePath, Transport, WritableTransport,
};
use treeferry_transport_s3::{BucketOptions, BucketTransport, Credentials};

fn options() -> BucketOptions {
    static PORT: OnceLock<u16> = OnceLock::new();
    let mut options = anonymous(*PORT.get_or_init(google::start));
    options.credentials = Credentials::Ambient;
    options.set("google_bearer_token", "token")
}

/// A place in the bucket.
struct Bucket {
    address: String,
}

impl Bucket {
    fn new() -> Self {
        let address = fresh_address_of("gs");
        Self { address }
    }
}

impl TransportFixture for Bucket {
    type Transport = BucketTransport;

    async fn open(&self) -> Result<BucketTransport> {
        BucketTransport::open_for_writing(&self.address, options()).await
    }

    async fn another(&self) -> Result<Self> {
        Ok(Self::new())
    }

    async fn publish(&self, path: &RemotePath, bytes: Bytes) -> Result<()> {
        publish_by_put(&self.open().await?, path, bytes).await
    }

    async fn withdraw(&self, path: &RemotePath) -> Result<()> {
        withdraw_by_delete(&self.open().await?, path).await
    }

    fn profile(&self) -> TransportProfile {
        TransportProfile::default()
    }
}

treeferry_conformance::transport_suite!(reading, Bucket::new());
treeferry_conformance::writable_transport_suite!(writing, Bucket::new());

#[tokio::test]
async fn a_long_file_goes_in_parts() {
    let mut options = options();
    options.part_bytes = 64 * 1024;
    let bucket = BucketTransport::open_for_writing(&fresh_address_of("gs"), options)
        .await
        .unwrap();
    let all: Bytes = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    let long = RemotePath::new("long").unwrap();
    let body = PutBody::Bytes(all.clone());
    bucket.put(&long, Precondition::None, body).await.unwrap();
    let found = bucket.fetch(&long, FetchOptions::default()).await;
    let Some(Fetched::File(file)) = found.unwrap() else {
        panic!("the long file is not there");
    };
    assert_eq!(file.collect(u64::MAX).await.unwrap(), all);
}
