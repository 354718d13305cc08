//! The transport itself: the suites over real servers, and answers that servers give in bad moments.

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod place;
mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use place::Place;
use support::proxy::{Fate, Proxy};
use support::{fresh_address, options, rclone, seaweed};
use treeferry_core::ErrorKind;
use treeferry_core::transport::{
    FetchOptions, Fetched, Precondition, PutAnswer, PutBody, RemotePath, Transport,
    WritableTransport,
};
use treeferry_transport_s3::{BucketTransport, Writers};

fn in_seaweed() -> Place {
    Place::new("s3", || options(seaweed().port))
}

treeferry_conformance::transport_suite!(
    #[cfg_attr(not(has_weed), ignore = "needs SeaweedFS")]
    reading,
    in_seaweed()
);
treeferry_conformance::writable_transport_suite!(
    #[cfg_attr(not(has_weed), ignore = "needs SeaweedFS")]
    writing,
    in_seaweed()
);

fn path(text: &str) -> RemotePath {
    RemotePath::new(text).unwrap()
}

fn bytes(text: &'static str) -> PutBody {
    PutBody::Bytes(Bytes::from_static(text.as_bytes()))
}

/// Opens a place through a proxy that does `fate` to the requests about `path`.
async fn spoiled(path: &'static str, fate: Fate) -> BucketTransport {
    let decide = move |_, _: &str, asked: &str| match asked.contains(path) {
        true => fate,
        false => Fate::Pass,
    };
    let proxy = Proxy::start(seaweed().port, Arc::new(decide)).await;
    let mut options = options(proxy.port);
    if fate == Fate::Stall {
        // Long enough for what has to pass.
        options.stall_timeout = Duration::from_secs(3);
    }
    BucketTransport::open_for_writing(&fresh_address(), options)
        .await
        .unwrap()
}

#[tokio::test]
#[cfg_attr(not(has_weed), ignore = "needs SeaweedFS")]
async fn what_did_not_happen_can_be_tried_again_and_what_may_have_happened_is_in_doubt() {
    for (fate, reading, writing) in [
        (Fate::Refuse(503), "unavailable", "unavailable"),
        (Fate::Refuse(429), "unavailable", "unavailable"),
        (Fate::Refuse(500), "unavailable", "indeterminate"),
        (Fate::DoneAnd500, "unavailable", "indeterminate"),
        (Fate::Reset, "unavailable", "indeterminate"),
        (Fate::DoneAndReset, "unavailable", "indeterminate"),
        (Fate::Stall, "unavailable", "indeterminate"),
    ] {
        let transport = spoiled("spoiled", fate).await;
        let path = path("spoiled");
        let error = transport
            .fetch(&path, FetchOptions::default())
            .await
            .unwrap_err();
        assert_eq!(error.code(), reading, "{fate:?}: {error:?}");
        assert!(error.to_string().contains("place-"), "{error}");
        let error = transport
            .put(&path, Precondition::Absent, bytes("x"))
            .await
            .unwrap_err();
        assert_eq!(error.code(), writing, "{fate:?}: {error:?}");
    }
}

#[tokio::test]
#[cfg_attr(not(has_weed), ignore = "needs SeaweedFS")]
async fn a_server_that_asks_to_be_left_alone_is_understood() {
    let transport = spoiled("spoiled", Fate::Refuse(503)).await;
    let error = transport
        .fetch(&path("spoiled"), FetchOptions::default())
        .await
        .unwrap_err();
    let asked = ErrorKind::Unavailable {
        retry_after: Some(Duration::ZERO),
    };
    assert_eq!(error.kind(), asked, "{error:?}");
}

#[tokio::test]
#[cfg_attr(not(has_weed), ignore = "needs SeaweedFS")]
async fn half_an_answer_is_no_answer() {
    let transport = spoiled("half", Fate::Half).await;
    let all = Bytes::from(vec![b'x'; 100_000]);
    let name = path("half");
    // The put is spoiled too, after it was done.
    let _ = transport
        .put(&name, Precondition::None, PutBody::Bytes(all))
        .await;
    let failed = match transport.fetch(&name, FetchOptions::default()).await {
        Ok(Some(Fetched::File(file))) => file.collect(u64::MAX).await.is_err(),
        Ok(other) => panic!("{other:?}"),
        Err(_) => true,
    };
    assert!(failed);
}

#[tokio::test]
#[cfg_attr(not(has_weed), ignore = "needs SeaweedFS")]
async fn a_refusal_of_what_is_not_there_is_absence_where_the_list_says_so() {
    let transport = spoiled("secret", Fate::Refuse(403)).await;
    let found = transport
        .fetch(&path("dir/secret"), FetchOptions::default())
        .await;
    assert!(found.unwrap().is_none());
    let others = spoiled("secret", Fate::Refuse(403)).await;
    // Both the file and the list of its directory are refused, and nothing was ever read.
    let error = others
        .fetch(&path("secret/secret"), FetchOptions::default())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
    others
        .put(&path("open"), Precondition::None, bytes("x"))
        .await
        .unwrap();
    others
        .fetch(&path("open"), FetchOptions::default())
        .await
        .unwrap();
    let found = others
        .fetch(&path("secret/secret"), FetchOptions::default())
        .await;
    assert!(found.unwrap().is_none());
}

#[tokio::test]
#[cfg_attr(not(has_weed), ignore = "needs SeaweedFS")]
async fn wrong_keys_are_refused_as_such() {
    let mut wrong = options(seaweed().port);
    wrong.credentials = treeferry_transport_s3::Credentials::Keys(treeferry_transport_s3::Keys {
        id: "TESTKEY".into(),
        secret: "wrong".into(),
        token: None,
    });
    let error = BucketTransport::open_for_writing(&fresh_address(), wrong)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
    assert!(!format!("{error:?}").contains("wrong\""), "{error:?}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let mut options = options(1);
    options.stall_timeout = Duration::from_millis(500);
    let transport = BucketTransport::open(&fresh_address(), options)
        .await
        .unwrap();
    let error = transport
        .fetch(&path("x"), FetchOptions::default())
        .await
        .unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Unavailable { .. }),
        "{error:?}"
    );
}

#[tokio::test]
#[cfg_attr(not(has_rclone), ignore = "needs rclone")]
async fn parts_that_a_server_calls_the_whole_are_taken_for_what_they_are() {
    let mut alone = options(rclone().port);
    alone.writers = Writers::One;
    let address = fresh_address();
    let transport = BucketTransport::open_for_writing(&address, alone)
        .await
        .unwrap();
    let name = path("file");
    let put = transport
        .put(&name, Precondition::Absent, bytes("0123456789"))
        .await
        .unwrap();
    let PutAnswer::Done { validator } = put else {
        panic!("{put:?}");
    };
    let again = transport
        .put(&name, Precondition::Absent, bytes("x"))
        .await
        .unwrap();
    assert_eq!(again, PutAnswer::Conflict);
    let Some(Fetched::File(file)) = transport
        .fetch(&name, FetchOptions::default())
        .await
        .unwrap()
    else {
        panic!("it is not there");
    };
    let resume = treeferry_core::transport::Resume {
        offset: 4,
        validator: file.validator.or(validator).unwrap(),
    };
    let options = FetchOptions {
        resume: Some(resume),
        ..FetchOptions::default()
    };
    let Some(Fetched::File(rest)) = transport.fetch(&name, options).await.unwrap() else {
        panic!("it is not there");
    };
    let offset = usize::try_from(rest.offset).unwrap();
    assert_eq!(rest.collect(100).await.unwrap(), &b"0123456789"[offset..]);
}
