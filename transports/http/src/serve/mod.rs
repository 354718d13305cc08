//! A plain web server of a directory: what any static server does, and nothing more.
//!
//! Serves the files below one directory for `GET` and `HEAD`, with versions and ranges. It lists
//! nothing, runs nothing, and never leaves the directory, whatever a path or a symbolic link says;
//! unless whoever embeds it [says otherwise](ServeOptions::judge).

mod connection;
mod content;
mod files;
mod judge;
mod plan;
mod respond;

use std::fmt::{self, Debug};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use treeferry_core::pool::Pool;
use treeferry_core::{Error, Result};

use files::{Links, Root};
use judge::Judge;
use respond::Responder;

pub use judge::{Answer, Asked, Verdict};

/// How long to wait when the system can accept no connection, for want of descriptors say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How many file operations run at once; they mostly wait for the disk.
const FILE_JOBS: usize = 16;

/// One request that was answered, or broken off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// Who asked.
    pub client: SocketAddr,
    /// The method.
    pub method: String,
    /// The path, as it was asked for.
    pub path: String,
    /// The status of the answer.
    pub status: u16,
    /// The first and last byte that were to be sent, if it was a part.
    pub range: Option<(u64, u64)>,
    /// How many bytes of the body were handed to the connection.
    pub bytes_sent: u64,
}

/// What is told of each request, on a thread of the runtime: it must not block.
type RequestLog = Arc<dyn Fn(&Served) + Send + Sync>;

/// What to serve, and how.
#[derive(Clone)]
pub struct ServeOptions {
    root: PathBuf,
    log: Option<RequestLog>,
    judge: Option<Judge>,
    links: Links,
    connections_max: usize,
    idle_timeout_ms: u64,
    shutdown_timeout_ms: u64,
}

impl ServeOptions {
    /// Serves the files below `root`: up to 1024 connections, closed after 75 idle seconds.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            log: None,
            judge: None,
            links: Links::Inside,
            connections_max: 1024,
            idle_timeout_ms: 75_000,
            shutdown_timeout_ms: 5_000,
        }
    }

    /// Sets what is called with each request once it is done. It must not block.
    #[must_use]
    pub fn log(mut self, log: impl Fn(&Served) + Send + Sync + 'static) -> Self {
        self.log = Some(Arc::new(log));
        self
    }

    /// Sets what is asked about each request before a file is looked for: who may have it, or
    /// whether something else is answered. Without it, every file is everybody's.
    #[must_use]
    pub fn judge<F>(mut self, judge: impl Fn(Asked) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Verdict> + Send + 'static,
    {
        self.judge = Some(Arc::new(move |asked| Box::pin(judge(asked))));
        self
    }

    /// Follows symbolic links wherever they lead, also out of the directory. Paths still cannot:
    /// only for directories in which nobody else can make links.
    #[must_use]
    pub fn follow_links_out(mut self) -> Self {
        self.links = Links::Anywhere;
        self
    }

    /// Sets how many connections may be open at once; more wait to be accepted.
    #[must_use]
    pub fn connections_max(mut self, connections_max: usize) -> Self {
        self.connections_max = connections_max.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// Sets after how long a connection is closed on which no byte moves either way.
    ///
    /// The header of a request must also come within this time.
    #[must_use]
    pub fn idle_timeout_ms(mut self, limit_ms: u64) -> Self {
        self.idle_timeout_ms = limit_ms;
        self
    }

    /// Sets how long requests that are under way may take to end at shutdown.
    #[must_use]
    pub fn shutdown_timeout_ms(mut self, limit_ms: u64) -> Self {
        self.shutdown_timeout_ms = limit_ms;
        self
    }
}

impl Debug for ServeOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServeOptions")
            .field("root", &self.root)
            .field("links", &self.links)
            .field("connections_max", &self.connections_max)
            .field("idle_timeout_ms", &self.idle_timeout_ms)
            .field("shutdown_timeout_ms", &self.shutdown_timeout_ms)
            .finish_non_exhaustive()
    }
}

/// A web server that is bound to its address, and answers once it [runs](Self::run).
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    local_addr: SocketAddr,
    responder: Arc<Responder>,
    options: ServeOptions,
}

impl Server {
    /// Binds `addr` (port 0: any free port) and opens the directory.
    pub async fn bind(addr: SocketAddr, options: ServeOptions) -> Result<Self> {
        let pool = Pool::new(FILE_JOBS);
        let (path, links) = (options.root.clone(), options.links);
        let root = pool.run(move || Root::open(&path, links)).await?;
        let cannot = |e| Error::io(format!("cannot listen on {addr}"), e);
        let listener = TcpListener::bind(addr).await.map_err(cannot)?;
        let local_addr = listener.local_addr().map_err(cannot)?;
        let responder = Arc::new(Responder::new(
            root,
            pool,
            options.log.clone(),
            options.judge.clone(),
        ));
        Ok(Self {
            listener,
            local_addr,
            responder,
            options,
        })
    }

    /// Returns the address that it is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Answers requests until `shutdown` is done; then lets those under way end, for a while.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let slots = Arc::new(Semaphore::new(self.options.connections_max));
        let graceful = GracefulShutdown::new();
        let mut connections = JoinSet::new();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            while connections.try_join_next().is_some() {}
            let next = async {
                // Never closed, so it cannot fail.
                let slot = Arc::clone(&slots).acquire_owned().await.ok();
                (slot, self.listener.accept().await)
            };
            let (slot, accepted) = tokio::select! {
                () = &mut shutdown => break,
                next = next => next,
            };
            match accepted {
                Ok((stream, client)) => {
                    let idle = Duration::from_millis(self.options.idle_timeout_ms);
                    let responder = Arc::clone(&self.responder);
                    let watcher = graceful.watcher();
                    connections.spawn(async move {
                        connection::serve(stream, client, idle, responder, watcher).await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.listener);
        let patience = Duration::from_millis(self.options.shutdown_timeout_ms);
        // Those that take longer are broken off when the set is dropped.
        let _ = tokio::time::timeout(patience, graceful.shutdown()).await;
    }
}
