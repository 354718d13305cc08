//! The bytes of an answer, watched: in time, whole, and no more than was announced.

use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use tokio::time::Instant;
use treeferry_core::{Error, Result, Subject};

use crate::failure;
use crate::options::{HttpOptions, LowSpeed};

/// The limits on waiting of one request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    stall: Duration,
    deadline: Option<(Instant, u64)>,
    low_speed: Option<LowSpeed>,
}

impl Patience {
    /// Starts to count.
    pub(crate) fn start(options: &HttpOptions) -> Self {
        // A limit so far off that it cannot be counted to is none.
        let deadline = options.total_timeout_ms.and_then(|ms| {
            let at = Instant::now().checked_add(Duration::from_millis(ms))?;
            Some((at, ms))
        });
        // Nothing at all for a whole window is too slow as well.
        let window_ms = match options.low_speed {
            Some(limit) if limit.bytes_per_second > 0 => limit.window_ms,
            _ => u64::MAX,
        };
        Self {
            stall: Duration::from_millis(options.stall_timeout_ms.min(window_ms)),
            deadline,
            low_speed: options.low_speed,
        }
    }

    /// Waits for `event`, as long as one wait may take and `extra` more.
    pub(crate) async fn wait<T>(
        &self,
        extra: Duration,
        what: &str,
        event: impl Future<Output = T>,
    ) -> Result<T> {
        let limit = self.stall.saturating_add(extra);
        let left = self
            .deadline
            .map(|(at, _)| at.saturating_duration_since(Instant::now()));
        let wait = left.map_or(limit, |left| left.min(limit));
        tokio::time::timeout(wait, event)
            .await
            .map_err(|_| match self.deadline {
                Some((at, total_ms)) if at <= Instant::now() => {
                    failure::of_wait(format!("took longer than {total_ms} ms in all"))
                }
                _ => failure::of_wait(format!("{what} for {} ms", limit.as_millis())),
            })
    }
}

/// What the bytes of an answer must be.
#[derive(Debug)]
pub(crate) struct Expected {
    /// Where in the file they start.
    pub(crate) offset: u64,
    /// How many come, if that is known.
    pub(crate) body_bytes: Option<u64>,
    /// The longest that the file may be.
    pub(crate) bytes_max: Option<u64>,
    /// What errors are about.
    pub(crate) subject: Subject,
}

/// Returns the bytes of `response` as a stream that cannot hang, and does not end early in silence.
pub(crate) fn watch(
    response: reqwest::Response,
    patience: Patience,
    expected: Expected,
) -> BoxStream<'static, Result<Bytes>> {
    let watched = Watched {
        bytes: response.bytes_stream().boxed(),
        pace: Pace::new(patience.low_speed),
        patience,
        received_bytes: 0,
        expected,
    };
    futures::stream::try_unfold(watched, |mut watched| async move {
        match watched.next().await {
            Ok(Some(chunk)) => Ok(Some((chunk, watched))),
            Ok(None) => Ok(None),
            Err(error) => Err(error.about(watched.expected.subject)),
        }
    })
    .boxed()
}

struct Watched<S> {
    bytes: S,
    patience: Patience,
    pace: Pace,
    received_bytes: u64,
    expected: Expected,
}

impl<S> Watched<S>
where
    S: Stream<Item = reqwest::Result<Bytes>> + Send + Unpin,
{
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let started = Instant::now();
            let received = self.received_bytes;
            let next = self.bytes.next();
            let chunk = self
                .patience
                .wait(Duration::ZERO, "no byte came", next)
                .await?;
            match chunk {
                None => return self.finish().map(|()| None),
                Some(Err(error)) => return Err(failure::of_body(error, received)),
                Some(Ok(chunk)) if chunk.is_empty() => {}
                Some(Ok(chunk)) => {
                    self.receive(chunk.len() as u64, started.elapsed())?;
                    return Ok(Some(chunk));
                }
            }
        }
    }

    fn receive(&mut self, chunk_bytes: u64, waited: Duration) -> Result<()> {
        self.received_bytes = self.received_bytes.saturating_add(chunk_bytes);
        let position = self.expected.offset.saturating_add(self.received_bytes);
        if let Some(limit) = self.expected.bytes_max.filter(|limit| position > *limit) {
            return Err(over_limit(None, limit));
        }
        if let Some(body_bytes) = self
            .expected
            .body_bytes
            .filter(|n| self.received_bytes > *n)
        {
            let problem = format!("sends more than the {body_bytes} bytes that it announced");
            return Err(Error::corrupt(problem));
        }
        self.pace.count(chunk_bytes, waited)
    }

    fn finish(&self) -> Result<()> {
        match self.expected.body_bytes {
            Some(announced) if announced != self.received_bytes => {
                let received = self.received_bytes;
                let problem = format!("stops after {received} of {announced} bytes");
                Err(failure::of_wait(problem))
            }
            _ => Ok(()),
        }
    }
}

/// Returns the error of a file that is too long.
pub(crate) fn over_limit(file_bytes: Option<u64>, limit_bytes: u64) -> Error {
    Error::corrupt(match file_bytes {
        Some(bytes) => format!("is {bytes} bytes long, over the limit of {limit_bytes} bytes"),
        None => format!("is longer than the limit of {limit_bytes} bytes"),
    })
}

/// How fast bytes come, counting only the time that was spent waiting for them.
struct Pace {
    limit: Option<LowSpeed>,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    fn new(limit: Option<LowSpeed>) -> Self {
        Self {
            limit,
            waited: Duration::ZERO,
            bytes: 0,
        }
    }

    fn count(&mut self, bytes: u64, waited: Duration) -> Result<()> {
        let Some(limit) = self.limit else {
            return Ok(());
        };
        self.bytes = self.bytes.saturating_add(bytes);
        self.waited += waited;
        if self.waited < Duration::from_millis(limit.window_ms) {
            return Ok(());
        }
        let wanted = u128::from(limit.bytes_per_second) * self.waited.as_millis() / 1000;
        if u128::from(self.bytes) < wanted {
            let problem = format!(
                "is too slow: {} bytes came in {} ms, fewer than {} a second",
                self.bytes,
                self.waited.as_millis(),
                limit.bytes_per_second
            );
            return Err(failure::of_wait(problem));
        }
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_below_the_limit_over_a_whole_window_is_too_slow() {
        let limit = LowSpeed {
            bytes_per_second: 100,
            window_ms: 1000,
        };
        let half = Duration::from_millis(500);
        let mut pace = Pace::new(Some(limit));
        for _ in 0..100 {
            pace.count(50, half).unwrap();
        }
        pace.count(1, half).unwrap();
        assert!(
            pace.count(1, half)
                .unwrap_err()
                .to_string()
                .contains("too slow")
        );
        let mut unlimited = Pace::new(None);
        unlimited.count(0, Duration::from_secs(1_000_000)).unwrap();
    }
}
