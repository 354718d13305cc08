//! Our own server, as the command runs it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use super::run::treeferry_command;

/// A running `treeferry serve`. Dropping it stops it.
pub(crate) struct Serving {
    child: Child,
    url: String,
}

impl Serving {
    /// Serves a repository on a free port.
    pub(crate) fn start(repo: &Path) -> Self {
        let mut child = treeferry_command(repo, ["serve"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = child.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        let url = line.trim().to_owned();
        assert!(url.starts_with("http://127.0.0.1:"), "{url:?}");
        Self { child, url }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
