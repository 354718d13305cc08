//! OSTree repositories in a directory: the five modes, their locks and their staging.
//!
//! ```text
//! config            mode, parent, locking, fsync, free space: `config`, `free_space`
//! .lock             shared for writers, exclusive for prune; honoured by the C `ostree`: `lock`
//! .treeferry-lock   our own, for compare-and-swap of refs and state; the C `ostree` ignores it
//! objects/XX/REST.EXT
//!                   the objects, and beside them what is mutable: `shelf`, `list`, `state`
//! refs/{heads,remotes,mirrors}/…                                     : `refs`
//! state/CSUM.commitpartial, summary, summary.sig, NAME.trustedkeys.gpg : `state`
//! tmp/staging-BOOTID-XXXXXX/XX/REST.EXT, and …-lock beside it
//!                   whole objects that are not published yet        : `staging`, `write`, `batch`
//! tmp/treeferry-scratch/
//!                   interrupted downloads                            : `scratch`
//! ```
//!
//! A file becomes an object in three steps: written and verified under a name that nobody takes
//! for an object, renamed into the staging directory, and, when the batch is committed and all
//! data is durable, renamed into `objects/`: content first, then dirmeta and dirtree, then
//! commits, with the directories synced between the phases (`publish`).

mod batch;
mod config;
mod deltas;
mod free_space;
mod inodes;
mod layout;
mod leftovers;
mod list;
mod local;
mod lock;
mod mode;
mod publish;
mod refs;
mod repo;
mod scratch;
mod shelf;
mod source;
mod staging;
mod state;
mod store_file;
mod summary_cache;
mod sync;
mod sys;
mod takeover;
mod unpacked;
mod vouched;
mod write;

pub use batch::FsBatch;
pub use mode::FsMode;
pub use repo::{CreateOptions, FsRepo, OpenOptions, SplitXattrs};
pub use summary_cache::{SummaryCacheDir, forget_summaries_of_others};
pub use unpacked::UnpackedCache;
