//! An archive in a bucket of a real server, under all suites.

mod support;

use std::time::Duration;

use support::{archive_options, fresh_address, options, seaweed};
use treeferry_conformance::{
    Fixture, NestedRefs, Profile, ScratchPlace, Unfinished, Visibility, refs, run_all,
};
use treeferry_core::Result;
use treeferry_core::archive::{ArchiveStore, CreateArchive};
use treeferry_core::store::Encoding;
use treeferry_transport_s3::BucketTransport;

/// A repository in a bucket.
struct Bucket {
    address: String,
}

impl Bucket {
    fn new() -> Self {
        let address = fresh_address();
        Self { address }
    }
}

impl Fixture for Bucket {
    type Store = ArchiveStore;

    async fn open(&self) -> Result<ArchiveStore> {
        let options = options(seaweed().port);
        let transport = BucketTransport::open_for_writing(&self.address, options).await?;
        let mut options = archive_options();
        options.lease.wait = Duration::from_millis(400);
        let create = CreateArchive::default();
        ArchiveStore::create(std::sync::Arc::new(transport), create, options).await
    }

    async fn another(&self) -> Result<Self> {
        Ok(Self::new())
    }

    fn profile(&self) -> Profile {
        Profile {
            encoding: Encoding::Filez,
            visibility: Visibility::ChildrenFirst,
            unfinished: Unfinished::Visible,
            scratch: ScratchPlace::Absent,
            nested_refs: NestedRefs::Refused,
            ..Profile::default()
        }
    }
}

treeferry_conformance::object_store_suite!(
    #[cfg_attr(not(has_weed), ignore = "needs SeaweedFS")]
    objects,
    Bucket::new()
);
/// SeaweedFS keeps the directory `os/a` when `os/a/b` is deleted, and then says for long that there is
/// an `os/a` which must not be written over, although there is none to be read. Nothing is lost: the
/// ref cannot be made until it has forgotten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(has_weed), ignore = "needs SeaweedFS")]
async fn refs_but_for_what_this_server_keeps_in_the_way() {
    let failed = run_all(refs::CHECKS, || Box::new(Bucket::new())).await;
    let names: Vec<_> = failed.keys().copied().collect();
    let in_the_way = ["a_name_is_free_once_all_below_it_is_deleted"];
    assert_eq!(names, in_the_way, "{failed:#?}");
}

treeferry_conformance::repo_state_suite!(
    #[cfg_attr(not(has_weed), ignore = "needs SeaweedFS")]
    state,
    Bucket::new()
);
