//! Files in memory: the reference for writable transports, and a place to test with.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};

use super::{
    FetchOptions, Fetched, FetchedFile, ListedFile, Precondition, PutAnswer, PutBody, RemotePath,
    Transport, Validator, WritableTransport,
};
use crate::error::{Error, Result, Subject};

/// In what pieces a fetched file arrives, bytes.
const PIECE_BYTES: usize = 64 * 1024;

/// How a [`MemoryTransport`] behaves.
#[derive(Debug, Clone)]
pub struct MemoryTransportOptions {
    /// The address that it gives itself, without a `/` at the end.
    pub origin: String,
    /// Tells when files were put; without it [`ListedFile::modified`] is not known.
    pub clock: Option<fn() -> SystemTime>,
}

impl Default for MemoryTransportOptions {
    fn default() -> Self {
        Self {
            origin: "memory:".into(),
            clock: None,
        }
    }
}

/// Files in memory, read and written by path. A clone is another handle on them.
#[derive(Clone)]
pub struct MemoryTransport {
    options: MemoryTransportOptions,
    files: Arc<Mutex<Files>>,
}

#[derive(Default)]
struct Files {
    by_path: BTreeMap<RemotePath, Version>,
    versions: u64,
}

#[derive(Clone)]
struct Version {
    bytes: Bytes,
    number: u64,
    modified: Option<SystemTime>,
}

impl Version {
    fn validator(&self) -> Validator {
        Validator::ETag(format!("\"{}\"", self.number))
    }
}

impl MemoryTransport {
    /// Creates an empty place.
    pub fn new(options: MemoryTransportOptions) -> Self {
        let files = Arc::default();
        Self { options, files }
    }

    /// Returns the bytes of a file, for tests.
    pub fn bytes(&self, path: &RemotePath) -> Option<Bytes> {
        let files = self.lock();
        files.by_path.get(path).map(|version| version.bytes.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Files> {
        // No holder leaves anything half changed, so a panic elsewhere does not matter.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryTransport {
    fn default() -> Self {
        Self::new(MemoryTransportOptions::default())
    }
}

impl Debug for MemoryTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryTransport")
            .field("origin", &self.options.origin)
            .finish_non_exhaustive()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Transport for MemoryTransport {
    fn describe(&self, path: &RemotePath) -> String {
        format!("{}/{path}", self.options.origin)
    }

    fn origin(&self) -> &str {
        &self.options.origin
    }

    async fn fetch(&self, path: &RemotePath, options: FetchOptions) -> Result<Option<Fetched>> {
        let Some(version) = self.lock().by_path.get(path).cloned() else {
            return Ok(None);
        };
        let validator = version.validator();
        if options.unless.as_ref() == Some(&validator) {
            return Ok(Some(Fetched::NotModified));
        }
        let total = version.bytes.len();
        if let Some(limit) = options.bytes_max
            && total as u64 > limit
        {
            let problem = format!("is {total} bytes long, over the limit of {limit} bytes");
            return Err(Error::corrupt(problem).about(Subject::Url(self.describe(path))));
        }
        let same = options
            .resume
            .filter(|resume| resume.validator == validator && resume.offset <= total as u64);
        let offset = same.map_or(0, |resume| resume.offset);
        let rest = version
            .bytes
            .slice(usize::try_from(offset).unwrap_or(total)..);
        let starts = (0..rest.len()).step_by(PIECE_BYTES);
        let pieces: Vec<_> = starts
            .map(|at| Ok(rest.slice(at..rest.len().min(at + PIECE_BYTES))))
            .collect();
        Ok(Some(Fetched::File(FetchedFile {
            offset,
            total_bytes: Some(total as u64),
            validator: Some(validator),
            bytes: stream::iter(pieces).boxed(),
        })))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl WritableTransport for MemoryTransport {
    async fn put(
        &self,
        path: &RemotePath,
        precondition: Precondition,
        body: PutBody,
    ) -> Result<PutAnswer> {
        let bytes = body
            .collect()
            .await
            .map_err(|e| e.about(Subject::Url(self.describe(path))))?;
        let mut files = self.lock();
        let current = files.by_path.get(path);
        let holds = match precondition {
            Precondition::None => true,
            Precondition::Absent => current.is_none(),
            Precondition::Unchanged(expected) => {
                current.is_some_and(|version| version.validator() == expected)
            }
        };
        if !holds {
            return Ok(PutAnswer::Conflict);
        }
        files.versions += 1;
        let version = Version {
            bytes,
            number: files.versions,
            modified: self.options.clock.map(|now| now()),
        };
        let validator = Some(version.validator());
        files.by_path.insert(path.clone(), version);
        Ok(PutAnswer::Done { validator })
    }

    async fn delete(&self, paths: &[RemotePath]) -> Result<()> {
        let mut files = self.lock();
        for path in paths {
            files.by_path.remove(path);
        }
        Ok(())
    }

    fn list(&self, prefix: &str) -> BoxStream<'static, Result<ListedFile>> {
        let files = self.lock();
        let below = files.by_path.iter();
        let below = below.filter(|(path, _)| path.as_str().starts_with(prefix));
        let listed: Vec<_> = below
            .map(|(path, version)| {
                Ok(ListedFile {
                    path: path.clone(),
                    bytes: version.bytes.len() as u64,
                    modified: version.modified,
                })
            })
            .collect();
        stream::iter(listed).boxed()
    }
}
