//! The bytes of an object on their way from a source. Not verified: see [`Incoming`](super::Incoming).

use std::fmt::{self, Debug};
use std::io::{self, Read};

use bytes::{Buf, Bytes};
use futures::StreamExt;
use futures::stream::BoxStream;

use super::{LocalContent, LocalFile, LocalObject};
use crate::error::Result;
use crate::format::FileHeader;

/// The bytes of an object, in the encoding in which the source has them.
#[derive(Debug)]
pub enum Body {
    /// A metadata object, whole.
    Metadata(Payload),
    /// A file object: its header, then its content.
    File {
        /// The header.
        header: FileHeader,
        /// How long the content is.
        content_bytes: u64,
        /// The content.
        content: Payload,
    },
    /// A file object in the `.filez` framing, header included.
    Filez {
        /// How long that is, if known.
        stored_bytes: Option<u64>,
        /// Header and deflated content.
        payload: Payload,
    },
}

impl From<LocalObject> for Body {
    fn from(object: LocalObject) -> Self {
        match object.content {
            LocalContent::None => Self::File {
                header: object.header,
                content_bytes: 0,
                content: Payload::Bytes(Bytes::new()),
            },
            LocalContent::Plain(file) => Self::File {
                header: object.header,
                content_bytes: object.content_bytes,
                content: Payload::Local(file),
            },
            LocalContent::Filez(file) => Self::Filez {
                stored_bytes: None,
                payload: Payload::Local(file),
            },
        }
    }
}

/// Bytes, in one of the shapes in which sources have them.
pub enum Payload {
    /// At hand.
    Bytes(Bytes),
    /// Arriving.
    Stream(BoxStream<'static, Result<Bytes>>),
    /// Read by blocking calls, on the blocking pool only.
    Reader(Box<dyn Read + Send>),
    /// A plain file on this machine, not yet opened.
    Local(LocalFile),
}

impl Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bytes(_) => "Bytes",
            Self::Stream(_) => "Stream",
            Self::Reader(_) => "Reader",
            Self::Local(_) => "Local",
        })
    }
}

impl Payload {
    /// Returns the bytes as a reader. **Blocking** to read: for the blocking pool.
    pub fn into_reader(self) -> Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::Bytes(bytes) => Box::new(bytes.reader()),
            Self::Stream(stream) => Box::new(StreamReader {
                stream,
                chunk: Bytes::new(),
            }),
            Self::Reader(reader) => reader,
            Self::Local(file) => Box::new(file.open()?),
        })
    }
}

struct StreamReader {
    stream: BoxStream<'static, Result<Bytes>>,
    chunk: Bytes,
}

impl Read for StreamReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match futures::executor::block_on(self.stream.next()) {
                Some(chunk) => self.chunk = chunk?,
                None => return Ok(0),
            }
        }
        let n = self.chunk.len().min(out.len());
        self.chunk.copy_to_slice(&mut out[..n]);
        Ok(n)
    }
}
