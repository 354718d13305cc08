//! Reads an archive on a thread of its own, and hands its entries on.

use std::io::{Cursor, Read};

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::entry::{Entry, Kind, normal, text, without_start};
use super::{PathRename, cpio, tar};
use crate::error::{Error, ErrorKind, Result, from_read};
use crate::format::Xattrs;
use crate::ops::commit::rules::Owned;
use crate::store::Payload;

/// Files up to this length are handed on whole, longer ones in pieces of it.
const CHUNK_BYTES: usize = 256 * 1024;

/// Pieces of a file that are read ahead.
const CHUNKS_AHEAD: usize = 2;

/// Entries that are read ahead.
const ENTRIES_AHEAD: usize = 16;

/// The longest target of a symbolic link, bytes, as Linux has it.
const TARGET_BYTES_MAX: u64 = 4096;

/// Begins to read `reader`; what comes of it, in order, and how the thread ended.
///
/// Not on the pool for blocking work: the thread waits for the store, whose jobs the pool has to run.
pub(super) fn start(
    reader: Box<dyn Read + Send>,
    rename: Option<PathRename>,
) -> (mpsc::Receiver<Entry>, JoinHandle<Result<()>>) {
    let (out, entries) = mpsc::channel(ENTRIES_AHEAD);
    let sink = Sink { out, rename };
    let thread = tokio::task::spawn_blocking(move || read(reader, &sink));
    (entries, thread)
}

fn read(mut reader: Box<dyn Read + Send>, sink: &Sink) -> Result<()> {
    let mut start = Vec::new();
    reader
        .by_ref()
        .take(6)
        .read_to_end(&mut start)
        .map_err(|e| from_read("cannot be read", e))?;
    let (is_new_cpio, is_old_cpio) = (
        matches!(&start[..], b"070701" | b"070702"),
        start == b"070707",
    );
    let packed = packed_with(&start);
    let reader = Cursor::new(start).chain(reader);
    match packed {
        Some(packer) => Err(Error::invalid(format!("is compressed with {packer}"))),
        None if is_new_cpio => cpio::read(reader, cpio::Dialect::New, sink),
        None if is_old_cpio => cpio::read(reader, cpio::Dialect::Old, sink),
        None => tar::read(reader, sink),
    }
}

fn packed_with(start: &[u8]) -> Option<&'static str> {
    let magics: [(&[u8], _); 4] = [
        (b"\x1f\x8b", "gzip"),
        (b"\xfd7zXZ\0", "xz"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"BZh", "bzip2"),
    ];
    let found = magics
        .into_iter()
        .find(|(magic, _)| start.starts_with(magic));
    found.map(|(_, packer)| packer)
}

/// What an entry is, as the archive says it.
#[derive(Debug)]
pub(super) struct RawEntry<'a> {
    pub(super) path: &'a [u8],
    pub(super) owned: Owned,
    pub(super) xattrs: Xattrs,
}

/// Where the readers of the formats put entries.
pub(super) struct Sink {
    out: mpsc::Sender<Entry>,
    rename: Option<PathRename>,
}

impl Sink {
    pub(super) fn dir(&self, raw: RawEntry<'_>) -> Result<()> {
        self.send(raw, Kind::Dir)
    }

    pub(super) fn symlink(&self, raw: RawEntry<'_>, target: &[u8]) -> Result<()> {
        let target = text(target, "the target")?;
        if target.is_empty() || target.len() as u64 > TARGET_BYTES_MAX {
            let path = String::from_utf8_lossy(raw.path);
            let bytes = target.len();
            let problem = format!("entry {path}: a symbolic link's target of {bytes} bytes");
            return Err(Error::invalid(problem));
        }
        self.send(raw, Kind::Symlink(target.into()))
    }

    pub(super) fn hard_link(&self, raw: RawEntry<'_>, target: &[u8]) -> Result<()> {
        let target = self.path(target)?;
        self.send(raw, Kind::HardLink(target))
    }

    /// Hands on a file of `bytes` bytes, which `content` gives.
    pub(super) fn file(&self, raw: RawEntry<'_>, bytes: u64, content: &mut dyn Read) -> Result<()> {
        let short = |path: &[u8]| {
            let path = String::from_utf8_lossy(path).into_owned();
            Error::corrupt(format!("ends within entry {path}"))
        };
        if bytes <= CHUNK_BYTES as u64 {
            let chunk = read_chunk(content, bytes)?;
            if chunk.len() as u64 != bytes {
                return Err(short(raw.path));
            }
            let content = Payload::Bytes(chunk);
            return self.send(raw, Kind::File { bytes, content });
        }
        let path = raw.path.to_vec();
        let (chunks, receiver) = mpsc::channel(CHUNKS_AHEAD);
        let arriving = stream::unfold(
            receiver,
            |mut receiver: mpsc::Receiver<Result<Bytes>>| async move {
                Some((receiver.recv().await?, receiver))
            },
        );
        let content_stream = Payload::Stream(arriving.boxed());
        let kind = Kind::File {
            bytes,
            content: content_stream,
        };
        self.send(raw, kind)?;
        let mut left = bytes;
        while left > 0 {
            let chunk = read_chunk(content, left.min(CHUNK_BYTES as u64));
            let chunk = chunk.and_then(|chunk| match chunk.is_empty() {
                true => Err(short(&path)),
                false => Ok(chunk),
            });
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => {
                    // The store must not take what came so far for the whole.
                    let cut = Error::corrupt("the archive could not be read to the end of it");
                    let _ = chunks.blocking_send(Err(cut));
                    return Err(error);
                }
            };
            left -= chunk.len() as u64;
            // Nobody wants a file that is left out: the rest of it is passed over.
            if chunks.blocking_send(Ok(chunk)).is_err() {
                break;
            }
        }
        Ok(())
    }

    fn send(&self, raw: RawEntry<'_>, kind: Kind) -> Result<()> {
        let entry = Entry {
            path: self.path(raw.path)?,
            owned: raw.owned,
            xattrs: raw.xattrs,
            kind,
        };
        self.out
            .blocking_send(entry)
            .map_err(|_| Error::new(ErrorKind::Cancelled, "nobody wants the archive any more"))
    }

    fn path(&self, raw: &[u8]) -> Result<Box<str>> {
        let path = without_start(text(raw, "the path")?);
        match &self.rename {
            None => normal(path),
            Some(rename) => normal(&rename.apply(path)?),
        }
    }
}

/// Reads `bytes` bytes, or what is left.
fn read_chunk(content: &mut dyn Read, bytes: u64) -> Result<Bytes> {
    let mut chunk = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0).min(CHUNK_BYTES));
    content
        .take(bytes)
        .read_to_end(&mut chunk)
        .map_err(|e| from_read("cannot be read", e))?;
    Ok(chunk.into())
}
