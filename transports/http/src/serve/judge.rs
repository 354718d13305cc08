//! What the owner of a server says of a request before a file is looked for.

use std::fmt::{self, Debug};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use hyper::{HeaderMap, Request};

use super::plan;

/// A request, as it came.
#[derive(Clone)]
pub struct Asked {
    /// Who asks.
    pub client: SocketAddr,
    /// The method.
    pub method: String,
    /// The path, as it was asked for: escapes are still in it.
    pub path: String,
    headers: HeaderMap,
}

impl Asked {
    pub(super) fn of<B>(client: SocketAddr, request: &Request<B>) -> Self {
        Self {
            client,
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            headers: request.headers().clone(),
        }
    }

    /// Returns the path below the server's directory that is asked for, without escapes, empty for the directory
    /// itself; `None` if it can mean none, as one with `..` in it: that is answered with 404.
    pub fn path_below(&self) -> Option<String> {
        match self.path.trim_end_matches('/') {
            "" => Some(String::new()),
            path => plan::file_path(path),
        }
    }

    /// Returns the values of the header `name`, but those that are no text.
    pub fn header(&self, name: &str) -> impl Iterator<Item = &str> {
        let values = self.headers.get_all(name).into_iter();
        values.filter_map(|value| value.to_str().ok())
    }
}

// Headers may hold credentials.
impl Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked")
            .field("client", &self.client)
            .field("method", &self.method)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// What a request is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The file at the path that was asked for.
    File,
    /// The file at another path, which is written as it would be asked for.
    FileAt(String),
    /// The first half of the file, after which the connection breaks: for trying out clients.
    HalfOfFile,
    /// Something else.
    Answer(Answer),
}

/// An answer that is no file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status: 100 to 999.
    pub status: u16,
    /// Names and values of headers; those that HTTP cannot say are left out.
    pub headers: Vec<(String, String)>,
    /// What is sent. Without anything, the status is said in words.
    pub body: Bytes,
}

impl Answer {
    /// Answers with a status, and nothing else.
    pub fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets what is sent.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

/// Says what a request is answered with.
pub(super) type Judge = Arc<dyn Fn(Asked) -> BoxFuture<'static, Verdict> + Send + Sync>;
