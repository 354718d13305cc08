//! Answers that send a request elsewhere.
//!
//! A signature is for one host and path, so only what needs none of ours is followed: an address that
//! brings its own, as gateways and caches hand them out for reading. Our keys are not sent there.

use object_store::client::{HttpRequest, HttpRequestBody, HttpResponse};
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, COOKIE, HOST, HeaderMap, LOCATION};
use reqwest::{Method, StatusCode};

/// How many times a request is sent elsewhere.
pub(crate) const REDIRECTS_MAX: u32 = 5;

/// Parameters that say that an address is signed: of Amazon (both ways), Google, Azure.
const SIGNATURES: [&str; 5] = [
    "X-Amz-Signature",
    "Signature",
    "X-Goog-Signature",
    "GoogleAccessId",
    "sig",
];

/// What is needed of a request to send it elsewhere.
#[derive(Debug)]
pub(crate) struct Followed {
    method: Method,
    headers: HeaderMap,
    url: Option<Url>,
}

impl Followed {
    pub(crate) fn of(request: &HttpRequest) -> Self {
        Self {
            method: request.method().clone(),
            headers: request.headers().clone(),
            url: Url::parse(&request.uri().to_string()).ok(),
        }
    }

    /// Returns the request to make next; `None` if the answer sends nobody elsewhere, or not so that
    /// it can be followed.
    pub(crate) fn next(&mut self, answer: &HttpResponse) -> Option<HttpRequest> {
        let sends_on = matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308);
        if !sends_on || !matches!(self.method, Method::GET | Method::HEAD) {
            return None;
        }
        let location = answer.headers().get(LOCATION)?.to_str().ok()?;
        let from = self.url.take()?;
        let to = from.join(location).ok()?;
        let is_safe = to.scheme() == "https" || from.scheme() == "http" && to.scheme() == "http";
        let is_signed = to.query_pairs().any(|(name, _)| {
            SIGNATURES
                .iter()
                .any(|known| name.eq_ignore_ascii_case(known))
        });
        let was_signed = self.headers.contains_key(AUTHORIZATION);
        if !is_safe || was_signed && !is_signed {
            return None;
        }
        let ours = |name: &str| {
            name == AUTHORIZATION
                || name == COOKIE
                || name == HOST
                || name.starts_with("x-amz-")
                || name.starts_with("x-goog-")
                || name.starts_with("x-ms-")
        };
        let kept = self.headers.iter().filter(|(name, _)| !ours(name.as_str()));
        let kept: HeaderMap = kept.map(|(k, v)| (k.clone(), v.clone())).collect();
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = to.as_str().parse().ok()?;
        *request.headers_mut() = kept.clone();
        (self.headers, self.url) = (kept, Some(to));
        Some(request)
    }
}

/// Returns whether an answer sends elsewhere.
pub(crate) fn is_redirect(status: StatusCode) -> bool {
    status.is_redirection() && status != StatusCode::NOT_MODIFIED
}
