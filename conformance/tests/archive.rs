//! The archive layout over a transport, under all suites.

mod archive_fixture;

use archive_fixture::Archive;

treeferry_conformance::object_store_suite!(objects, Archive::new());
treeferry_conformance::ref_store_suite!(refs, Archive::new());
treeferry_conformance::repo_state_suite!(state, Archive::new());
