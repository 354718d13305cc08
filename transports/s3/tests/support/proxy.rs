//! Stands between a client and a server: counts requests, and spoils some of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Pass,
    /// Not done, and answered with this status.
    Refuse(u16),
    /// Not done, and the connection is cut.
    Reset,
    /// Done, and the connection is cut before the answer.
    DoneAndReset,
    /// Done, and answered with 500.
    DoneAnd500,
    /// Nothing happens, for long.
    Stall,
    /// Half of the answer comes.
    Half,
}

/// Decides on the `n`th request, of this method and path.
pub(crate) type Decide = Arc<dyn Fn(u64, &str, &str) -> Fate + Send + Sync>;

/// A running proxy; it ends with the runtime.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    count: AtomicU64,
    /// Requests by method and kind, and the bytes of their bodies.
    by_kind: Mutex<BTreeMap<String, (u64, u64)>>,
}

impl Proxy {
    pub(crate) async fn start(upstream: u16, decide: Decide) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (seen, decide) = (Arc::clone(&shared), Arc::clone(&decide));
                tokio::spawn(async move {
                    // A connection that breaks is what this is for.
                    let _ = serve(client, upstream, &seen, &decide).await;
                });
            }
        });
        Self { port, seen }
    }

    /// Passes everything, and counts.
    pub(crate) async fn counting(upstream: u16) -> Self {
        Self::start(upstream, Arc::new(|_, _, _| Fate::Pass)).await
    }

    /// Returns how many requests of each kind came, and the bytes of their bodies; and starts over.
    pub(crate) fn take(&self) -> BTreeMap<String, (u64, u64)> {
        std::mem::take(&mut *self.seen.by_kind.lock().unwrap())
    }
}

async fn serve(
    mut client: TcpStream,
    upstream: u16,
    seen: &Seen,
    decide: &Decide,
) -> std::io::Result<()> {
    let Some((head, body)) = read_request(&mut client).await? else {
        return Ok(());
    };
    let mut words = head.split(' ');
    let (method, path) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let number = seen.count.fetch_add(1, Ordering::Relaxed);
    {
        let mut by_kind = seen.by_kind.lock().unwrap();
        let entry = by_kind.entry(kind(method, path)).or_default();
        entry.0 += 1;
        entry.1 += body.len() as u64;
    }
    let fate = decide(number, method, path);
    match fate {
        Fate::Refuse(status) => {
            let answer = format!(
                "HTTP/1.1 {status} No\r\nRetry-After: 0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            return client.write_all(answer.as_bytes()).await;
        }
        Fate::Reset => return reset(client),
        Fate::Stall => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            return Ok(());
        }
        Fate::Pass | Fate::DoneAndReset | Fate::DoneAnd500 | Fate::Half => {}
    }
    let mut server = TcpStream::connect(("127.0.0.1", upstream)).await?;
    let head = head.replace("connection: keep-alive", "connection: close");
    let head = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    server.write_all(head.as_bytes()).await?;
    server.write_all(&body).await?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    match fate {
        Fate::DoneAndReset => return reset(client),
        Fate::DoneAnd500 => {
            let no = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            return client.write_all(no).await;
        }
        Fate::Half => answer.truncate(answer.len() / 2),
        _ => {}
    }
    client.write_all(&answer).await?;
    client.shutdown().await
}

fn reset(client: TcpStream) -> std::io::Result<()> {
    client.set_zero_linger()
}

/// Reads a request: its head, and its body as long as the head says.
async fn read_request(client: &mut TcpStream) -> std::io::Result<Option<(String, Vec<u8>)>> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        if client.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    };
    let mut body = bytes.split_off(end);
    let head = String::from_utf8_lossy(&bytes).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let named = name.eq_ignore_ascii_case("content-length");
        named.then(|| value.trim().parse().ok())?
    });
    let length: usize = length.unwrap_or(0);
    while body.len() < length {
        if client.read_buf(&mut body).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some((head, body)))
}

/// Returns a method, and what kind of thing it is about.
fn kind(method: &str, path: &str) -> String {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let what = if query.contains("list-type") {
        "list"
    } else if query.contains("partNumber") {
        "part"
    } else if query.contains("upload") {
        "upload"
    } else if path.contains("/.treeferry/leases/") {
        "lease"
    } else if path.contains("/.treeferry/probe") {
        "probe"
    } else if path.contains("/refs/") {
        "ref"
    } else if path.contains("/objects/") {
        "object"
    } else {
        "other"
    };
    format!("{method} {what}")
}
