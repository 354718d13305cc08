//! What a long operation is doing, as a stream that nobody has to listen to.

use futures::Stream;
use tokio::sync::watch;

/// What an operation tells about itself. Clones report to the same listener.
#[derive(Debug, Clone, Default)]
pub struct Progress(Option<watch::Sender<Snapshot>>);

/// Where an operation stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// What it is doing.
    pub phase: Phase,
    /// Commits, dirtrees and dirmetas.
    pub metadata: Count,
    /// Files and symbolic links.
    pub content: Count,
    /// Bytes that came over the transport.
    pub transferred: Amount,
    /// Bytes of objects that the destination took.
    pub written: Amount,
    /// How many requests were tried again.
    pub retries: u64,
}

/// A step of an operation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// Finding out what is wanted.
    #[default]
    Resolving,
    /// Moving objects; which there are is still being found out.
    Scanning,
    /// Moving objects; all are known.
    Transferring,
    /// Reading objects to see whether they are what they should be.
    Verifying,
    /// Making them durable and visible.
    Committing,
    /// Done.
    Done,
}

/// Objects done, of how many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// How many were transferred.
    pub done: u64,
    /// How many are to be transferred, as far as is known.
    pub total: u64,
    /// Whether `total` can still grow.
    pub certainty: Certainty,
}

/// Bytes done, of how many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many bytes were transferred.
    pub done_bytes: u64,
    /// How many there are to transfer, if anything is known about that.
    pub total_bytes: Option<u64>,
    /// How `total_bytes` is known.
    pub certainty: Certainty,
}

/// How a total is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Certainty {
    /// It is exact.
    Exact,
    /// It was estimated from the average of what was transferred so far.
    #[default]
    Estimated,
}

impl Progress {
    /// Creates a reporter and the stream of what it reports.
    ///
    /// A slow listener misses intermediate states, never the last one.
    pub fn channel() -> (Self, impl Stream<Item = Snapshot> + Send + Unpin) {
        let (sender, receiver) = watch::channel(Snapshot::default());
        let stream = futures::stream::unfold(receiver, |mut receiver| async move {
            receiver.changed().await.ok()?;
            let snapshot = receiver.borrow_and_update().clone();
            Some((snapshot, receiver))
        });
        (Self(Some(sender)), Box::pin(stream))
    }

    /// Changes what is reported.
    pub fn update(&self, change: impl FnOnce(&mut Snapshot)) {
        if let Some(sender) = &self.0 {
            sender.send_modify(change);
        }
    }
}
