//! The body of an answer, counted, and logged when it is done or broken off.

use std::fs::File;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use hyper::body::{Body, Frame, SizeHint};
use treeferry_core::Error;
use treeferry_core::pool::Pool;

use super::files;
use super::{RequestLog, Served};

/// How much of a large file is read in one step.
const STEP_BYTES: usize = 256 * 1024;

/// How long a transfer that is to break stands still before: what was sent is to get out first.
const BREAK_AFTER: Duration = Duration::from_millis(50);

/// The body of an answer.
pub(super) struct Content {
    source: Source,
    left_bytes: u64,
    log: Option<(RequestLog, Served)>,
}

/// Where a body comes from.
pub(super) enum Source {
    /// Nowhere: it has none.
    Empty,
    /// Memory.
    Bytes(Bytes),
    /// A file.
    Stream(BoxStream<'static, io::Result<Bytes>>),
}

impl Source {
    /// Returns a source that fails at its end.
    pub(super) fn broken_at_its_end(self) -> Self {
        let sent = match self {
            Self::Empty => futures::stream::empty().boxed(),
            Self::Bytes(bytes) => futures::stream::iter([Ok(bytes)]).boxed(),
            Self::Stream(stream) => stream,
        };
        let broken = futures::stream::once(async {
            tokio::time::sleep(BREAK_AFTER).await;
            Err(io::ErrorKind::UnexpectedEof.into())
        });
        Self::Stream(sent.chain(broken).boxed())
    }
}

impl Content {
    /// Creates a body of `bytes` bytes, whose end is told to `log`.
    pub(super) fn new(source: Source, bytes: u64, log: Option<(RequestLog, Served)>) -> Self {
        Self {
            source,
            left_bytes: bytes,
            log,
        }
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        if let Some((log, served)) = &self.log {
            log(served);
        }
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left_bytes == 0 {
            return Poll::Ready(None);
        }
        let next = match &mut self.source {
            Source::Empty => None,
            Source::Bytes(bytes) => Some(Ok(std::mem::take(bytes))),
            Source::Stream(stream) => ready!(stream.poll_next_unpin(cx)),
        };
        let chunk = match next {
            // The connection is closed then, so that the client sees that bytes are missing.
            None => return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            Some(Ok(chunk)) => chunk,
        };
        let sent = chunk.len() as u64;
        self.left_bytes = self.left_bytes.saturating_sub(sent);
        if let Some((_, served)) = &mut self.log {
            served.bytes_sent += sent;
        }
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.left_bytes == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left_bytes)
    }
}

/// Returns the bytes of `file` from `offset` on, `bytes` of them, read as they are asked for.
pub(super) fn stream(
    file: File,
    offset: u64,
    bytes: u64,
    pool: Pool,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let file = Arc::new(file);
    futures::stream::try_unfold((offset, bytes), move |(offset, left)| {
        let (file, pool) = (Arc::clone(&file), pool.clone());
        async move {
            let step = usize::try_from(left).unwrap_or(STEP_BYTES).min(STEP_BYTES);
            if step == 0 {
                return Ok(None);
            }
            let read = move || {
                files::read_at(&file, offset, step).map_err(|e| Error::io("cannot be read", e))
            };
            let chunk = pool.run(read).await?;
            if chunk.len() < step {
                // It was cut while it was being sent.
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let n = chunk.len() as u64;
            Ok(Some((chunk, (offset + n, left - n))))
        }
    })
}
