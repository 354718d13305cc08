//! How much metadata may be in memory at once, whatever a remote sends.
//!
//! A metadata object may be 128 MiB long, and many requests are under way at once. Short objects,
//! which is nearly all of them, need no leave: the number of requests bounds them. A longer one takes
//! its share of a common budget, once, before more of it is received, and gives it back when it is
//! stored. How long it will be is not known before it ends, so while it arrives its share is all of
//! the budget. Nobody holds a share and waits for another.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, ErrorKind, Result};

/// An object up to this length needs no leave.
pub(super) const SHORT_BYTES_MAX: usize = 256 * 1024;

/// How much of longer objects waits to be stored while others arrive.
const BUDGET_KIB: u32 = 16 * 1024;

/// The budget of one replication. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Budget(Arc<Semaphore>);

/// What one object holds of the budget. Gives it back when dropped.
#[derive(Debug, Default)]
pub(super) struct Share(Option<OwnedSemaphorePermit>);

impl Default for Budget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(BUDGET_KIB as usize)))
    }
}

impl Budget {
    /// Waits until no other long object arrives, and those that have arrived are stored.
    pub(super) async fn all(&self) -> Result<Share> {
        let permits = Arc::clone(&self.0).acquire_many_owned(BUDGET_KIB).await;
        let permit = permits.map_err(|_| Error::new(ErrorKind::Cancelled, "was given up"))?;
        Ok(Share(Some(permit)))
    }
}

impl Share {
    /// Returns whether it is more than what needs no leave.
    pub(super) fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// Keeps no more than `bytes` need: the object has arrived.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        if let Some(permit) = &mut self.0 {
            let excess = permit.num_permits().saturating_sub(bytes.div_ceil(1024));
            drop(permit.split(excess));
        }
    }
}
