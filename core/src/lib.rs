//! OSTree repositories in Rust: the formats, the traits, and the verbs.

pub mod format;
