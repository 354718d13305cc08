//! Gets one object from a source: tries again, and continues where a transfer broke off.

mod content;
mod metadata;
mod received;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::budget::{Budget, Share};
use super::options::Limits;
use super::pace::Pace;
use crate::error::{Error, ErrorKind, Result};
use crate::format::ObjectName;
use crate::pool::Pool;
use crate::repo::Progress;
use crate::store::{Incoming, ObjectSource, ResumableSource, Scratch, ScratchFile};
use crate::transport::{RemotePath, Retry};

/// Everything a fetch needs to know of the replication that it belongs to.
#[derive(Debug)]
pub(super) struct Fetcher {
    pub(super) source: Arc<dyn ObjectSource>,
    pub(super) resumable: Option<Arc<dyn ResumableSource>>,
    pub(super) scratch: Option<Arc<dyn Scratch>>,
    /// Paths of which an earlier transfer left something.
    pub(super) kept: Mutex<HashSet<RemotePath>>,
    pub(super) retry: Retry,
    pub(super) limits: Limits,
    pub(super) pace: Pace,
    pub(super) progress: Progress,
    pub(super) pool: Pool,
    pub(super) budget: Budget,
}

/// A metadata object that arrived, and what it holds of the budget until it is stored.
#[derive(Debug)]
pub(super) struct ArrivedMetadata {
    pub(super) bytes: Bytes,
    pub(super) share: Share,
}

/// An object that arrived, and the scratch entry to give up once it is stored.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) incoming: Incoming,
    pub(super) spooled: Option<Box<dyn ScratchFile>>,
    pub(super) bytes: u64,
    pub(super) transfer: Transfer,
}

/// How an object came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transfer {
    /// In one piece, just as long as the other side had announced.
    Whole,
    /// In parts, of which some may have been lying here for long; or nobody said how long it is.
    Unsure,
}

/// What the beginning of a file object says. Not verified.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    /// How long it is at the source, if that is told.
    pub(super) stored_bytes: Option<u64>,
    /// How long its content is.
    pub(super) content_bytes: u64,
}

impl Fetcher {
    fn count(&self, bytes: usize) {
        self.progress
            .update(|snapshot| snapshot.transferred.done_bytes += bytes as u64);
    }

    /// Waits before try `attempt`, or gives the error back if that is no use.
    async fn wait_or_fail(&self, error: Error, attempt: u32, name: &ObjectName) -> Result<()> {
        let ErrorKind::Unavailable { retry_after } = error.kind() else {
            return Err(error);
        };
        self.pace.failed();
        if attempt > self.retry.retries {
            return Err(error.context(format!("gave up after {attempt} tries")));
        }
        let [a, b, c, d, e, f, g, h, ..] = *name.checksum.as_bytes();
        let salt = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        let wait = self.retry.wait_before(attempt, salt, retry_after);
        tracing::debug!(%error, attempt, wait_ms = wait.as_millis() as u64, "trying again");
        self.progress.update(|snapshot| snapshot.retries += 1);
        tokio::time::sleep(wait).await;
        Ok(())
    }
}
