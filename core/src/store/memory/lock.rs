//! The lock between writers and prunes, for handles in one process.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use super::lock as hold;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{LockGuard, LockKind};

/// Many hold it shared, or one exclusively. As with locks on files, nobody queues.
#[derive(Default)]
pub(super) struct Lock {
    holders: Mutex<Holders>,
    released: Notify,
}

#[derive(Default)]
struct Holders {
    shared: usize,
    exclusive: bool,
}

/// Releases the lock when dropped.
struct Held {
    lock: Arc<Lock>,
    kind: LockKind,
}

impl Lock {
    pub(super) async fn acquire(
        self: &Arc<Self>,
        kind: LockKind,
        wait: Duration,
    ) -> Result<LockGuard> {
        let acquired = async {
            loop {
                // Listening begins before looking, so that no release falls between the two.
                let released = self.released.notified();
                tokio::pin!(released);
                released.as_mut().enable();
                if let Some(guard) = self.try_acquire(kind) {
                    return guard;
                }
                released.await;
            }
        };
        timeout(wait, acquired).await.map_err(|_| {
            let what = match kind {
                LockKind::Shared => "a prune holds it exclusively",
                LockKind::Exclusive => "others hold it",
            };
            let problem = format!("the repository is locked: {what}; waited {wait:?}");
            Error::new(ErrorKind::Locked, problem)
        })
    }

    fn try_acquire(self: &Arc<Self>, kind: LockKind) -> Option<LockGuard> {
        let mut holders = hold(&self.holders);
        match kind {
            _ if holders.exclusive => return None,
            LockKind::Shared => holders.shared += 1,
            LockKind::Exclusive if holders.shared > 0 => return None,
            LockKind::Exclusive => holders.exclusive = true,
        }
        let lock = Arc::clone(self);
        Some(LockGuard::new(kind, Held { lock, kind }))
    }

    pub(super) fn is_exclusive(&self) -> bool {
        hold(&self.holders).exclusive
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut holders = hold(&self.lock.holders);
        match self.kind {
            LockKind::Shared => holders.shared -= 1,
            LockKind::Exclusive => holders.exclusive = false,
        }
        self.lock.released.notify_waiters();
    }
}
