//! Where CPU and disk work goes, so that no runtime thread blocks.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::error::{Error, ErrorKind, Result};

/// A bound on how many blocking jobs run at once. Clones share the bound.
///
/// A job is a large step (a group of files, not one small file). Dropping the future that waits for
/// it does not stop a job: what it works on it must own.
#[derive(Debug, Clone)]
pub struct Pool {
    permits: Arc<Semaphore>,
    width: usize,
}

impl Pool {
    /// Creates a pool that runs up to `width` jobs at once.
    pub fn new(width: usize) -> Self {
        let width = width.clamp(1, 64);
        Self {
            permits: Arc::new(Semaphore::new(width)),
            width,
        }
    }

    /// Returns how many jobs run at once.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Runs `job` on a blocking thread of the current tokio runtime, when its turn comes.
    pub async fn run<T, F>(&self, job: F) -> Result<T>
    where
        F: FnOnce() -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let cancelled = || Error::new(ErrorKind::Cancelled, "the runtime is shutting down");
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(|_| cancelled())?;
        let handle = tokio::task::spawn_blocking(move || {
            let result = job();
            drop(permit);
            result
        });
        match handle.await {
            Ok(result) => result,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(cancelled()),
        }
    }
}

/// Drops a value whose dropping blocks, such as one that removes files, off the runtime's threads.
///
/// Outside of a runtime it is dropped here; so it is by a runtime that ends before its turn comes.
pub fn drop_elsewhere(value: impl Send + 'static) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn_blocking(move || drop(value));
    }
}

impl Default for Pool {
    /// Creates a pool as wide as the machine has cores.
    fn default() -> Self {
        Self::new(std::thread::available_parallelism().map_or(2, usize::from))
    }
}
