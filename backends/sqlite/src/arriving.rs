//! An object that is being read, verified, and cut into chunks.
//!
//! Content is kept in the framing of archives. Deflated bytes that come from an archive, a bucket or
//! another such file are kept as they come and go on to the next as they are, a file of trees is about
//! half as long, and the cost, to inflate for a checkout, is small beside that of the disk. Kept as
//! hashed, every exchange with what treeferry replicates to would deflate again, some 70 MB/s a core.

use std::io::Read;

use bytes::Bytes;
use treeferry_core::codec::Codec;
use treeferry_core::error::{Error, Result, from_read};
use treeferry_core::format::ObjectName;
use treeferry_core::store::{FilezReader, Incoming};

use crate::body::CHUNK_BYTES;
use crate::staging::Verified;

/// How many chunks are read before they are written.
const STEP_CHUNKS: usize = 2;

/// An object under way. **Blocking** to step.
pub(crate) enum Arriving {
    /// Content, in the framing of archives.
    Filez(Box<FilezReader>),
    /// A metadata object, whole.
    Metadata(ObjectName, Bytes),
    /// Nothing more.
    Taken,
}

/// Some chunks of an object, and with the last of them what it is.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) chunks: Vec<Bytes>,
    pub(crate) end: Option<Verified>,
}

impl Arriving {
    /// Opens an object. **Blocking.**
    pub(crate) fn open(incoming: Incoming, codec: &dyn Codec, level: u8) -> Result<Self> {
        if incoming.object_type().is_metadata() {
            let (name, bytes) = incoming.into_metadata()?;
            return Ok(Self::Metadata(name, bytes));
        }
        Ok(Self::Filez(Box::new(incoming.into_filez(codec, level)?)))
    }

    /// Moves the rest of it out.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Taken)
    }

    /// Reads on. What came earlier is nothing as long as no step with an end came.
    pub(crate) fn step(&mut self) -> Result<Step> {
        match self {
            Self::Filez(reader) => read_step(reader),
            Self::Metadata(name, bytes) => {
                let length = bytes.len() as u64;
                let end = Verified {
                    name: *name,
                    stored_bytes: length,
                    unpacked_bytes: length,
                };
                let mut chunks = Vec::new();
                while !bytes.is_empty() {
                    chunks.push(bytes.split_to(bytes.len().min(CHUNK_BYTES)));
                }
                Ok(Step {
                    chunks,
                    end: Some(end),
                })
            }
            Self::Taken => Err(Error::invalid("was read by somebody else")),
        }
    }

    /// Reads all of a small object.
    pub(crate) fn whole(mut self) -> Result<(Verified, Vec<Bytes>)> {
        let mut chunks = Vec::new();
        loop {
            let step = self.step()?;
            chunks.extend(step.chunks);
            if let Some(end) = step.end {
                return Ok((end, chunks));
            }
        }
    }
}

fn read_step(reader: &mut FilezReader) -> Result<Step> {
    let mut chunks = Vec::new();
    while chunks.len() < STEP_CHUNKS {
        let mut chunk = Vec::new();
        let read = reader
            .by_ref()
            .take(CHUNK_BYTES as u64)
            .read_to_end(&mut chunk);
        read.map_err(|e| from_read("cannot be read", e))?;
        let ended = chunk.len() < CHUNK_BYTES;
        if !chunk.is_empty() {
            chunks.push(chunk.into());
        }
        if ended {
            return Ok(Step {
                chunks,
                end: Some(verified(reader)?),
            });
        }
    }
    Ok(Step { chunks, end: None })
}

fn verified(reader: &FilezReader) -> Result<Verified> {
    let unread = || Error::corrupt("was not read to its end");
    Ok(Verified {
        name: ObjectName::file(reader.checksum().ok_or_else(unread)?),
        stored_bytes: reader.stored_bytes(),
        unpacked_bytes: reader.content_bytes(),
    })
}
