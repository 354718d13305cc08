//! A container of Azurite, Microsoft's emulator of Azure, under all suites.

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod place;
mod support;

use bytes::Bytes;
use futures::StreamExt;
use place::{Place, Repository};
use support::{azure_options, azurite, fresh_address_of};
use treeferry_conformance::TransportFixture;
use treeferry_core::transport::{
    FetchOptions, Fetched, Precondition, PutBody, RemotePath, Transport, WritableTransport,
};
use treeferry_core::{ErrorKind, Result};
use treeferry_transport_s3::{BucketTransport, Credentials};

fn container() -> Place {
    Place::new("az", || azure_options(azurite().port))
}

fn repository() -> Repository {
    Repository(container())
}

treeferry_conformance::transport_suite!(
    #[cfg_attr(not(has_azurite), ignore = "needs Azurite")]
    reading,
    container()
);
treeferry_conformance::writable_transport_suite!(
    #[cfg_attr(not(has_azurite), ignore = "needs Azurite")]
    writing,
    container()
);
treeferry_conformance::object_store_suite!(
    #[cfg_attr(not(has_azurite), ignore = "needs Azurite")]
    objects,
    repository()
);
treeferry_conformance::ref_store_suite!(
    #[cfg_attr(not(has_azurite), ignore = "needs Azurite")]
    refs,
    repository()
);
treeferry_conformance::repo_state_suite!(
    #[cfg_attr(not(has_azurite), ignore = "needs Azurite")]
    state,
    repository()
);

#[tokio::test]
#[cfg_attr(not(has_azurite), ignore = "needs Azurite")]
async fn a_long_file_goes_in_parts_and_many_are_deleted_at_once() {
    let address = fresh_address_of("az");
    let mut options = azure_options(azurite().port);
    options.part_bytes = 64 * 1024;
    let container = BucketTransport::open_for_writing(&address, options)
        .await
        .unwrap();
    let all: Bytes = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    let long = RemotePath::new("long").unwrap();
    let body = PutBody::Bytes(all.clone());
    container
        .put(&long, Precondition::None, body)
        .await
        .unwrap();
    let found = container.fetch(&long, FetchOptions::default()).await;
    let Some(Fetched::File(file)) = found.unwrap() else {
        panic!("the long file is not there");
    };
    assert_eq!(file.collect(u64::MAX).await.unwrap(), all);
    // More than one request may name, and some that are not there.
    let path = |n: u32| RemotePath::new(&format!("many/{n}")).unwrap();
    let paths: Vec<_> = (0..600).map(path).collect();
    let put = |path| container.put(path, Precondition::None, PutBody::Bytes("x".into()));
    let puts = futures::stream::iter(paths.iter().step_by(2)).map(put);
    let done: Vec<_> = puts.buffered(16).collect().await;
    assert!(done.iter().all(Result::is_ok));
    container.delete(&paths).await.unwrap();
    assert_eq!(container.list("many/").count().await, 0);
}

#[tokio::test]
#[cfg_attr(not(has_azurite), ignore = "needs Azurite")]
async fn who_has_no_keys_reads_what_is_public_and_writes_nothing() {
    let place = container();
    let path = RemotePath::new("file").unwrap();
    place.publish(&path, "public".into()).await.unwrap();
    let mut options = azure_options(azurite().port);
    options.credentials = Credentials::Anonymous;
    let reader = BucketTransport::open(&place.address, options.clone())
        .await
        .unwrap();
    let found = reader.fetch(&path, FetchOptions::default()).await.unwrap();
    assert!(matches!(found, Some(Fetched::File(_))), "{found:?}");
    let absent = RemotePath::new("absent").unwrap();
    let found = reader.fetch(&absent, FetchOptions::default()).await;
    assert!(found.unwrap().is_none());
    let refused = BucketTransport::open_for_writing(&place.address, options).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Denied);
}
