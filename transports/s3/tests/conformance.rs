//! An archive in a bucket of a real server, under all suites.

mod place;
mod support;

use place::{Place, Repository};
use support::{options, seaweed};
use treeferry_conformance::{refs, run_all};

fn repository() -> Repository {
    Repository(Place::new("s3", || options(seaweed().port)))
}

treeferry_conformance::object_store_suite!(
    #[cfg_attr(not(has_weed), ignore = "needs SeaweedFS")]
    objects,
    repository()
);

/// SeaweedFS keeps the directory `os/a` when `os/a/b` is deleted, and then says for long that there is
/// an `os/a` which must not be written over, although there is none to be read. Nothing is lost: the
/// ref cannot be made until it has forgotten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(has_weed), ignore = "needs SeaweedFS")]
async fn refs_but_for_what_this_server_keeps_in_the_way() {
    let failed = run_all(refs::CHECKS, || Box::new(repository())).await;
    let names: Vec<_> = failed.keys().copied().collect();
    let in_the_way = ["a_name_is_free_once_all_below_it_is_deleted"];
    assert_eq!(names, in_the_way, "{failed:#?}");
}

treeferry_conformance::repo_state_suite!(
    #[cfg_attr(not(has_weed), ignore = "needs SeaweedFS")]
    state,
    repository()
);
