//! Bytes that come wrong, and listings.

use std::io::Read;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use treeferry_core::Result;
use treeferry_core::store::{Body, Payload};
use treeferry_core::transport::FetchedFile;

use super::{Fault, Faults, can, unavailable};

/// Faults come within so many bytes of the beginning, so that small files are hit as well.
const WITHIN_BYTES: u64 = 8192;

type Pieces = BoxStream<'static, Result<Bytes>>;

/// Makes the bytes of a stream wrong.
pub(super) fn pieces(pieces: Pieces, fault: Fault, faults: &Arc<Faults>) -> Pieces {
    match fault {
        Fault::Truncate => truncated(pieces, faults),
        Fault::Corrupt | Fault::Duplicate | Fault::Reorder => {
            let faults = Arc::clone(faults);
            let mut done = false;
            let wrong = pieces.map(move |piece| match piece {
                Ok(piece) if !done && !piece.is_empty() => {
                    done = true;
                    Ok(spoiled(&piece, fault, &faults))
                }
                other => other,
            });
            wrong.boxed()
        }
        Fault::FalseTimeout | Fault::Fail => {
            let broken = stream::once(async { Err(unavailable()) });
            truncated(pieces, faults).chain(broken).boxed()
        }
        Fault::Stall => {
            let late = tokio::time::sleep(faults.stall_time());
            stream::once(late)
                .filter_map(async |()| None)
                .chain(pieces)
                .boxed()
        }
    }
}

/// Ends a stream within its first bytes.
fn truncated(pieces: Pieces, faults: &Arc<Faults>) -> Pieces {
    let faults = Arc::clone(faults);
    let mut first = pieces.filter(|piece| {
        let empty = piece.as_ref().is_ok_and(Bytes::is_empty);
        std::future::ready(!empty)
    });
    let short = stream::once(async move {
        let piece = first.next().await?;
        Some(piece.map(|piece| {
            let most = faults.random((piece.len() as u64).min(WITHIN_BYTES));
            piece.slice(..most as usize)
        }))
    });
    short.filter_map(std::future::ready).boxed()
}

/// Changes one piece, which is not empty.
fn spoiled(piece: &Bytes, fault: Fault, faults: &Faults) -> Bytes {
    let at = faults.random((piece.len() as u64).min(WITHIN_BYTES)) as usize;
    let mut bytes = BytesMut::from(&piece[..]);
    match fault {
        Fault::Corrupt => bytes[at] ^= 1 << faults.random(8),
        Fault::Duplicate => bytes.extend_from_slice(&piece[at..]),
        // The two halves change places.
        _ => bytes.rotate_left(at.max(1) % piece.len().max(1)),
    }
    bytes.freeze()
}

/// Makes a file that arrives wrong, if it is to be.
pub(super) fn file(
    mut file: FetchedFile,
    fault: Option<Fault>,
    faults: &Arc<Faults>,
) -> FetchedFile {
    if let Some(fault) = fault {
        // Who announced the length would be found out by the count alone.
        if matches!(fault, Fault::Truncate | Fault::Duplicate) {
            file.total_bytes = None;
        }
        file.bytes = pieces(file.bytes, fault, faults);
    }
    file
}

/// Makes an object's body wrong.
pub(super) fn body(body: Body, fault: Fault, faults: &Arc<Faults>) -> Body {
    match body {
        Body::Metadata(bytes) => Body::Metadata(payload(bytes, fault, faults)),
        Body::File {
            header,
            content_bytes,
            content,
        } => {
            let content = payload(content, fault, faults);
            Body::File {
                header,
                content_bytes,
                content,
            }
        }
        Body::Filez {
            stored_bytes,
            payload: bytes,
        } => {
            let payload = payload(bytes, fault, faults);
            Body::Filez {
                stored_bytes,
                payload,
            }
        }
    }
}

fn payload(payload: Payload, fault: Fault, faults: &Arc<Faults>) -> Payload {
    match payload {
        Payload::Bytes(bytes) => {
            let whole = stream::iter([Ok(bytes)]).boxed();
            Payload::Stream(pieces(whole, fault, faults))
        }
        Payload::Stream(stream) => Payload::Stream(pieces(stream, fault, faults)),
        local @ (Payload::Reader(_) | Payload::Local(_)) => match local.into_reader() {
            Ok(inner) => Payload::Reader(Box::new(WrongReader {
                inner,
                left: faults.random(4),
                fault: Some(fault),
            })),
            Err(error) => Payload::Stream(stream::iter([Err(error)]).boxed()),
        },
    }
}

/// A reader whose bytes go wrong after some.
struct WrongReader {
    inner: Box<dyn Read + Send>,
    left: u64,
    /// `None` once it has gone wrong.
    fault: Option<Fault>,
}

impl Read for WrongReader {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let Some(fault) = self.fault else {
            return self.inner.read(out);
        };
        if self.left > 0 || out.is_empty() {
            let most = out.len().min(self.left as usize);
            let n = self.inner.read(&mut out[..most])?;
            self.left = if n == 0 { 0 } else { self.left - n as u64 };
            return Ok(n);
        }
        match fault {
            Fault::Truncate => Ok(0),
            Fault::Fail | Fault::FalseTimeout => Err(unavailable().into()),
            _ => {
                self.fault = None;
                let n = self.inner.read(out)?;
                if let Some(first) = out[..n].first_mut() {
                    *first ^= 1;
                }
                Ok(n)
            }
        }
    }
}

/// Makes a listing wrong, as listings may be: an entry twice, another order, an error at the end.
pub(super) fn list<T: Clone + Send + Sync + 'static>(
    entries: BoxStream<'static, Result<T>>,
    faults: &Arc<Faults>,
) -> BoxStream<'static, Result<T>> {
    let late = tokio::time::sleep(faults.stall_time());
    match faults.next(can::LIST) {
        None => entries,
        Some(Fault::Fail) => stream::iter([Err(unavailable())]).boxed(),
        Some(Fault::Stall) => stream::once(late)
            .filter_map(async |()| None)
            .chain(entries)
            .boxed(),
        Some(Fault::Truncate) => {
            let most = faults.random(4) as usize;
            entries
                .take(most)
                .chain(stream::iter([Err(unavailable())]))
                .boxed()
        }
        Some(Fault::Duplicate) => {
            let twice = entries.enumerate().flat_map(|(i, entry)| {
                let again = match &entry {
                    Ok(entry) if i == 0 => Some(Ok(entry.clone())),
                    _ => None,
                };
                stream::iter([Some(entry), again].into_iter().flatten())
            });
            twice.boxed()
        }
        Some(_) => {
            let backwards = stream::once(async {
                let mut all: Vec<_> = entries.collect().await;
                all.reverse();
                stream::iter(all)
            });
            backwards.flatten().boxed()
        }
    }
}
