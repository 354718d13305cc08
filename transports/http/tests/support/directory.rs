//! A directory with our server over it.

use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;
use tokio::sync::oneshot;
use treeferry_transport_http::{ServeOptions, Server};

/// A directory that a web server serves until this is dropped.
pub(crate) struct ServedDirectory {
    directory: TempDir,
    url: String,
    _stop: Arc<oneshot::Sender<()>>,
}

impl ServedDirectory {
    pub(crate) async fn new() -> Self {
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

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Returns what is served.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("repo")
    }
}
