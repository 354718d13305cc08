//! Static deltas: what turns one commit into another, made ahead of time.

mod name;

pub use name::{DeltaFile, DeltaName};
