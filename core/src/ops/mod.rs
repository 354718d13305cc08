//! The verbs: what is done to repositories.

pub mod checkout;
pub mod commit;
pub mod composefs;
pub mod copy;
pub mod delta;
pub mod diff;
pub mod du;
pub mod export;
pub mod fsck;
pub mod labels;
pub mod list;
mod local_file;
pub mod prune;
pub mod pull;
pub mod replicate;
pub mod sign;
pub mod summary;
