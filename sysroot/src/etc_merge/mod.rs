//! Merges `/etc` three ways: what the old system shipped, what is there now, what the new one ships.
//!
//! ```text
//! tree      what a tree of configuration is; reads one from a directory
//! strategy  what happens to a path on which both sides disagree        (pure)
//! plan      three trees in, a plan out                                 (pure)
//! report    what became of each path, and every conflict               (pure)
//! apply     carries a plan out
//! ```
//!
//! Without strategies the result is the one of OSTree, to the byte: a change of the administrator
//! wins, what was removed stays removed, extended attributes alone are no change, and a file in the
//! place of a new directory stops the upgrade. Where OSTree is silent, the report is not: a file that
//! is as the old system shipped it is replaced, whoever wrote it.

mod apply;
mod plan;
mod report;
mod strategy;
mod tree;

pub use plan::{Action, Blocked, BlockedBy, MergePlan, plan};
pub use report::{Conflict, ConflictKind, Fate, MergeReport, Resolution};
pub use strategy::{Pattern, Strategies, Strategy};
pub use tree::{EtcTree, Kind, Node};

pub(crate) use apply::apply;
pub(crate) use plan::differences;
