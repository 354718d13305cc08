//! The verbs, one file each.

pub(crate) mod cat;
pub(crate) mod checkout;
pub(crate) mod commit;
pub(crate) mod commit_text;
pub(crate) mod config;
pub(crate) mod demo;
pub(crate) mod extension;
pub(crate) mod fsck;
pub(crate) mod init;
pub(crate) mod log;
pub(crate) mod ls;
pub(crate) mod prune;
pub(crate) mod pull;
pub(crate) mod pull_local;
pub(crate) mod refs;
pub(crate) mod remote;
pub(crate) mod reset;
pub(crate) mod rev_parse;
pub(crate) mod serve;
pub(crate) mod show;
pub(crate) mod size_text;
pub(crate) mod summary_text;
pub(crate) mod version;
pub(crate) mod xattr_text;
