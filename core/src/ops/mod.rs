//! The verbs: what is done to repositories.

pub mod replicate;
