//! Sends the requests that `object_store` makes, each once, and says what went wrong in our words.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use tokio::time::timeout;

use crate::redirect::{Followed, REDIRECTS_MAX, is_redirect};

/// How much is read of what a server says of its trouble, bytes.
const COMPLAINT_BYTES_MAX: usize = 4096;

/// What keeps a server from answering as it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// It says that it cannot now.
    #[error("the server answered {status}: {complaint}")]
    Busy {
        status: u16,
        retry_after: Option<Duration>,
        complaint: String,
    },
    /// It does not show the list.
    #[error("the server refuses to list: {status}")]
    NoList { status: u16 },
    /// It sends the request elsewhere, where it cannot be followed.
    #[error("the server sends elsewhere ({status}{})", .region.as_ref().map(|r| format!(", region '{r}'")).unwrap_or_default())]
    Elsewhere { status: u16, region: Option<String> },
    /// Its clock and ours differ by more than it bears.
    #[error("the server's clock says {server}")]
    Clock { server: String },
    /// It says nothing.
    #[error("no answer in {0:?}")]
    Silent(Duration),
}

/// Sends requests with a client of ours.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) client: reqwest::Client,
    pub(crate) stall_timeout: Duration,
    pub(crate) low_speed_bytes: u64,
}

impl HttpConnector for Service {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

impl Service {
    /// Returns how long an answer may take to a request with a body so long.
    fn patience(&self, body_bytes: usize) -> Duration {
        let seconds = body_bytes as u64 / self.low_speed_bytes.max(1);
        self.stall_timeout
            .saturating_add(Duration::from_secs(seconds))
    }
}

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let ranged = request.headers().contains_key("range");
        let query = request.uri().query().unwrap_or_default();
        let lists = query.contains("list-type=") || query.contains("comp=list");
        let patience = self.patience(request.body().content_length());
        let silent = |_| HttpError::new(HttpErrorKind::Timeout, Trouble::Silent(patience));
        let mut followed = Followed::of(&request);
        let (mut request, mut redirects) = (request, 0);
        let mut response = loop {
            let answer = timeout(patience, self.client.call(request)).await;
            let answer = answer.map_err(silent)??;
            if !is_redirect(answer.status()) {
                break answer;
            }
            redirects += 1;
            request = match followed.next(&answer) {
                Some(next) if redirects <= REDIRECTS_MAX => next,
                _ => return Err(elsewhere(&answer)),
            };
        };
        let status = response.status().as_u16();
        if status == 403 && !lists {
            response = refused(response, patience).await?;
        }
        // Some servers send the part that was asked for, say which, and call it the whole.
        if ranged && status == 200 && response.headers().contains_key("content-range") {
            *response.status_mut() = reqwest::StatusCode::PARTIAL_CONTENT;
        }
        if status >= 500 || matches!(status, 408 | 425 | 429) {
            return Err(busy(response, patience).await);
        }
        if lists && matches!(status, 401 | 403) {
            let trouble = Trouble::NoList { status };
            return Err(HttpError::new(HttpErrorKind::Unknown, trouble));
        }
        Ok(response)
    }
}

fn elsewhere(response: &HttpResponse) -> HttpError {
    let region = response.headers().get("x-amz-bucket-region");
    let region = region.and_then(|region| Some(region.to_str().ok()?.to_owned()));
    let status = response.status().as_u16();
    HttpError::new(
        HttpErrorKind::Unknown,
        Trouble::Elsewhere { status, region },
    )
}

/// Looks why a request is refused, and returns the answer if it is about what may be done.
async fn refused(response: HttpResponse, patience: Duration) -> Result<HttpResponse, HttpError> {
    let (head, body) = response.into_parts();
    let read = Limited::new(body, COMPLAINT_BYTES_MAX).collect();
    let complaint = match timeout(patience, read).await {
        Ok(Ok(body)) => body.to_bytes(),
        _ => Bytes::new(),
    };
    let code = code_of(&String::from_utf8_lossy(&complaint));
    if code == "RequestTimeTooSkewed" || code == "RequestExpired" {
        let server = head.headers.get("date");
        let server = server
            .and_then(|date| date.to_str().ok())
            .unwrap_or("another time");
        let server = server.to_owned();
        return Err(HttpError::new(
            HttpErrorKind::Unknown,
            Trouble::Clock { server },
        ));
    }
    Ok(HttpResponse::from_parts(head, complaint.into()))
}

async fn busy(response: HttpResponse, patience: Duration) -> HttpError {
    let status = response.status().as_u16();
    let seconds = response.headers().get("retry-after");
    let seconds = seconds.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let complaint = Limited::new(response.into_body(), COMPLAINT_BYTES_MAX).collect();
    let complaint = match timeout(patience, complaint).await {
        Ok(Ok(body)) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        _ => String::new(),
    };
    let trouble = Trouble::Busy {
        status,
        retry_after: seconds.map(Duration::from_secs),
        complaint: code_of(&complaint),
    };
    HttpError::new(HttpErrorKind::Unknown, trouble)
}

/// Returns the code in an error's document, which is what there is to be read in it.
fn code_of(document: &str) -> String {
    let code = document
        .split_once("<Code>")
        .and_then(|(_, rest)| rest.split_once("</Code>"));
    match code {
        Some((code, _)) => code.to_owned(),
        None => document
            .lines()
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned(),
    }
}
