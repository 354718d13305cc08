//! OSTree's formats: pure functions from bytes to values and back, no I/O.

mod error;
pub mod gvariant;
pub mod keyfile;

pub use error::{FormatError, Place};
