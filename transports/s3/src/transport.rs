//! Reading from a bucket.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, GetResult, ObjectMeta, ObjectStore};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use treeferry_core::transport::{
    FetchOptions, Fetched, FetchedFile, RemotePath, Resume, Transport, Validator,
};
use treeferry_core::{Error, ErrorKind, Result, Subject};

use crate::conditions::Conditions;
use crate::failure::{self, Doing};
use crate::options::BucketOptions;
use crate::{BucketAddress, Provider, connect};

/// Files in a bucket, below a prefix. A clone is the same.
#[derive(Clone)]
pub struct BucketTransport {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) address: BucketAddress,
    pub(crate) origin: String,
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) options: BucketOptions,
    /// Whether entity tags are sent without their quotes: some servers compare them so.
    pub(crate) bare_tags: AtomicBool,
    pub(crate) conditions: Conditions,
    /// The turns of parts of files to be in memory.
    pub(crate) parts: Arc<Semaphore>,
    /// Whether something was read: then credentials are not what a refusal is about.
    has_read: AtomicBool,
}

impl BucketTransport {
    /// Opens a bucket to read from. Nothing is requested yet.
    pub async fn open(address: &str, options: BucketOptions) -> Result<Self> {
        Self::with(address, options, Conditions::Unknown).await
    }

    pub(crate) async fn with(
        address: &str,
        mut options: BucketOptions,
        conditions: Conditions,
    ) -> Result<Self> {
        let address: BucketAddress = address.parse()?;
        options.apply_address(&address)?;
        let (at, settings) = (address.clone(), options.clone());
        let connect = move || connect::connect(&at, &settings);
        let store = tokio::task::spawn_blocking(connect).await;
        let cancelled = |_| Error::new(ErrorKind::Cancelled, "the runtime is shutting down");
        let inner = Inner {
            origin: address.to_string(),
            address,
            store: store.map_err(cancelled)??,
            parts: Arc::new(Semaphore::new(options.parts_at_once.max(1))),
            options,
            bare_tags: AtomicBool::new(false),
            conditions,
            has_read: AtomicBool::new(false),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }
}

impl Inner {
    /// Returns the name of the object at `path`.
    pub(crate) fn key(&self, path: &RemotePath) -> Result<Path> {
        let prefix = &self.address.prefix;
        let key = match prefix.is_empty() {
            true => Path::parse(path.as_str()),
            false => Path::parse(format!("{prefix}/{path}")),
        };
        let invalid = |e| Error::invalid("cannot be the name of an object").because(e);
        key.map_err(|e| invalid(e).about(self.url(path)))
    }

    pub(crate) fn url(&self, path: &RemotePath) -> Subject {
        Subject::Url(format!("{}/{path}", self.origin))
    }

    /// Returns the version of an object: entity tags, and what else this kind of bucket goes by.
    pub(crate) fn validator(
        &self,
        e_tag: Option<String>,
        version: Option<String>,
    ) -> Option<Validator> {
        match (self.address.provider, version) {
            // Conditional writes go by the generation there, conditional reads by the tag.
            (Provider::Gcs, Some(version)) => Some(Validator::ETag(format!(
                "{};{version}",
                e_tag.unwrap_or_default()
            ))),
            _ => e_tag.map(Validator::ETag),
        }
    }

    /// Returns the entity tag of a validator that was made here, and the version that goes with it.
    pub(crate) fn tag_of(&self, validator: &Validator) -> Option<(String, Option<String>)> {
        let Validator::ETag(tag) = validator else {
            return None;
        };
        match (self.address.provider, tag.rsplit_once(';')) {
            (Provider::Gcs, Some((tag, version))) => Some((tag.into(), Some(version.into()))),
            _ => Some((tag.clone(), None)),
        }
    }

    pub(crate) async fn get(
        &self,
        path: &RemotePath,
        options: GetOptions,
    ) -> Result<object_store::Result<GetResult>> {
        let key = self.key(path)?;
        let patience = self.options.stall_timeout * 2;
        let got = timeout(patience, self.store.get_opts(&key, options)).await;
        got.map_err(|_| failure::of_wait(patience, Doing::Reading).about(self.url(path)))
    }

    /// Returns whether a refusal to read `path` means that it is not there: whoever may not list gets
    /// no other answer.
    async fn refusal_is_absence(&self, path: &RemotePath) -> Result<bool> {
        let key = self.key(path)?;
        let above: Option<Path> = key
            .as_ref()
            .rsplit_once('/')
            .and_then(|(above, _)| Path::parse(above).ok());
        let mut listed = self.store.list(above.as_ref());
        let patience = self.options.stall_timeout * 2;
        loop {
            match timeout(patience, listed.try_next()).await {
                Ok(Ok(Some(found))) if found.location == key => return Ok(false),
                Ok(Ok(Some(_))) => {}
                Ok(Ok(None)) => return Ok(true),
                Ok(Err(error)) => {
                    let error = failure::of(error, Doing::Reading);
                    return match error.kind() {
                        ErrorKind::Denied => Ok(self.has_read.load(Ordering::Relaxed)),
                        _ => Err(error.about(self.url(path))),
                    };
                }
                Err(_) => {
                    return Err(failure::of_wait(patience, Doing::Reading).about(self.url(path)));
                }
            }
        }
    }

    /// Asks for the rest of a file; `None` if that cannot be had, and all of it must be asked for.
    async fn get_rest(&self, path: &RemotePath, resume: &Resume) -> Result<Option<GetResult>> {
        let Some((tag, _)) = self.tag_of(&resume.validator) else {
            return Ok(None);
        };
        let options = GetOptions {
            if_match: Some(tag),
            range: Some(GetRange::Offset(resume.offset)),
            ..GetOptions::default()
        };
        // Whatever this is answered with: a question without conditions tells what it means.
        Ok(self.get(path, options).await?.ok())
    }

    fn arriving(
        &self,
        path: &RemotePath,
        got: GetResult,
        bytes_max: Option<u64>,
    ) -> Result<FetchedFile> {
        self.has_read.store(true, Ordering::Relaxed);
        let bytes = got.meta.size;
        if let Some(limit) = bytes_max
            && bytes > limit
        {
            let problem = format!("is {bytes} bytes long, over the limit of {limit} bytes");
            return Err(Error::corrupt(problem).about(self.url(path)));
        }
        let ObjectMeta {
            size,
            e_tag,
            version,
            ..
        } = got.meta.clone();
        let validator = self.validator(e_tag, version);
        let offset = got.range.start;
        let url = self.url(path);
        let bytes = within(got.into_stream(), self.options.stall_timeout)
            .map_err(move |e| e.about(url.clone()))
            .boxed();
        Ok(FetchedFile {
            offset,
            total_bytes: Some(size),
            validator,
            bytes,
        })
    }
}

/// Limits how long each piece may take.
fn within(
    pieces: BoxStream<'static, object_store::Result<Bytes>>,
    patience: Duration,
) -> BoxStream<'static, Result<Bytes>> {
    let next = move |mut pieces: BoxStream<'static, object_store::Result<Bytes>>| async move {
        match timeout(patience, pieces.try_next()).await {
            Ok(Ok(Some(piece))) => Ok(Some((piece, pieces))),
            Ok(Ok(None)) => Ok(None),
            Ok(Err(error)) => Err(failure::of_body(error)),
            Err(_) => Err(failure::of_wait(patience, Doing::Reading)),
        }
    };
    stream::try_unfold(pieces, next).boxed()
}

impl Debug for BucketTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BucketTransport")
            .field("origin", &self.inner.origin)
            .field("conditions", &self.inner.conditions)
            .finish_non_exhaustive()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Transport for BucketTransport {
    fn describe(&self, path: &RemotePath) -> String {
        format!("{}/{path}", self.inner.origin)
    }

    fn origin(&self) -> &str {
        &self.inner.origin
    }

    async fn fetch(&self, path: &RemotePath, options: FetchOptions) -> Result<Option<Fetched>> {
        let inner = &*self.inner;
        if let Some(resume) = &options.resume
            && let Some(got) = inner.get_rest(path, resume).await?
        {
            let file = inner.arriving(path, got, options.bytes_max)?;
            return Ok(Some(Fetched::File(file)));
        }
        let unless = options.unless.as_ref().and_then(|v| inner.tag_of(v));
        let get = GetOptions {
            if_none_match: unless.map(|(tag, _)| tag),
            ..GetOptions::default()
        };
        let got = match inner.get(path, get).await? {
            Ok(got) => got,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(object_store::Error::NotModified { .. }) => return Ok(Some(Fetched::NotModified)),
            Err(error @ object_store::Error::PermissionDenied { .. }) => {
                if inner.refusal_is_absence(path).await? {
                    return Ok(None);
                }
                return Err(failure::of(error, Doing::Reading).about(inner.url(path)));
            }
            Err(error) => return Err(failure::of(error, Doing::Reading).about(inner.url(path))),
        };
        Ok(Some(Fetched::File(inner.arriving(
            path,
            got,
            options.bytes_max,
        )?)))
    }
}
