//! Files in memory, as a transport.

#![allow(dead_code)] // each test binary uses a part

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use treeferry_conformance::{TransportFixture, TransportProfile};
use treeferry_conformance::{publish_by_put, withdraw_by_delete};
use treeferry_core::transport::{
    FetchOptions, Fetched, FetchedFile, ListedFile, Precondition, PutAnswer, PutBody, RemotePath,
    Transport, Validator, WritableTransport,
};
use treeferry_core::{Error, Result};

const PIECE_BYTES: usize = 64 * 1024;

/// Files in memory. A clone is another handle.
#[derive(Debug, Clone)]
pub(crate) struct MemoryFiles {
    origin: String,
    files: Arc<Mutex<Files>>,
}

#[derive(Debug, Default)]
struct Files {
    next: u64,
    files: BTreeMap<RemotePath, File>,
}

#[derive(Debug, Clone)]
struct File {
    bytes: Bytes,
    version: u64,
    modified: SystemTime,
}

fn validator(version: u64) -> Validator {
    Validator::ETag(format!("\"{version}\""))
}

impl Default for MemoryFiles {
    fn default() -> Self {
        let files: Arc<Mutex<Files>> = Arc::default();
        let origin = format!("memory:{:p}", Arc::as_ptr(&files));
        Self { origin, files }
    }
}

#[async_trait]
impl Transport for MemoryFiles {
    fn describe(&self, path: &RemotePath) -> String {
        format!("{}/{path}", self.origin)
    }

    fn origin(&self) -> &str {
        &self.origin
    }

    async fn fetch(&self, path: &RemotePath, options: FetchOptions) -> Result<Option<Fetched>> {
        let Some(file) = self.files.lock().unwrap().files.get(path).cloned() else {
            return Ok(None);
        };
        let version = validator(file.version);
        if options.unless.as_ref() == Some(&version) {
            return Ok(Some(Fetched::NotModified));
        }
        let total = file.bytes.len() as u64;
        if options.bytes_max.is_some_and(|limit| total > limit) {
            let problem = format!("is {total} bytes long, over the limit");
            return Err(Error::corrupt(problem));
        }
        let offset = match options.resume {
            Some(resume) if resume.validator == version && resume.offset <= total => resume.offset,
            _ => 0,
        };
        let rest = file.bytes.slice(offset as usize..);
        let starts = (0..rest.len()).step_by(PIECE_BYTES);
        let piece = move |start| Ok(rest.slice(start..rest.len().min(start + PIECE_BYTES)));
        Ok(Some(Fetched::File(FetchedFile {
            offset,
            total_bytes: Some(total),
            validator: Some(version),
            bytes: stream::iter(starts.map(piece)).boxed(),
        })))
    }
}

/// Reads what is to be put, whole.
pub(crate) async fn collect(body: PutBody) -> Result<Bytes> {
    let (announced, mut bytes) = match body {
        PutBody::Bytes(bytes) => return Ok(bytes),
        PutBody::Stream { total_bytes, bytes } => (total_bytes, bytes),
    };
    let mut all = BytesMut::new();
    while let Some(piece) = bytes.try_next().await? {
        all.extend_from_slice(&piece);
        if all.len() as u64 > announced {
            return Err(Error::invalid("more bytes come than were announced"));
        }
    }
    match all.len() as u64 == announced {
        true => Ok(all.freeze()),
        false => Err(Error::invalid("fewer bytes come than were announced")),
    }
}

#[async_trait]
impl WritableTransport for MemoryFiles {
    async fn put(
        &self,
        path: &RemotePath,
        precondition: Precondition,
        body: PutBody,
    ) -> Result<PutAnswer> {
        let bytes = collect(body).await?;
        let mut files = self.files.lock().unwrap();
        let current = files.files.get(path).map(|file| validator(file.version));
        let holds = match precondition {
            Precondition::None => true,
            Precondition::Absent => current.is_none(),
            Precondition::Unchanged(expected) => current == Some(expected),
        };
        if !holds {
            return Ok(PutAnswer::Conflict);
        }
        files.next += 1;
        let file = File {
            bytes,
            version: files.next,
            modified: SystemTime::now(),
        };
        let validator = Some(validator(file.version));
        files.files.insert(path.clone(), file);
        Ok(PutAnswer::Done { validator })
    }

    async fn delete(&self, paths: &[RemotePath]) -> Result<()> {
        let mut files = self.files.lock().unwrap();
        paths.iter().for_each(|path| drop(files.files.remove(path)));
        Ok(())
    }

    fn list(&self, prefix: &str) -> BoxStream<'static, Result<ListedFile>> {
        let files = self.files.lock().unwrap();
        let below = files
            .files
            .iter()
            .filter(|(path, _)| path.as_str().starts_with(prefix));
        let listed = below.map(|(path, file)| {
            Ok(ListedFile {
                path: path.clone(),
                bytes: file.bytes.len() as u64,
                modified: Some(file.modified),
            })
        });
        stream::iter(listed.collect::<Vec<_>>()).boxed()
    }
}

/// The memory transport as a fixture.
#[derive(Default)]
pub(crate) struct Memory(MemoryFiles);

impl TransportFixture for Memory {
    type Transport = MemoryFiles;

    async fn open(&self) -> Result<MemoryFiles> {
        Ok(self.0.clone())
    }

    async fn another(&self) -> Result<Self> {
        Ok(Self::default())
    }

    async fn publish(&self, path: &RemotePath, bytes: Bytes) -> Result<()> {
        publish_by_put(&self.0, path, bytes).await
    }

    async fn withdraw(&self, path: &RemotePath) -> Result<()> {
        withdraw_by_delete(&self.0, path).await
    }

    fn profile(&self) -> TransportProfile {
        TransportProfile::default()
    }
}
