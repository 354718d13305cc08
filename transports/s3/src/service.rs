//! Sends the requests that `object_store` makes, each once, and says what went wrong in our words.

use std::time::Duration;

use async_trait::async_trait;
use http_body_util::{BodyExt, Limited};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use tokio::time::timeout;

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
        let answer = timeout(patience, self.client.call(request))
            .await
            .map_err(silent)?;
        let mut response = answer?;
        let status = response.status().as_u16();
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
