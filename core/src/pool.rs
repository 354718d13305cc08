//! Where CPU and disk work goes, so that no runtime thread blocks.

use std::collections::VecDeque;
use std::fmt::{self, Debug};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::error::{Error, ErrorKind, Result};

/// A bound on how many blocking jobs run at once. Clones share the bound.
///
/// Jobs wait in one queue, and a thread that has done one takes the next: what comes in crowds, as small
/// files do, costs no change of threads each. Dropping the future that waits for a job does not stop it
/// once it runs: what it works on it must own.
///
/// A pool serves one runtime at a time: where a runtime ends before it began to work on the queue, what waits
/// is cancelled.
#[derive(Debug, Clone)]
pub struct Pool(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    width: usize,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Job>,
    /// Threads that take from the queue, or are about to.
    workers: usize,
}

type Job = Box<dyn FnOnce() + Send>;

impl Pool {
    /// Creates a pool that runs up to `width` jobs at once.
    pub fn new(width: usize) -> Self {
        Self(Arc::new(Shared {
            queue: Mutex::default(),
            width: width.clamp(1, 64),
        }))
    }

    /// Returns how many jobs run at once.
    pub fn width(&self) -> usize {
        self.0.width
    }

    /// Runs `job` on a blocking thread of the current tokio runtime, when its turn comes: whether or not
    /// somebody polls this future then. A turn that nobody takes would be one less for all others, and
    /// whoever waits for those may be the one who should poll.
    pub async fn run<T, F>(&self, job: F) -> Result<T>
    where
        F: FnOnce() -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        self.submit(Box::new(move || {
            // What nobody waits for any more, and has not begun, does not begin.
            if !answer.is_closed() {
                let _ = answer.send(catch_unwind(AssertUnwindSafe(job)));
            }
        }));
        match answered.await {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => resume_unwind(panic),
            Err(_) => Err(cancelled()),
        }
    }

    fn submit(&self, job: Job) {
        let mut queue = self.0.queue();
        queue.waiting.push_back(job);
        if queue.workers == self.0.width {
            return;
        }
        queue.workers += 1;
        drop(queue);
        let worker = Worker(Some(Arc::clone(&self.0)));
        tokio::task::spawn_blocking(move || worker.work());
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics while it is held.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queue = self.queue();
        f.debug_struct("Shared")
            .field("width", &self.width)
            .field("workers", &queue.workers)
            .field("waiting", &queue.waiting.len())
            .finish()
    }
}

/// A thread that does jobs until none waits; `None` once it has left.
struct Worker(Option<Arc<Shared>>);

impl Worker {
    fn work(mut self) {
        while let Some(job) = self.next() {
            job();
        }
    }

    /// Takes the next job, or leaves.
    fn next(&mut self) -> Option<Job> {
        let mut queue = self.0.as_ref()?.queue();
        let job = queue.waiting.pop_front();
        if job.is_none() {
            queue.workers -= 1;
            drop(queue);
            self.0 = None;
        }
        job
    }
}

impl Drop for Worker {
    /// A runtime that ends drops the threads that it has not begun; what waited for the last of them is
    /// cancelled.
    fn drop(&mut self) {
        let Some(shared) = self.0.take() else {
            return;
        };
        let mut queue = shared.queue();
        queue.workers -= 1;
        let given_up = match queue.workers {
            0 => std::mem::take(&mut queue.waiting),
            _ => VecDeque::new(),
        };
        drop(queue);
        drop(given_up);
    }
}

fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "the runtime is shutting down")
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
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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

    #[tokio::test]
    async fn no_more_jobs_run_at_once_than_the_pool_is_wide() {
        let pool = Pool::new(3);
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let jobs = (0..200).map(|n| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            pool.run(move || {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_micros(200));
                now.fetch_sub(1, Ordering::SeqCst);
                Ok(n)
            })
        });
        let answers = futures::future::try_join_all(jobs).await.unwrap();
        assert_eq!(answers, (0..200).collect::<Vec<_>>());
        assert_eq!(most.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn a_panic_reaches_who_waits_and_nobody_else() {
        let pool = Pool::new(1);
        let bad = tokio::spawn({
            let pool = pool.clone();
            async move { pool.run(|| -> Result<()> { panic!("as it must") }).await }
        });
        assert!(bad.await.unwrap_err().is_panic());
        assert_eq!(pool.run(|| Ok(5)).await.unwrap(), 5);
    }

    #[test]
    fn a_pool_outlives_a_runtime() {
        let pool = Pool::new(1);
        let runtime = || {
            tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .max_blocking_threads(1)
                .build()
                .unwrap()
        };
        let first = runtime();
        let (begun, was_begun) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        first.block_on(async {
            // Its only thread is taken: the pool's worker waits for it, and ends with the runtime.
            tokio::task::spawn_blocking(move || {
                begun.send(()).unwrap();
                let _ = ended.recv();
            });
            was_begun.recv().unwrap();
            let mut never = Box::pin(pool.run(|| Ok(())));
            assert!(futures::poll!(&mut never).is_pending());
        });
        drop(end);
        first.shutdown_timeout(Duration::from_secs(60));
        let answer = runtime().block_on(async {
            let again = tokio::time::timeout(Duration::from_secs(60), pool.run(|| Ok(7)));
            again.await.unwrap().unwrap()
        });
        assert_eq!(answer, 7);
    }
}
