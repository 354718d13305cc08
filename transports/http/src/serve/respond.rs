//! From a request to an answer.

use std::fmt::{self, Debug};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use hyper::header::{
    ACCEPT_RANGES, ALLOW, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName,
    HeaderValue, LAST_MODIFIED,
};
use hyper::{Method, Request, Response, StatusCode};
use treeferry_core::pool::Pool;

use super::content::{self, Content, Source};
use super::files::{FileContent, OpenFile, Refusal, Root};
use super::judge::{Answer, Asked, Judge, Verdict};
use super::plan::{self, Facts, Plan};
use super::{RequestLog, Served};

/// Answers requests for the files of one directory.
pub(super) struct Responder {
    root: Arc<Root>,
    pool: Pool,
    log: Option<RequestLog>,
    judge: Option<Judge>,
}

impl Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

impl Responder {
    /// Serves the files below `root`.
    pub(super) fn new(
        root: Root,
        pool: Pool,
        log: Option<RequestLog>,
        judge: Option<Judge>,
    ) -> Self {
        Self {
            root: Arc::new(root),
            pool,
            log,
            judge,
        }
    }

    /// Answers one request.
    pub(super) async fn respond<B>(
        &self,
        client: SocketAddr,
        request: &Request<B>,
    ) -> Response<Content> {
        let head_only = request.method() == Method::HEAD;
        let mut draft = match self.draft(client, request).await {
            Ok(draft) => draft,
            Err(status) => Draft::error(status),
        };
        if head_only {
            draft.source = Source::Empty;
        }
        let log = self.log.as_ref().map(|log| {
            let served = Served {
                client,
                method: request.method().to_string(),
                path: request.uri().path().to_owned(),
                status: draft.head.status().as_u16(),
                range: draft.range,
                bytes_sent: 0,
            };
            (Arc::clone(log), served)
        });
        let body_bytes = match draft.source {
            Source::Empty => 0,
            _ => draft.body_bytes,
        };
        // Said also where the body is left out; but an unchanged file's answer has none to speak of.
        if draft.head.status() != StatusCode::NOT_MODIFIED {
            let length = HeaderValue::from(draft.body_bytes);
            draft.head.headers_mut().insert(CONTENT_LENGTH, length);
        }
        draft
            .head
            .map(|()| Content::new(draft.source, body_bytes, log))
    }

    async fn draft<B>(
        &self,
        client: SocketAddr,
        request: &Request<B>,
    ) -> Result<Draft, StatusCode> {
        let is_get = request.method() == Method::GET;
        if !is_get && request.method() != Method::HEAD {
            return Err(StatusCode::METHOD_NOT_ALLOWED);
        }
        let verdict = match &self.judge {
            None => Verdict::File,
            Some(judge) => judge(Asked::of(client, request)).await,
        };
        let path = match &verdict {
            Verdict::Answer(answer) => return Ok(Draft::of(answer)),
            Verdict::FileAt(path) => path,
            Verdict::File | Verdict::HalfOfFile => request.uri().path(),
        };
        let path = plan::file_path(path).ok_or(StatusCode::NOT_FOUND)?;
        let file = self.open(path).await?;
        let facts = Facts {
            total_bytes: file.total_bytes,
            tag: &file.tag,
            modified: file.modified.and_then(plan::http_time),
        };
        // Ranges are defined for GET only.
        let planned = match plan::plan(request.headers(), &facts) {
            Plan::Part(..) | Plan::NoSuchRange if !is_get => Plan::Whole,
            planned => planned,
        };
        let mut draft = self.draft_of(planned, &facts);
        if let Some((first, body_bytes)) = draft.sends {
            draft.source = match verdict {
                Verdict::HalfOfFile => self
                    .source(file.content, first, body_bytes / 2)
                    .broken_at_its_end(),
                _ => self.source(file.content, first, body_bytes),
            };
        }
        Ok(draft)
    }

    async fn open(&self, path: String) -> Result<OpenFile, StatusCode> {
        let root = Arc::clone(&self.root);
        let opened = self.pool.run(move || Ok(root.read(&path))).await;
        match opened {
            Ok(Ok(file)) => Ok(file),
            Ok(Err(Refusal::Missing)) => Err(StatusCode::NOT_FOUND),
            Ok(Err(Refusal::Denied)) => Err(StatusCode::FORBIDDEN),
            Ok(Err(Refusal::Failed)) => Err(StatusCode::INTERNAL_SERVER_ERROR),
            Ok(Err(Refusal::Busy)) | Err(_) => Err(StatusCode::SERVICE_UNAVAILABLE),
        }
    }

    fn draft_of(&self, planned: Plan, facts: &Facts<'_>) -> Draft {
        let total = facts.total_bytes;
        let mut draft = match planned {
            Plan::NotModified => Draft::new(StatusCode::NOT_MODIFIED),
            Plan::Whole => Draft::new(StatusCode::OK).sending(0, total),
            Plan::Part(first, last) => {
                let mut draft = Draft::new(StatusCode::PARTIAL_CONTENT);
                draft.range = Some((first, last));
                draft.header_text(CONTENT_RANGE, &format!("bytes {first}-{last}/{total}"));
                draft.sending(first, last - first + 1)
            }
            Plan::NoSuchRange => {
                let mut draft = Draft::error(StatusCode::RANGE_NOT_SATISFIABLE);
                draft.header_text(CONTENT_RANGE, &format!("bytes */{total}"));
                return draft;
            }
        };
        draft.header_text(ETAG, facts.tag);
        if let Some(modified) = facts.modified {
            draft.header_text(LAST_MODIFIED, &httpdate::fmt_http_date(modified));
        }
        draft.header_text(ACCEPT_RANGES, "bytes");
        if planned != Plan::NotModified {
            draft.header_text(CONTENT_TYPE, "application/octet-stream");
        }
        draft
    }

    fn source(&self, content: FileContent, first: u64, body_bytes: u64) -> Source {
        match content {
            FileContent::Small(bytes) => {
                // Both lie within the file, and the file lies in memory.
                let at = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(bytes.len());
                Source::Bytes(bytes.slice(at(first)..at(first.saturating_add(body_bytes))))
            }
            FileContent::Large(file) => {
                let stream = content::stream(file, first, body_bytes, self.pool.clone());
                Source::Stream(stream.boxed())
            }
        }
    }
}

/// An answer in the making.
struct Draft {
    head: Response<()>,
    source: Source,
    body_bytes: u64,
    range: Option<(u64, u64)>,
    /// Which bytes of the file are sent: the first, and how many.
    sends: Option<(u64, u64)>,
}

impl Draft {
    fn new(status: StatusCode) -> Self {
        let mut head = Response::new(());
        *head.status_mut() = status;
        Self {
            head,
            source: Source::Empty,
            body_bytes: 0,
            range: None,
            sends: None,
        }
    }

    /// What the owner of the server says.
    fn of(answer: &Answer) -> Self {
        let Ok(status) = StatusCode::from_u16(answer.status) else {
            return Self::error(StatusCode::INTERNAL_SERVER_ERROR);
        };
        let mut draft = match answer.body.is_empty() {
            true => Self::error(status),
            false => Self::new(status).with_body(answer.body.clone()),
        };
        for (name, value) in &answer.headers {
            if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
                draft.header_text(name, value);
            }
        }
        draft
    }

    fn with_body(mut self, body: Bytes) -> Self {
        self.body_bytes = body.len() as u64;
        self.source = Source::Bytes(body);
        self
    }

    fn error(status: StatusCode) -> Self {
        // What says that it has no body must have none.
        if status.is_informational() || status == StatusCode::NO_CONTENT {
            return Self::new(status);
        }
        let mut draft = Self::new(status);
        let text = Bytes::from(format!("{status}\n"));
        draft = draft.with_body(text);
        draft.header_text(CONTENT_TYPE, "text/plain");
        if status == StatusCode::METHOD_NOT_ALLOWED {
            draft.header_text(ALLOW, "GET, HEAD");
        }
        draft
    }

    fn sending(mut self, first: u64, body_bytes: u64) -> Self {
        self.body_bytes = body_bytes;
        self.sends = Some((first, body_bytes));
        self
    }

    fn header_text(&mut self, name: HeaderName, text: &str) {
        // Those of ours are made here, of printable characters.
        if let Ok(value) = HeaderValue::from_str(text) {
            self.head.headers_mut().insert(name, value);
        }
    }
}
