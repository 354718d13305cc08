//! Repositories in buckets: S3 and every server that speaks it, Google Cloud Storage, Azure.
//!
//! [`BucketTransport`] moves files between a bucket and whoever reads or writes the archive layout
//! there. Over one that was [opened for writing](BucketTransport::open_for_writing), an
//! [`ArchiveStore`](treeferry_core::archive::ArchiveStore) is a whole repository.
//!
//! The environment is not read here, unless the caller hands it to [`BucketOptions::apply_variables`].

mod address;
mod conditions;
mod connect;
mod emulator;
mod failure;
mod options;
mod profile;
mod redirect;
mod service;
mod transport;
mod variables;
mod write;

pub use address::{BucketAddress, Provider};
pub use options::{Addressing, BucketOptions, Credentials, Keys, Writers};
pub use transport::BucketTransport;
