//! A real nginx on a free port, that serves a directory and notes what it sent.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running nginx. Dropping it stops it.
pub(crate) struct Nginx {
    dir: tempfile::TempDir,
    root: PathBuf,
    child: Child,
    port: u16,
}

/// One request, as nginx noted it at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) status: u16,
    /// Bytes of the body that nginx handed to the kernel.
    pub(crate) body_bytes: u64,
    /// The first byte that was asked for; 0 without a range.
    pub(crate) from: u64,
    pub(crate) path: String,
}

/// How nginx is slowed down, or troubled.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Manners<'a> {
    /// Directives at the level of `http`.
    pub(crate) http: &'a str,
    /// Directives of the only location.
    pub(crate) location: &'a str,
}

impl Nginx {
    /// Serves `root` on a free port.
    pub(crate) fn start(root: &Path, manners: Manners<'_>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["body", "logs"] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        // Another process can take the port before nginx does: then the next one is tried.
        for _ in 0..20 {
            let port = free_port();
            if let Some(child) = spawn(dir.path(), root, port, manners) {
                let root = root.to_owned();
                return Self {
                    dir,
                    root,
                    child,
                    port,
                };
            }
        }
        let log = std::fs::read_to_string(dir.path().join("logs/error.log"));
        panic!("nginx does not start: {}", log.unwrap_or_default());
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// Stops it, transfers and all.
    pub(crate) fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again on the same port.
    pub(crate) fn restart(&mut self, manners: Manners<'_>) {
        self.stop();
        let started = Instant::now();
        loop {
            if let Some(child) = spawn(self.dir.path(), &self.root, self.port, manners) {
                self.child = child;
                return;
            }
            let waited = started.elapsed();
            assert!(waited < Duration::from_secs(60), "nginx does not come back");
        }
    }

    /// Returns what was requested so far, once no request is under way.
    pub(crate) fn requests(&self) -> Vec<Request> {
        let read = || {
            let log = std::fs::read_to_string(self.dir.path().join("logs/access.log"));
            log.unwrap_or_default()
        };
        let mut log = read();
        loop {
            std::thread::sleep(Duration::from_millis(150));
            let again = read();
            if again.len() == log.len() {
                return log.lines().map(Request::parse).collect();
            }
            log = again;
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Request {
    fn parse(line: &str) -> Self {
        let mut words = line.splitn(4, ' ');
        let mut next = || words.next().unwrap_or_else(|| panic!("{line}"));
        let (status, body_bytes) = (next().parse().unwrap(), next().parse().unwrap());
        let from = next().strip_prefix("bytes=").map_or(0, |range| {
            let (from, _) = range.split_once('-').unwrap();
            from.parse().unwrap()
        });
        let path = next().to_owned();
        Self {
            status,
            body_bytes,
            from,
            path,
        }
    }
}

fn spawn(dir: &Path, root: &Path, port: u16, manners: Manners<'_>) -> Option<Child> {
    let config = config(dir, root, port, manners);
    std::fs::write(dir.join("nginx.conf"), config).unwrap();
    let mut child = Command::new("/usr/sbin/nginx")
        .arg("-p")
        .arg(dir)
        .args(["-e", "logs/error.log", "-c", "nginx.conf"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    if is_up(&mut child, port) {
        return Some(child);
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

fn config(dir: &Path, root: &Path, port: u16, manners: Manners<'_>) -> String {
    let (dir, root) = (dir.display(), root.display());
    let Manners { http, location } = manners;
    // As root nginx would serve as `nobody`, who may not look into a temporary directory.
    format!(
        "daemon off; master_process off; pid {dir}/pid; worker_processes 1;
         events {{ worker_connections 512; }}
         http {{
           log_format brief '$status $body_bytes_sent $http_range- $uri';
           access_log {dir}/logs/access.log brief;
           client_body_temp_path {dir}/body; proxy_temp_path {dir}/body;
           fastcgi_temp_path {dir}/body; uwsgi_temp_path {dir}/body; scgi_temp_path {dir}/body;
           sendfile on; default_type application/octet-stream;
           {http}
           server {{
             listen 127.0.0.1:{port} sndbuf=32k;
             location / {{ root {root}; {location} }}
           }}
         }}"
    )
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn is_up(child: &mut Child, port: u16) -> bool {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(60) {
        if !matches!(child.try_wait(), Ok(None)) {
            return false;
        }
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}
