//! A repository that a web server serves, under the suites of stores: what is written goes into the
//! server's directory, and all that is read comes over HTTP.

#![allow(clippy::unwrap_used, reason = "a place that cannot be made has failed")]

#[path = "support/directory.rs"]
mod directory;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use directory::ServedDirectory;
use futures::stream::BoxStream;
use treeferry_conformance::{Fixture, Profile};
use treeferry_core::Result;
use treeferry_core::archive::{ArchiveOptions, ArchiveStore, CreateArchive, Spool};
use treeferry_core::transport::{
    FetchOptions, Fetched, ListedFile, Precondition, PutAnswer, PutBody, RemotePath, Transport,
    Validator, WritableTransport,
};
use treeferry_transport_http::{HttpOptions, HttpTransport};
use treeferry_transport_usb::{DirOptions, DirTransport};

/// A directory that is read over HTTP.
#[derive(Debug)]
struct Published {
    directory: DirTransport,
    http: HttpTransport,
}

/// Returns which version of a file is there, if it is there and the place tells.
async fn version(place: &dyn Transport, path: &RemotePath) -> Result<Option<Validator>> {
    let fetched = place.fetch(path, FetchOptions::default()).await?;
    Ok(match fetched {
        Some(Fetched::File(file)) => file.validator,
        Some(Fetched::NotModified) | None => None,
    })
}

#[async_trait]
impl Transport for Published {
    fn describe(&self, path: &RemotePath) -> String {
        self.http.describe(path)
    }

    fn origin(&self) -> &str {
        self.http.origin()
    }

    async fn fetch(&self, path: &RemotePath, options: FetchOptions) -> Result<Option<Fetched>> {
        self.http.fetch(path, options).await
    }
}

#[async_trait]
impl WritableTransport for Published {
    async fn put(
        &self,
        path: &RemotePath,
        precondition: Precondition,
        body: PutBody,
    ) -> Result<PutAnswer> {
        let precondition = match precondition {
            // The server's name for a version, and the directory's. That of the directory is read
            // first: where it still holds at the put, nothing changed in between.
            Precondition::Unchanged(served) => {
                let here = version(&self.directory, path).await?;
                let there = version(&self.http, path).await?;
                match here {
                    Some(here) if there == Some(served) => Precondition::Unchanged(here),
                    _ => return Ok(PutAnswer::Conflict),
                }
            }
            precondition => precondition,
        };
        Ok(match self.directory.put(path, precondition, body).await? {
            // Which version the server will name it is not known here.
            PutAnswer::Done { .. } => PutAnswer::Done { validator: None },
            PutAnswer::Conflict => PutAnswer::Conflict,
        })
    }

    async fn delete(&self, paths: &[RemotePath]) -> Result<()> {
        self.directory.delete(paths).await
    }

    fn list(&self, prefix: &str) -> BoxStream<'static, Result<ListedFile>> {
        self.directory.list(prefix)
    }
}

/// A served repository in the archive layout.
struct ServedArchive {
    served: ServedDirectory,
    handles: AtomicU64,
}

impl ServedArchive {
    async fn new() -> Self {
        Self {
            served: ServedDirectory::new().await,
            handles: AtomicU64::new(0),
        }
    }
}

impl Fixture for ServedArchive {
    type Store = ArchiveStore;

    async fn open(&self) -> Result<ArchiveStore> {
        let mut options = ArchiveOptions::default();
        options.lease.seed = self.handles.fetch_add(1, Ordering::Relaxed);
        options.lease.wait = Duration::from_millis(1000);
        options.spool = Spool::in_files(tempfile::tempfile);
        let published = Published {
            directory: DirTransport::open(self.served.path(), DirOptions::unsynced()).await?,
            http: HttpTransport::new(self.served.url(), HttpOptions::default()).await?,
        };
        ArchiveStore::create(Arc::new(published), CreateArchive::default(), options).await
    }

    async fn another(&self) -> Result<Self> {
        Ok(Self::new().await)
    }

    fn profile(&self) -> Profile {
        Profile::archive()
    }
}

treeferry_conformance::object_store_suite!(objects, ServedArchive::new().await);
treeferry_conformance::ref_store_suite!(refs, ServedArchive::new().await);
treeferry_conformance::repo_state_suite!(state, ServedArchive::new().await);
