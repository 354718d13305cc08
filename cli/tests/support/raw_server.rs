//! A web server that answers as a test tells it to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// More than any limit that a client is tested for.
const ENDLESS_BYTES: usize = 1200 << 20;

/// How a request is answered.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// With the file that the path names, or 404.
    File,
    /// With this status line and these header lines.
    Status(&'static str, &'static [&'static str]),
    /// With half of the file, and then nothing more for as long as the client waits.
    HalfThenHang,
    /// With half of the file, and then the end of the connection.
    HalfThenClose,
    /// Not at all, for as long as the client waits.
    Hang,
    /// With bytes that do not end, for as long as the client takes them: up to [`ENDLESS_BYTES`], for whoever
    /// takes them all fails the test, and not the machine.
    Endless,
    /// With these bytes, and then with others that do not end.
    ThenEndless(Vec<u8>),
    /// With the file, a byte at a time, five in a second.
    Drip,
}

/// A running server. Its threads end with the connections, or with the process.
pub(crate) struct RawServer {
    url: String,
    requests: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl RawServer {
    /// Serves `root`; `answer` is told the path, and how often it was asked for before.
    pub(crate) fn start<F>(root: &Path, answer: F) -> Self
    where
        F: Fn(&str, usize) -> Answer + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (answer, root, log) = (Arc::new(answer), root.to_owned(), requests.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (answer, root, log) = (answer.clone(), root.clone(), log.clone());
                let Ok(stream) = stream else { return };
                // A client that goes away ends its thread with an error, which is as it should be.
                std::thread::spawn(move || drop(converse(stream, &root, &*answer, &log)));
            }
        });
        Self { url, requests }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Returns when which paths were asked for.
    pub(crate) fn requests(&self) -> Vec<(Instant, String)> {
        self.requests.lock().unwrap().clone()
    }
}

fn converse(
    stream: TcpStream,
    root: &Path,
    answer: &dyn Fn(&str, usize) -> Answer,
    log: &Mutex<Vec<(Instant, String)>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut header = String::new();
        while reader.read_line(&mut header)? > 2 {
            header.clear();
        }
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let before = {
            let mut log = log.lock().unwrap();
            let before = log.iter().filter(|(_, p)| *p == path).count();
            log.push((Instant::now(), path.clone()));
            before
        };
        let file = std::fs::read(file_of(root, &path)).ok();
        match (answer(&path, before), file) {
            (Answer::Status(status, headers), _) => {
                let headers: String = headers.iter().map(|h| format!("{h}\r\n")).collect();
                write!(
                    stream,
                    "HTTP/1.1 {status}\r\n{headers}Content-Length: 0\r\n\r\n"
                )?;
            }
            (Answer::Hang, _) => return wait_for_end(&mut stream),
            (Answer::Endless, _) => return without_end(&mut stream, &[]),
            (Answer::ThenEndless(first), _) => return without_end(&mut stream, &first),
            (Answer::Drip, Some(bytes)) => {
                write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                    bytes.len()
                )?;
                for byte in bytes {
                    stream.write_all(&[byte])?;
                    std::thread::sleep(Duration::from_millis(200));
                }
            }
            (_, None) => write!(
                stream,
                "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
            )?,
            (Answer::File, Some(bytes)) => {
                write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                    bytes.len()
                )?;
                stream.write_all(&bytes)?;
            }
            (half, Some(bytes)) => {
                write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                    bytes.len()
                )?;
                stream.write_all(&bytes[..bytes.len() / 2])?;
                return match half {
                    Answer::HalfThenHang => wait_for_end(&mut stream),
                    _ => Ok(()),
                };
            }
        }
    }
}

fn file_of(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn without_end(stream: &mut TcpStream, first: &[u8]) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
    stream.write_all(first)?;
    for _ in 0..ENDLESS_BYTES / 65536 {
        stream.write_all(&[0x5a; 65536])?;
    }
    Ok(())
}

fn wait_for_end(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    stream.read(&mut [0]).map(drop)
}
