//! A complete repository in one SQLite file.
//!
//! ```text
//! FILE         object, chunk              published objects, and their bytes: `objects`, `body`
//!              batch, staged              objects that are not published yet: `batch`, `intake`, `staging`
//!              download, download_piece   interrupted downloads               : `scratch`
//!              ref                        the names that move                 : `refs`
//!              detached, partial, tombstone, summary, config, extra           : `state`
//! FILE-wal, FILE-shm                      SQLite's log, and its index; there while it is open
//! FILE-lock                               empty; its bytes are locked         : `lock`
//! ```
//!
//! Closed by all, the file alone is the repository, and can be copied as one. Open, it is the three:
//! never delete those beside it.
//!
//! Many processes read while one writes; who wants to write waits, off the runtime, in `db`. An
//! object's bytes are written in short transactions that nobody sees, as they arrive, and do not wait
//! for the disk. The commit of a batch is one transaction that moves names alone, and waits for the
//! disk (`synchronous=FULL`): the log is one file, so what was written before is durable with it.
//! Killed at any moment, a batch is there or it is not, and what it had staged is taken up by the next.
//!
//! Not for network filesystems, nor for media that cannot be written: the log needs memory that the
//! processes share, and the files beside this one.
//!
//! Content is kept in the framing of archives; `arriving` says why. What is where, in what version, is
//! in `schema`.

mod arriving;
mod batch;
mod body;
mod db;
mod deltas;
mod error;
mod index;
mod intake;
mod lock;
mod objects;
mod refs;
mod repo;
mod schema;
mod scratch;
mod settings;
mod staging;
mod state;

pub use index::{Compared, IndexOptions, IndexedStore, Misses, Reachable};
pub use repo::{CreateOptions, LockWait, OpenOptions, SqliteRepo};
