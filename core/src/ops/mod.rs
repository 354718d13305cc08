//! The verbs: what is done to repositories.

pub mod commit;
pub mod fsck;
pub mod prune;
pub mod pull;
pub mod replicate;
