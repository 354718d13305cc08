//! Moving files by relative path. Knows nothing of OSTree.

mod memory;
mod mirrors;
mod rate;
mod retry;

use std::fmt::{self, Debug};
use std::str::FromStr;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt};

use crate::error::{Error, Result};
use crate::format::FormatError;

pub use memory::{MemoryTransport, MemoryTransportOptions};
pub use mirrors::Mirrors;
pub use rate::{Rate, RateLimited};
pub use retry::Retry;
pub(crate) use retry::retrying;

/// A place that files can be fetched from by path.
#[async_trait]
pub trait Transport: Debug + Send + Sync + 'static {
    /// Returns the full address of `path`, without secrets, for messages.
    fn describe(&self, path: &RemotePath) -> String;

    /// Returns the address of the whole remote, without secrets.
    fn origin(&self) -> &str;

    /// Fetches one file. `None` when it is not there.
    ///
    /// Returns once the answer's header is known; bytes follow as they arrive. Each wait is limited
    /// in time by the transport, so that neither this call nor the stream can hang. Tries once:
    /// trying again is the caller's business.
    async fn fetch(&self, path: &RemotePath, options: FetchOptions) -> Result<Option<Fetched>>;
}

/// A place that files can be written to as well.
#[async_trait]
pub trait WritableTransport: Transport {
    /// Writes a file whole: others see the old one or the new one, never a part.
    ///
    /// A failed precondition is an answer. Where the outcome is not known, the error is
    /// [`Indeterminate`](crate::error::ErrorKind::Indeterminate).
    async fn put(
        &self,
        path: &RemotePath,
        precondition: Precondition,
        body: PutBody,
    ) -> Result<PutAnswer>;

    /// Deletes files; those that are not there are no error.
    async fn delete(&self, paths: &[RemotePath]) -> Result<()>;

    /// Lists the files whose path starts with `prefix`, which ends at a `/` or is empty.
    fn list(&self, prefix: &str) -> BoxStream<'static, Result<ListedFile>>;
}

/// How to fetch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchOptions {
    /// Answer [`Fetched::NotModified`] if the file still is this version.
    pub unless: Option<Validator>,
    /// Send only what follows.
    pub resume: Option<Resume>,
    /// Refuse a file longer than this.
    pub bytes_max: Option<u64>,
}

/// From where to continue an interrupted fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    /// The first byte that is wanted.
    pub offset: u64,
    /// The version that the earlier bytes came from: of another one all of it is sent.
    pub validator: Validator,
}

/// What a server says to tell versions of a file apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Validator {
    /// A strong entity tag, quotes included.
    ETag(String),
    /// A modification time, as the server wrote it.
    LastModified(String),
}

/// The answer to a fetch.
#[derive(Debug)]
pub enum Fetched {
    /// The file is the version that the caller has.
    NotModified,
    /// The file, or the rest of it.
    File(FetchedFile),
}

/// A file that is arriving.
pub struct FetchedFile {
    /// Where the bytes start in the file: 0, or what was asked to resume from.
    pub offset: u64,
    /// How long the whole file is, if the server says.
    pub total_bytes: Option<u64>,
    /// Which version it is, if the server says.
    pub validator: Option<Validator>,
    /// The bytes. Ends in an error if they stop short of what the server announced.
    pub bytes: BoxStream<'static, Result<Bytes>>,
}

impl FetchedFile {
    /// Returns what follows byte `offset` of a file that is at hand.
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) for an offset beyond the end.
    pub fn of_bytes(mut bytes: Bytes, offset: u64) -> Result<Self> {
        let total_bytes = bytes.len() as u64;
        check_offset(offset, total_bytes)?;
        let rest = bytes.split_off(usize::try_from(offset).unwrap_or(usize::MAX));
        Ok(Self {
            offset,
            total_bytes: Some(total_bytes),
            validator: None,
            bytes: stream::iter([Ok(rest)]).boxed(),
        })
    }

    /// Reads all that follows, up to `bytes_max`: more is an error.
    pub async fn collect(mut self, bytes_max: u64) -> Result<Bytes> {
        let mut all = BytesMut::new();
        while let Some(chunk) = self.bytes.next().await {
            let chunk = chunk?;
            if all.len() as u64 + chunk.len() as u64 > bytes_max {
                let problem = format!("is longer than the limit of {bytes_max} bytes");
                return Err(Error::corrupt(problem));
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }
}

/// Checks that a file of `total_bytes` can be read from `offset` on.
pub fn check_offset(offset: u64, total_bytes: u64) -> Result<()> {
    if offset > total_bytes {
        let problem = format!("cannot be read from byte {offset} on: it has {total_bytes}");
        return Err(Error::invalid(problem));
    }
    Ok(())
}

impl Debug for FetchedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchedFile")
            .field("offset", &self.offset)
            .field("total_bytes", &self.total_bytes)
            .field("validator", &self.validator)
            .finish_non_exhaustive()
    }
}

/// What to write.
#[allow(missing_debug_implementations, reason = "a stream has nothing to show")]
pub enum PutBody {
    /// Bytes at hand.
    Bytes(Bytes),
    /// A stream of known length.
    Stream {
        /// How many bytes will come.
        total_bytes: u64,
        /// The bytes; an error aborts the write.
        bytes: BoxStream<'static, Result<Bytes>>,
    },
}

impl PutBody {
    /// Returns how many bytes will come.
    pub fn total_bytes(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Stream { total_bytes, .. } => *total_bytes,
        }
    }

    /// Returns the bytes as a stream that ends in an error unless exactly so many come.
    pub fn into_stream(self) -> BoxStream<'static, Result<Bytes>> {
        let (total_bytes, bytes) = match self {
            Self::Bytes(bytes) => return stream::iter([Ok(bytes)]).boxed(),
            Self::Stream { total_bytes, bytes } => (total_bytes, bytes),
        };
        let counted = stream::try_unfold((bytes, 0), move |(mut bytes, seen)| async move {
            let problem = match bytes.next().await.transpose()? {
                Some(chunk) if seen + chunk.len() as u64 <= total_bytes => {
                    let seen = seen + chunk.len() as u64;
                    return Ok(Some((chunk, (bytes, seen))));
                }
                None if seen == total_bytes => return Ok(None),
                Some(_) => format!("more than the announced {total_bytes} bytes came"),
                None => format!("{seen} of the announced {total_bytes} bytes came"),
            };
            Err(Error::corrupt(problem))
        });
        counted.boxed()
    }

    /// Reads all the bytes.
    pub async fn collect(self) -> Result<Bytes> {
        let mut stream = match self {
            Self::Bytes(bytes) => return Ok(bytes),
            stream => stream.into_stream(),
        };
        let mut all = BytesMut::new();
        while let Some(chunk) = stream.next().await {
            all.extend_from_slice(&chunk?);
        }
        Ok(all.freeze())
    }
}

/// What must hold for a write to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing.
    None,
    /// The file does not exist.
    Absent,
    /// The file is this version.
    Unchanged(Validator),
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PutAnswer {
    /// It is written and durable.
    Done {
        /// The new version, if the place tells.
        validator: Option<Validator>,
    },
    /// The precondition does not hold.
    Conflict,
}

/// One entry of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedFile {
    /// The path.
    pub path: RemotePath,
    /// The length.
    pub bytes: u64,
    /// When it was written.
    pub modified: Option<SystemTime>,
}

/// A relative path below a remote: parts separated by single `/`, none empty, `.` or `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RemotePath(Box<str>);

impl RemotePath {
    /// Checks and wraps a path.
    pub fn new(path: &str) -> std::result::Result<Self, FormatError> {
        let bad = |part: &str| part.is_empty() || part == "." || part == "..";
        if path.split('/').any(bad) || path.contains('\0') {
            let problem = "expected parts separated by single '/', none of them '.' or '..'";
            return Err(FormatError::new("remote path", problem));
        }
        Ok(Self(path.into()))
    }

    /// Wraps a path that was made here, of parts that are checked: names, hex digits.
    pub(crate) fn of_checked_parts(path: String) -> Self {
        debug_assert!(Self::new(&path).is_ok(), "{path:?}");
        Self(path.into())
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RemotePath {
    type Err = FormatError;

    fn from_str(text: &str) -> std::result::Result<Self, FormatError> {
        Self::new(text)
    }
}

impl fmt::Display for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Debug for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Debug::fmt(&self.0, f)
    }
}
