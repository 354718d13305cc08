//! A web server that does what a test tells it to, byte by byte.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use treeferry_core::transport::{FetchOptions, Fetched, FetchedFile, RemotePath, Transport};
use treeferry_core::{Error, Result};
use treeferry_transport_http::{HttpOptions, HttpTransport, ServeOptions, Server};

/// What the server does next.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Waits.
    WaitMs(u64),
    /// Sends one byte every so many milliseconds, for ever.
    Drip(u64),
    /// Does nothing more, and keeps the connection open.
    Hang,
    /// Closes the connection in order.
    Close,
    /// Closes it with a reset.
    Reset,
}

/// One request, as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) line: String,
    pub(crate) head: String,
}

impl Request {
    pub(crate) fn path(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let name = name.to_ascii_lowercase();
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines
            .find(|(n, _)| n.to_ascii_lowercase() == name)
            .map(|(_, v)| v.trim())
    }
}

/// A running server. Dropping it stops it.
pub(crate) struct RawServer {
    pub(crate) addr: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl RawServer {
    /// Starts a server that answers each request with the steps that `answer` gives for it.
    pub(crate) async fn start<F>(answer: F) -> Self
    where
        F: Fn(&Request) -> Vec<Step> + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let (answer, log, count) = (Arc::new(answer), requests.clone(), connections.clone());
        let task = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                open.spawn(converse(stream, answer.clone(), log.clone()));
            }
        });
        Self {
            addr,
            requests,
            connections,
            task,
        }
    }

    /// Starts a server that gives the same answer to all.
    pub(crate) async fn always(steps: Vec<Step>) -> Self {
        Self::start(move |_| steps.clone()).await
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/repo", self.addr)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for RawServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn converse<F>(mut stream: TcpStream, answer: Arc<F>, log: Arc<Mutex<Vec<Request>>>)
where
    F: Fn(&Request) -> Vec<Step>,
{
    while let Some(request) = read_request(&mut stream).await {
        log.lock().unwrap().push(request.clone());
        for step in answer(&request) {
            match step {
                Step::Send(bytes) => {
                    if stream.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
                Step::WaitMs(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
                Step::Drip(ms) => loop {
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                    if stream.write_all(b".").await.is_err() {
                        return;
                    }
                },
                Step::Hang => std::future::pending().await,
                Step::Close => return,
                Step::Reset => {
                    // What was sent is on its way before the reset discards the rest.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    stream.set_zero_linger().unwrap();
                    return;
                }
            }
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let text = String::from_utf8(head).unwrap();
    let (line, head) = text.split_once("\r\n").unwrap();
    Some(Request {
        line: line.into(),
        head: head.into(),
    })
}

/// Returns an answer with this status line, these header lines and this body.
pub(crate) fn answer(status: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n", body.len());
    for header in headers {
        out.push_str(header);
        out.push_str("\r\n");
    }
    out.push_str("\r\n");
    [out.as_bytes(), body].concat()
}

/// Returns the step that sends such an answer.
pub(crate) fn send(status: &str, headers: &[&str], body: &[u8]) -> Step {
    Step::Send(answer(status, headers, body))
}

pub(crate) fn path(text: &str) -> RemotePath {
    RemotePath::new(text).unwrap()
}

/// Returns options that lose patience within a test, and not because the machine is slow.
pub(crate) fn patient() -> HttpOptions {
    HttpOptions::default()
        .connect_timeout_ms(60_000)
        .stall_timeout_ms(60_000)
}

pub(crate) async fn client(url: &str, options: HttpOptions) -> HttpTransport {
    HttpTransport::new(url, options).await.unwrap()
}

/// Fetches a file, and returns its header and its bytes.
pub(crate) async fn get(
    transport: &dyn Transport,
    file: &str,
    options: FetchOptions,
) -> Result<(FetchedFile, Bytes)> {
    match transport.fetch(&path(file), options).await? {
        Some(Fetched::File(file)) => read_all(file).await,
        Some(Fetched::NotModified) => Err(Error::invalid("not modified")),
        None => Err(Error::missing("not there")),
    }
}

pub(crate) async fn read_all(mut file: FetchedFile) -> Result<(FetchedFile, Bytes)> {
    let mut all = Vec::new();
    let mut chunks = std::mem::replace(&mut file.bytes, futures::stream::empty().boxed());
    while let Some(chunk) = chunks.next().await {
        all.extend_from_slice(&chunk?);
    }
    Ok((file, all.into()))
}

/// Our server, over a directory of its own. Dropping it stops it.
pub(crate) struct Served {
    pub(crate) root: tempfile::TempDir,
    pub(crate) addr: SocketAddr,
    pub(crate) log: Arc<Mutex<Vec<treeferry_transport_http::Served>>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Served {
    pub(crate) async fn start(change: impl FnOnce(ServeOptions) -> ServeOptions) -> Self {
        let root = tempfile::tempdir().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let seen = log.clone();
        let options = ServeOptions::new(root.path().join("repo"))
            .log(move |served| seen.lock().unwrap().push(served.clone()));
        std::fs::create_dir(root.path().join("repo")).unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let server = Server::bind(any, change(options)).await.unwrap();
        let addr = server.local_addr();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        Self {
            root,
            addr,
            log,
            stop: Some(stop),
            task,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.addr)
    }

    pub(crate) fn write(&self, file: &str, bytes: &[u8]) {
        let path = self.root.path().join("repo").join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub(crate) fn log(&self) -> Vec<treeferry_transport_http::Served> {
        self.log.lock().unwrap().clone()
    }

    /// Tells the server to stop, and waits until it has.
    pub(crate) async fn stop(&mut self) {
        drop(self.stop.take());
        (&mut self.task).await.unwrap();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Sends bytes to a server, and returns all that comes back until it closes the connection.
pub(crate) async fn raw(addr: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut out = Vec::new();
    let _ = stream.read_to_end(&mut out).await;
    String::from_utf8_lossy(&out).into_owned()
}

/// Returns bytes that do not repeat, so that no part is taken for another.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    for (word, i) in out.chunks_exact_mut(4).zip(1u32..) {
        word.copy_from_slice(&i.wrapping_mul(2_654_435_761).to_le_bytes());
    }
    out
}
