//! Wrappers that make a store or a transport fail, by a seed.
//!
//! What goes wrong is what goes wrong outside: an operation fails, stalls, or succeeds and is
//! reported as timed out; bytes are cut short, changed, repeated or out of order. The same seed
//! with the same calls injects the same faults. Wrapped and with no faults, a place passes every
//! suite that it passes by itself.
//!
//! ```
//! use std::sync::Arc;
//! use treeferry_conformance::faults::{Fault, Faults, FaultyStore};
//! use treeferry_core::store::MemoryStore;
//!
//! let faults = Arc::new(Faults::seeded(7).one_in(Fault::Fail, 20).one_in(Fault::FalseTimeout, 50));
//! let store = FaultyStore::new(MemoryStore::default(), Arc::clone(&faults));
//! # drop(store);
//! assert_eq!(faults.injected(Fault::Fail), 0);
//! ```

mod bytes;
mod store;
mod transport;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use treeferry_core::{Error, ErrorKind, Result};

pub use store::FaultyStore;
pub use transport::FaultyTransport;

/// What can go wrong with one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// It fails as unavailable, and nothing happens.
    Fail,
    /// It happens late.
    Stall,
    /// Bytes end too soon, without an error; a listing ends with one.
    Truncate,
    /// One bit of the bytes is another.
    Corrupt,
    /// Some bytes, or an entry, come twice; a change is made twice, and the second is answered.
    Duplicate,
    /// Bytes, or entries, come in another order; objects are put in another order.
    Reorder,
    /// It succeeds, and is reported as timed out: whether it happened is not known.
    FalseTimeout,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Fail,
        Self::Stall,
        Self::Truncate,
        Self::Corrupt,
        Self::Duplicate,
        Self::Reorder,
        Self::FalseTimeout,
    ];
}

/// Which operations can go wrong in which ways.
pub(crate) mod can {
    use super::Fault;

    /// Something is asked.
    pub(crate) const ASK: &[Fault] = &[Fault::Fail, Fault::Stall];
    /// Something is changed.
    pub(crate) const CHANGE: &[Fault] = &[
        Fault::Fail,
        Fault::Stall,
        Fault::Duplicate,
        Fault::FalseTimeout,
    ];
    /// Something is changed that cannot be changed twice.
    pub(crate) const CHANGE_ONCE: &[Fault] = &[Fault::Fail, Fault::Stall, Fault::FalseTimeout];
    /// Bytes are read.
    pub(crate) const READ: &[Fault] = &Fault::ALL;
    /// Bytes are read, and come right if they come.
    pub(crate) const READ_RIGHT: &[Fault] = &[Fault::Fail, Fault::Stall, Fault::FalseTimeout];
    /// Something is listed.
    pub(crate) const LIST: &[Fault] = &[
        Fault::Fail,
        Fault::Stall,
        Fault::Truncate,
        Fault::Duplicate,
        Fault::Reorder,
    ];
    /// Objects are put.
    pub(crate) const PUT: &[Fault] = &[
        Fault::Fail,
        Fault::Stall,
        Fault::Reorder,
        Fault::FalseTimeout,
    ];
}

/// Which faults are injected how often. Shared by all wrappers that are to follow one seed.
#[derive(Debug)]
pub struct Faults {
    random: Mutex<u64>,
    /// In one of how many operations that can go wrong so; 0 is never.
    one_in: [u32; Fault::ALL.len()],
    stall: Duration,
    injected: [AtomicU64; Fault::ALL.len()],
    paused: AtomicBool,
}

impl Faults {
    /// Creates a plan without faults; `seed` decides where those that are added are injected.
    pub fn seeded(seed: u64) -> Self {
        Self {
            // Never 0, from where the generator does not move.
            random: Mutex::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            one_in: [0; Fault::ALL.len()],
            stall: Duration::from_millis(20),
            injected: Default::default(),
            paused: AtomicBool::new(false),
        }
    }

    /// Creates a plan with each fault in one of `operations`.
    pub fn of_all_kinds(seed: u64, operations: u32) -> Self {
        let plan = Self::seeded(seed);
        Fault::ALL
            .into_iter()
            .fold(plan, |plan, fault| plan.one_in(fault, operations))
    }

    /// Sets in one of how many `operations` that can go wrong so a fault is injected; 0: never.
    #[must_use]
    pub fn one_in(mut self, fault: Fault, operations: u32) -> Self {
        self.one_in[fault as usize] = operations;
        self
    }

    /// Sets how long what stalls is late; 20 ms if not set.
    #[must_use]
    pub fn stall(mut self, stall: Duration) -> Self {
        self.stall = stall;
        self
    }

    /// Stops injecting faults.
    pub fn pause(&self) {
        self.paused.store(true, Ordering::SeqCst);
    }

    /// Injects faults again.
    pub fn resume(&self) {
        self.paused.store(false, Ordering::SeqCst);
    }

    /// Returns how often a fault was injected.
    pub fn injected(&self, fault: Fault) -> u64 {
        self.injected[fault as usize].load(Ordering::SeqCst)
    }

    /// Returns a random number below `end`, which is not 0.
    pub(crate) fn random(&self, end: u64) -> u64 {
        let mut state = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 11) % end
    }

    /// Decides what goes wrong with an operation.
    pub(crate) fn next(&self, can: &[Fault]) -> Option<Fault> {
        if self.paused.load(Ordering::SeqCst) {
            return None;
        }
        let wrong = can.iter().copied().find(|fault| {
            let one_in = self.one_in[*fault as usize];
            one_in > 0 && self.random(u64::from(one_in)) == 0
        })?;
        self.injected[wrong as usize].fetch_add(1, Ordering::SeqCst);
        Some(wrong)
    }

    /// Decides what goes wrong, fails if that is to fail, and stalls if it is to stall.
    pub(crate) async fn before(&self, can: &[Fault]) -> Result<Option<Fault>> {
        match self.next(can) {
            Some(Fault::Fail) => Err(unavailable()),
            Some(Fault::Stall) => {
                tokio::time::sleep(self.stall).await;
                Ok(None)
            }
            other => Ok(other),
        }
    }

    /// Returns how long what stalls is late.
    pub(crate) fn stall_time(&self) -> Duration {
        self.stall
    }
}

/// The error of what did not happen.
pub(crate) fn unavailable() -> Error {
    let kind = ErrorKind::Unavailable { retry_after: None };
    Error::new(kind, "an injected fault: it did not work")
}

/// The error of what happened all the same.
pub(crate) fn timed_out() -> Error {
    Error::new(
        ErrorKind::Indeterminate,
        "an injected fault: no answer came in time",
    )
}

/// Makes a change, perhaps twice, and perhaps hides that it was made.
macro_rules! change {
    ($faults:expr, $change:expr) => {
        match $faults.before($crate::faults::can::CHANGE).await? {
            Some($crate::faults::Fault::Duplicate) => {
                $change.await?;
                $change.await
            }
            Some($crate::faults::Fault::FalseTimeout) => {
                $change.await?;
                Err($crate::faults::timed_out())
            }
            _ => $change.await,
        }
    };
}
pub(crate) use change;
