//! Where CPU and disk work goes, so that no runtime thread blocks.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinError};

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

    /// Runs `job` on a blocking thread of the current tokio runtime, when its turn comes: whether or not
    /// somebody polls this future then. A turn that nobody takes would be one less for all others, and
    /// whoever waits for those may be the one who should poll.
    pub async fn run<T, F>(&self, job: F) -> Result<T>
    where
        F: FnOnce() -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let permits = Arc::clone(&self.permits);
        let waiting = tokio::spawn(async move {
            let permit = permits.acquire_owned().await.map_err(|_| cancelled())?;
            let handle = tokio::task::spawn_blocking(move || {
                let result = job();
                drop(permit);
                result
            });
            finished(handle.await)
        });
        // What nobody waits for any more, and has not begun, does not begin.
        let _waited_for = AbortOnDrop(waiting.abort_handle());
        finished(waiting.await)
    }
}

fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "the runtime is shutting down")
}

fn finished<T>(outcome: std::result::Result<Result<T>, JoinError>) -> Result<T> {
    match outcome {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(cancelled()),
    }
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_job_whose_future_nobody_polls_holds_up_no_other() {
        let pool = Pool::new(1);
        let slow = || {
            std::thread::sleep(Duration::from_millis(50));
            Ok(())
        };
        let mut first = Box::pin(pool.run(slow));
        let mut second = Box::pin(pool.run(|| Ok(2)));
        // Both are begun, and then waited for by nobody.
        assert!(futures::poll!(&mut first).is_pending());
        assert!(futures::poll!(&mut second).is_pending());
        let third = tokio::time::timeout(Duration::from_secs(60), pool.run(|| Ok(3)));
        assert_eq!(third.await.unwrap().unwrap(), 3);
        assert_eq!(second.await.unwrap(), 2);
        first.await.unwrap();
    }

    #[tokio::test]
    async fn a_job_that_is_given_up_before_its_turn_does_not_run() {
        let pool = Pool::new(1);
        let ran = Arc::new(AtomicBool::new(false));
        let slow = || {
            std::thread::sleep(Duration::from_millis(50));
            Ok(())
        };
        let mut first = Box::pin(pool.run(slow));
        assert!(futures::poll!(&mut first).is_pending());
        let noted = Arc::clone(&ran);
        let mut second = Box::pin(pool.run(move || {
            noted.store(true, Ordering::SeqCst);
            Ok(())
        }));
        assert!(futures::poll!(&mut second).is_pending());
        drop(second);
        first.await.unwrap();
        pool.run(|| Ok(())).await.unwrap();
        assert!(!ran.load(Ordering::SeqCst));
    }
}
