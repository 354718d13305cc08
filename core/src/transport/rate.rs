//! A transport that moves no more bytes a second than it is allowed.

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt};
use tokio::time::{Instant, sleep_until};

use super::{
    FetchOptions, Fetched, ListedFile, Precondition, PutAnswer, PutBody, RemotePath, Transport,
    WritableTransport,
};
use crate::error::Result;

/// How many bytes may move in a second. Clones share it: what they move counts together.
#[derive(Debug, Clone)]
pub struct Rate {
    bytes_per_second: NonZeroU64,
    /// When what was moved so far is paid for.
    paid: Arc<Mutex<Option<Instant>>>,
}

impl Rate {
    /// Creates a rate that nothing was moved at yet.
    pub fn new(bytes_per_second: NonZeroU64) -> Self {
        Self {
            bytes_per_second,
            paid: Arc::default(),
        }
    }

    /// Returns the rate, bytes a second.
    pub fn bytes_per_second(&self) -> NonZeroU64 {
        self.bytes_per_second
    }

    /// Waits for as long as so many bytes, and those before them, take.
    async fn pay(&self, bytes: u64) {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second.get());
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let now = Instant::now();
        let until = {
            // No holder leaves anything half changed, so a panic elsewhere does not matter.
            let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
            // What was not used up is not saved for later.
            let until = paid.map_or(now, |paid| paid.max(now)).checked_add(cost);
            let until = until.unwrap_or(now);
            *paid = Some(until);
            until
        };
        sleep_until(until).await;
    }
}

/// A transport below a [`Rate`]: content both ways counts, requests and listings do not.
///
/// What arrives is passed on as fast as it is paid for, so that the other side is held back. What is
/// sent is paid for before it is handed on, piece by piece if it is a stream: a transport that sends
/// a file whole sends it at once, after waiting for as long as it may take.
#[derive(Debug, Clone)]
pub struct RateLimited<T> {
    inner: T,
    rate: Option<Rate>,
}

impl<T> RateLimited<T> {
    /// Puts `inner` below `rate`; `None`: it is as fast as it is.
    pub fn new(inner: T, rate: Option<Rate>) -> Self {
        Self { inner, rate }
    }

    /// Returns what is below the rate.
    pub fn inner(&self) -> &T {
        &self.inner
    }
}

fn paced<T: Send + 'static>(
    pieces: BoxStream<'static, Result<T>>,
    rate: Rate,
    length: fn(&T) -> usize,
) -> BoxStream<'static, Result<T>> {
    let paced = pieces.then(move |piece| {
        let rate = rate.clone();
        async move {
            if let Ok(piece) = &piece {
                rate.pay(length(piece) as u64).await;
            }
            piece
        }
    });
    paced.boxed()
}

#[async_trait]
impl<T: Transport> Transport for RateLimited<T> {
    fn describe(&self, path: &RemotePath) -> String {
        self.inner.describe(path)
    }

    fn origin(&self) -> &str {
        self.inner.origin()
    }

    async fn fetch(&self, path: &RemotePath, options: FetchOptions) -> Result<Option<Fetched>> {
        let fetched = self.inner.fetch(path, options).await?;
        Ok(match (fetched, &self.rate) {
            (Some(Fetched::File(mut file)), Some(rate)) => {
                file.bytes = paced(file.bytes, rate.clone(), |piece| piece.len());
                Some(Fetched::File(file))
            }
            (fetched, _) => fetched,
        })
    }
}

#[async_trait]
impl<T: WritableTransport> WritableTransport for RateLimited<T> {
    async fn put(
        &self,
        path: &RemotePath,
        precondition: Precondition,
        body: PutBody,
    ) -> Result<PutAnswer> {
        let body = match (&self.rate, body) {
            (None, body) => body,
            (Some(rate), PutBody::Bytes(bytes)) => {
                rate.pay(bytes.len() as u64).await;
                PutBody::Bytes(bytes)
            }
            (Some(rate), PutBody::Stream { total_bytes, bytes }) => PutBody::Stream {
                total_bytes,
                bytes: paced(bytes, rate.clone(), |piece| piece.len()),
            },
        };
        self.inner.put(path, precondition, body).await
    }

    async fn delete(&self, paths: &[RemotePath]) -> Result<()> {
        self.inner.delete(paths).await
    }

    fn list(&self, prefix: &str) -> BoxStream<'static, Result<ListedFile>> {
        self.inner.list(prefix)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::future::join_all;

    use super::*;
    use crate::transport::{MemoryTransport, MemoryTransportOptions};

    const KIB: u64 = 1024;

    fn limited(kib_per_second: u64) -> RateLimited<MemoryTransport> {
        let rate = NonZeroU64::new(kib_per_second * KIB).map(Rate::new);
        RateLimited::new(
            MemoryTransport::new(MemoryTransportOptions::default()),
            rate,
        )
    }

    async fn put(files: &RateLimited<MemoryTransport>, name: &str, kib: usize) {
        let path = RemotePath::new(name).unwrap();
        let body = PutBody::Bytes(Bytes::from(vec![7; kib * 1024]));
        files.put(&path, Precondition::None, body).await.unwrap();
    }

    async fn get(files: &RateLimited<MemoryTransport>, name: &str) -> u64 {
        let path = RemotePath::new(name).unwrap();
        let fetched = files.fetch(&path, FetchOptions::default()).await.unwrap();
        let Some(Fetched::File(file)) = fetched else {
            panic!("{name} is not there");
        };
        file.collect(u64::MAX).await.unwrap().len() as u64
    }

    /// On a clock that stands still while anything is done, and is counted in milliseconds.
    fn took(begun: Instant, expected: Duration) {
        let took = begun.elapsed();
        assert_eq!(took.as_millis(), expected.as_millis());
    }

    #[tokio::test(start_paused = true)]
    async fn all_that_moves_at_once_shares_the_rate() {
        let files = limited(2000);
        let begun = Instant::now();
        let names = ["a", "b", "c", "d"];
        join_all(names.iter().map(|name| put(&files, name, 200))).await;
        took(begun, Duration::from_millis(400));
        let begun = Instant::now();
        let got = join_all(names.iter().map(|name| get(&files, name))).await;
        assert_eq!(got, [200 * KIB; 4]);
        took(begun, Duration::from_millis(400));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_is_paced_and_a_pause_is_not_made_up_for() {
        let files = limited(100);
        let pieces = (0..20).map(|_| Ok(Bytes::from(vec![1; 1024])));
        let body = PutBody::Stream {
            total_bytes: 20 * KIB,
            bytes: futures::stream::iter(pieces).boxed(),
        };
        let begun = Instant::now();
        let path = RemotePath::new("stream").unwrap();
        files.put(&path, Precondition::None, body).await.unwrap();
        took(begun, Duration::from_millis(200));
        tokio::time::sleep(Duration::from_millis(500)).await;
        let begun = Instant::now();
        assert_eq!(get(&files, "stream").await, 20 * KIB);
        took(begun, Duration::from_millis(200));
    }
}
