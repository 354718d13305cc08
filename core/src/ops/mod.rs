//! The verbs: what is done to repositories.

pub mod commit;
pub mod pull;
pub mod replicate;
