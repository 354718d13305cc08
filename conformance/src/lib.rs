//! What every store must pass.
//!
//! A backend describes a place once, as a [`Fixture`], and writes one line a suite; each check
//! becomes a test of its own name (the crate needs `tokio` with `macros` and `rt-multi-thread`):
//!
//! ```text
//! treeferry_conformance::object_store_suite!(objects, MyFixture::new());
//! treeferry_conformance::ref_store_suite!(refs, MyFixture::new());
//! treeferry_conformance::repo_state_suite!(state, MyFixture::new());
//! ```
//!
//! A way to move files does the same with a [`TransportFixture`]:
//!
//! ```text
//! treeferry_conformance::transport_suite!(reading, MyRemote::new());
//! treeferry_conformance::writable_transport_suite!(writing, MyRemote::new());
//! ```
//!
//! What stores may differ in is named in a [`Profile`] or [`TransportProfile`] and asserted both ways: who says that
//! something cannot be held must refuse it. [`run_all`] runs a suite as a function, and tells which
//! checks failed.

// A check that is written but in no list is dead code: this makes forgetting it an error.
#![deny(dead_code)]

#[macro_use]
mod suite;
pub mod faults;
mod fixture;
pub mod objects;
pub mod reading;
pub mod refs;
pub mod samples;
pub mod state;
mod transport;
pub mod writing;

pub use fixture::{Fixture, HeldOwners, HeldXattrs, Holds, Modes, NestedRefs, Place, Profile};
pub use fixture::{ListedTimes, ScratchPlace, Unfinished, Visibility};
pub use suite::{Check, Failed, Outcome, expect, run_all, run_check};
pub use transport::{
    Conditions, FileNames, NameCase, NestedFiles, Resuming, Totals, TransportFixture,
    TransportPlace, TransportProfile, Versions, publish_by_put, withdraw_by_delete,
};
