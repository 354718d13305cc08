//! A bucket of a double of Google Cloud Storage, under the suites of transports.

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod place;
mod support;

use std::sync::OnceLock;

use bytes::Bytes;
use place::Place;
use support::{anonymous, fresh_address_of, google};
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

fn bucket() -> Place {
    Place::new("gs", options)
}

treeferry_conformance::transport_suite!(reading, bucket());
treeferry_conformance::writable_transport_suite!(writing, bucket());

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
