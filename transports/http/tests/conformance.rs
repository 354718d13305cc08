//! The client, over the server here, under the suite of readable transports.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use tempfile::TempDir;
use tokio::sync::oneshot;
use treeferry_conformance::{TransportFixture, TransportProfile};
use treeferry_core::transport::RemotePath;
use treeferry_core::{Error, Result};
use treeferry_transport_http::{HttpOptions, HttpTransport, ServeOptions, Server};

/// A directory that a web server serves until this is dropped.
struct Served {
    directory: TempDir,
    url: String,
    _stop: Arc<oneshot::Sender<()>>,
}

impl Served {
    async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        std::fs::create_dir(directory.path().join("repo")).expect("a directory can be made");
        let any = "127.0.0.1:0".parse().expect("it is an address");
        let options = ServeOptions::new(directory.path().join("repo"));
        let server = Server::bind(any, options).await.expect("it can listen");
        let url = format!("http://{}/", server.local_addr());
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        Self {
            directory,
            url,
            _stop: Arc::new(stop),
        }
    }

    fn file(&self, path: &RemotePath) -> PathBuf {
        self.directory.path().join("repo").join(path.as_str())
    }
}

impl TransportFixture for Served {
    type Transport = HttpTransport;

    async fn open(&self) -> Result<HttpTransport> {
        HttpTransport::new(&self.url, HttpOptions::default()).await
    }

    async fn another(&self) -> Result<Self> {
        Ok(Self::new().await)
    }

    async fn publish(&self, path: &RemotePath, bytes: Bytes) -> Result<()> {
        let (file, new) = (self.file(path), self.directory.path().join("new"));
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
