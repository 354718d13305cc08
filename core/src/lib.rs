//! OSTree repositories in Rust: the formats, the traits of stores and transports, and the verbs.
//!
//! Data flows one way: [`mod@format`] -> [`store`], [`transport`] -> `repo` -> `ops`.
//! Nothing in here prints, reads the environment or the clock, or blocks a runtime thread.

pub mod archive;
pub mod codec;
pub mod error;
pub mod format;
pub mod ops;
pub mod pool;
pub mod repo;
pub mod sign;
pub mod spill;
pub mod store;
pub mod transport;

pub use error::{Error, ErrorKind, Result, Subject};
