//! A real nginx on a free port, with a directory and certificates of its own.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running nginx. Dropping it stops it.
pub(crate) struct Nginx {
    dir: tempfile::TempDir,
    child: Child,
    pub(crate) port: u16,
}

impl Nginx {
    /// Starts nginx in the foreground, as one process; `listen` and `more` go into its server block.
    pub(crate) fn start(dir: tempfile::TempDir, listen: &str, more: &str) -> Self {
        for name in ["html", "body", "logs"] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        // Another process can take the port before nginx does: then the next one is tried.
        for _ in 0..20 {
            let port = free_port();
            let config = config(dir.path(), port, listen, more);
            std::fs::write(dir.path().join("nginx.conf"), config).unwrap();
            let mut child = Command::new("/usr/sbin/nginx")
                .arg("-p")
                .arg(dir.path())
                .args(["-e", "logs/error.log", "-c", "nginx.conf"])
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            if is_up(&mut child, port) {
                return Self { dir, child, port };
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        let log = std::fs::read_to_string(dir.path().join("logs/error.log")).unwrap_or_default();
        panic!("nginx does not start: {log}");
    }

    pub(crate) fn html(&self) -> PathBuf {
        self.dir.path().join("html")
    }

    /// Returns the lines of the access log, once there are `count`.
    pub(crate) fn access_log(&self, count: usize) -> Vec<String> {
        let started = Instant::now();
        loop {
            let log = std::fs::read_to_string(self.dir.path().join("logs/access.log"));
            let lines: Vec<_> = log.unwrap_or_default().lines().map(str::to_owned).collect();
            if lines.len() >= count || started.elapsed() > Duration::from_secs(60) {
                return lines;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn config(dir: &Path, port: u16, listen: &str, more: &str) -> String {
    let dir = dir.display();
    format!(
        "daemon off; master_process off; pid {dir}/pid; worker_processes 1;
         events {{ worker_connections 256; }}
         http {{
           log_format brief '$status $server_protocol $connection $request_uri $body_bytes_sent';
           access_log {dir}/logs/access.log brief;
           client_body_temp_path {dir}/body; proxy_temp_path {dir}/body;
           fastcgi_temp_path {dir}/body; uwsgi_temp_path {dir}/body; scgi_temp_path {dir}/body;
           gzip on; gzip_types application/octet-stream; gzip_min_length 1;
           default_type application/octet-stream;
           server {{ listen 127.0.0.1:{port} {listen}; root {dir}/html; {more} }}
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

/// Makes an authority, and a server's and a client's certificate of it, in `dir`.
pub(crate) fn make_certificates(dir: &Path) {
    let openssl = |line: &str| {
        let status = Command::new("/usr/bin/openssl")
            .args(line.split(' '))
            .current_dir(dir)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "openssl {line}");
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!(
        "req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=authority"
    ));
    std::fs::write(dir.join("san"), "subjectAltName=DNS:localhost\n").unwrap();
    for name in ["server", "client"] {
        openssl(&format!(
            "req -new {key} -keyout {name}.key -out {name}.csr -subj /CN={name}"
        ));
        openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
             -extfile san -out {name}.pem"
        ));
    }
}
