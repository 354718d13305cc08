//! The client, over the server here, under the suite of readable transports.

#[path = "support/directory.rs"]
mod directory;

use std::path::PathBuf;

use bytes::Bytes;
use directory::ServedDirectory;
use treeferry_conformance::{TransportFixture, TransportProfile};
use treeferry_core::transport::RemotePath;
use treeferry_core::{Error, Result};
use treeferry_transport_http::{HttpOptions, HttpTransport};

/// A directory that is served.
struct Served(ServedDirectory);

impl Served {
    async fn new() -> Self {
        Self(ServedDirectory::new().await)
    }

    fn file(&self, path: &RemotePath) -> PathBuf {
        self.0.path().join(path.as_str())
    }
}

impl TransportFixture for Served {
    type Transport = HttpTransport;

    async fn open(&self) -> Result<HttpTransport> {
        HttpTransport::new(self.0.url(), HttpOptions::default()).await
    }

    async fn another(&self) -> Result<Self> {
        Ok(Self::new().await)
    }

    async fn publish(&self, path: &RemotePath, bytes: Bytes) -> Result<()> {
        let (file, new) = (self.file(path), self.0.path().with_file_name("new"));
        let parent = file.parent().unwrap_or(&file);
        let written = std::fs::create_dir_all(parent)
            .and_then(|()| std::fs::write(&new, &bytes))
            .and_then(|()| std::fs::rename(&new, &file));
        written.map_err(|e| Error::io("cannot be published", e).about(file))
    }

    async fn withdraw(&self, path: &RemotePath) -> Result<()> {
        let file = self.file(path);
        let removed = std::fs::remove_file(&file);
        removed.map_err(|e| Error::io("cannot be withdrawn", e).about(file))
    }

    fn profile(&self) -> TransportProfile {
        TransportProfile::default()
    }
}

treeferry_conformance::transport_suite!(reading, Served::new().await);
