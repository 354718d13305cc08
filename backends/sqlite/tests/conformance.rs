//! A repository in a file, under all suites.

mod common;

use common::OneFile;

treeferry_conformance::object_store_suite!(objects, OneFile::new());
treeferry_conformance::ref_store_suite!(refs, OneFile::new());
treeferry_conformance::repo_state_suite!(state, OneFile::new());
