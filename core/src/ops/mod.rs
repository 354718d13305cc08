//! The verbs: what is done to repositories.

pub mod pull;
pub mod replicate;
