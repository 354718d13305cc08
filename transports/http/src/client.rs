//! The client: files of a remote by path, over HTTP.

use std::fmt::{self, Debug};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use base64::Engine;
use futures::StreamExt;
use reqwest::header::{
    AUTHORIZATION, COOKIE, HeaderMap, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    LOCATION, RANGE,
};
use reqwest::{Client, Proxy, Response, Url, redirect};
use treeferry_core::pool::Pool;
use treeferry_core::transport::{
    FetchOptions, Fetched, FetchedFile, RemotePath, Resume, Transport, Validator,
};
use treeferry_core::{Error, Result, Subject};

use crate::answer::{self, Outcome};
use crate::body::{self, Expected, Patience};
use crate::failure;
use crate::options::{HttpOptions, HttpVersions};
use crate::part::{self, Part};
use crate::remote_url::{self, Credentials, RemoteUrl};
use crate::tls;

/// How many bytes of one file HTTP/2 may have under way unread. How many files there are at once
/// is the caller's to choose, and so is how much memory that takes.
const STREAM_WINDOW_BYTES: u32 = 512 * 1024;

/// How many bytes of all files of a connection HTTP/2 may have under way unread: as many as can be.
/// A lower limit would let files that wait to be read stop those that are being read.
const CONNECTION_WINDOW_BYTES: u32 = (1 << 31) - 1;

/// How often a busy HTTP/2 connection is asked whether it lives; a dead one would be used again.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// Files below an `http://` or `https://` address.
///
/// Connections are kept and shared by all requests. Nothing is retried here, no proxy or
/// certificate is taken from the environment, and bodies come as they were sent: no compression is
/// asked for or undone.
pub struct HttpTransport {
    client: Client,
    url: RemoteUrl,
    options: HttpOptions,
    /// What only the remote itself may see.
    secret_headers: HeaderMap,
}

impl HttpTransport {
    /// Creates a transport for the files below `url`; a user and password in it are sent as basic
    /// authentication. Connects to nothing yet.
    ///
    /// [`Invalid`](treeferry_core::ErrorKind::Invalid) when the address, a certificate or a header
    /// cannot be used.
    pub async fn new(url: &str, options: HttpOptions) -> Result<Self> {
        let (url, credentials) = RemoteUrl::parse(url)?;
        let about = Subject::Url(url.shown().into());
        let secret_headers =
            secret_headers(&options, credentials).map_err(|e| e.about(about.clone()))?;
        let settings = options.clone();
        let client = Pool::new(1)
            .run(move || build_client(&settings))
            .await
            .map_err(|e| e.about(about))?;
        Ok(Self {
            client,
            url,
            options,
            secret_headers,
        })
    }

    /// Creates a transport for the directory that `url` lies in, and the path of `url` in it.
    ///
    /// For a single file that is given by its address, such as a list of mirrors.
    pub async fn of_file(url: &str, options: HttpOptions) -> Result<(Self, RemotePath)> {
        let (directory, name) = remote_url::split_file(url)?;
        Ok((Self::new(&directory, options).await?, name))
    }

    /// Sends one request, and follows where it is redirected to.
    async fn send(
        &self,
        path: &RemotePath,
        headers: &HeaderMap,
        patience: &Patience,
    ) -> Result<Response> {
        let first = self.url.join(path);
        let mut url = first.clone();
        for _ in 0..=self.options.redirects_max {
            let mut request = self.client.get(url.clone());
            if url.origin() == first.origin() {
                request = request.headers(self.secret_headers.clone());
            }
            if let Some(cookies) = self.options.cookies.header(&url, now_secs())? {
                request = request.header(COOKIE, cookies);
            }
            // Last, so that nobody's own `Range` can take the place of ours.
            let request = request.headers(headers.clone());
            let connecting = Duration::from_millis(self.options.connect_timeout_ms);
            let response = patience
                .wait(connecting, "no answer came", request.send())
                .await?
                .map_err(failure::of_request)?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            url = redirected(&url, response.headers())?;
        }
        let problem = format!("redirects more than {} times", self.options.redirects_max);
        Err(Error::corrupt(problem))
    }

    async fn fetch_once(
        &self,
        path: &RemotePath,
        options: &FetchOptions,
        patience: &Patience,
    ) -> Result<Answer> {
        let resume = options.resume.as_ref().filter(|resume| resume.offset > 0);
        let headers = request_headers(options.unless.as_ref(), resume)?;
        let response = self.send(path, &headers, patience).await?;
        let held = match answer::outcome(response.status(), response.headers()) {
            Outcome::Failed(error) => return Err(error),
            Outcome::Missing => return Ok(Answer::Missing),
            Outcome::NotModified if options.unless.is_some() => return Ok(Answer::NotModified),
            Outcome::NotModified => {
                return Err(Error::corrupt("answers 304 to a request without condition"));
            }
            Outcome::Whole => Part::whole(response.content_length()),
            Outcome::Part => match part::check(&response, resume)? {
                Some(part) => part,
                None => return Ok(Answer::NotResumable),
            },
            Outcome::RangeRefused => match part::refused(&response, resume)? {
                Some(part) => part,
                None => return Ok(Answer::NotResumable),
            },
        };
        if let (Some(total), Some(limit)) = (held.total_bytes, options.bytes_max)
            && total > limit
        {
            return Err(body::over_limit(Some(total), limit));
        }
        Ok(Answer::File(response, held))
    }

    async fn fetch_file(
        &self,
        path: &RemotePath,
        options: FetchOptions,
    ) -> Result<Option<Fetched>> {
        let patience = Patience::start(&self.options);
        let mut answer = self.fetch_once(path, &options, &patience).await?;
        if matches!(answer, Answer::NotResumable) {
            // The server would continue another version, so the whole file is asked for.
            let whole = FetchOptions {
                resume: None,
                ..options.clone()
            };
            answer = self.fetch_once(path, &whole, &patience).await?;
        }
        let (response, part) = match answer {
            Answer::Missing => return Ok(None),
            Answer::NotModified => return Ok(Some(Fetched::NotModified)),
            Answer::NotResumable => {
                return Err(Error::corrupt(
                    "answers with a part to a request for the whole",
                ));
            }
            Answer::File(response, part) => (response, part),
        };
        // A part is of the version that was asked for, also where the server does not repeat it.
        let asked = options.resume.filter(|_| part.offset > 0);
        let validator = answer::validator(response.headers()).or(asked.map(|r| r.validator));
        let expected = Expected {
            offset: part.offset,
            body_bytes: part.body_bytes,
            bytes_max: options.bytes_max,
            subject: self.url.subject(path),
        };
        let bytes = match part.body_bytes {
            Some(0) => futures::stream::empty().boxed(),
            _ => body::watch(response, patience, expected),
        };
        Ok(Some(Fetched::File(FetchedFile {
            offset: part.offset,
            total_bytes: part.total_bytes,
            validator,
            bytes,
        })))
    }
}

#[async_trait]
impl Transport for HttpTransport {
    fn describe(&self, path: &RemotePath) -> String {
        self.url.describe(path)
    }

    fn origin(&self) -> &str {
        self.url.shown()
    }

    async fn fetch(&self, path: &RemotePath, options: FetchOptions) -> Result<Option<Fetched>> {
        self.fetch_file(path, options)
            .await
            .map_err(|e| e.about(self.url.subject(path)))
    }
}

impl Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTransport")
            .field("url", &self.url.shown())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

enum Answer {
    File(Response, Part),
    NotModified,
    Missing,
    /// The server cannot continue the version that the caller has a part of.
    NotResumable,
}

fn request_headers(unless: Option<&Validator>, resume: Option<&Resume>) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    match unless {
        Some(Validator::ETag(tag)) => headers.insert(IF_NONE_MATCH, header_value(tag)?),
        Some(Validator::LastModified(time)) => {
            headers.insert(IF_MODIFIED_SINCE, header_value(time)?)
        }
        None => None,
    };
    if let Some(resume) = resume {
        let (Validator::ETag(version) | Validator::LastModified(version)) = &resume.validator;
        headers.insert(RANGE, header_value(&format!("bytes={}-", resume.offset))?);
        headers.insert(IF_RANGE, header_value(version)?);
    }
    Ok(headers)
}

fn header_value(text: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(text)
        .map_err(|e| Error::invalid("a validator cannot be sent as a header").because(e))
}

fn secret_headers(options: &HttpOptions, credentials: Option<Credentials>) -> Result<HeaderMap> {
    let mut headers = options.headers.clone();
    if let Some(Credentials { user, password }) = credentials
        && !headers.contains_key(AUTHORIZATION)
    {
        headers.insert(AUTHORIZATION, basic_auth(&user, &password)?);
    }
    Ok(headers)
}

fn basic_auth(user: &str, password: &str) -> Result<HeaderValue> {
    let encoded = base64::prelude::BASE64_STANDARD.encode(format!("{user}:{password}"));
    let mut value = header_value(&format!("Basic {encoded}"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn now_secs() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Returns where an answer redirects to, if it may.
fn redirected(from: &Url, headers: &HeaderMap) -> Result<Url> {
    let to = headers.get(LOCATION).and_then(|to| to.to_str().ok());
    let mut to = to
        .and_then(|to| from.join(to).ok())
        .ok_or_else(|| Error::corrupt("redirects to nowhere"))?;
    let shown = remote_url::show(&to);
    match (from.scheme(), to.scheme()) {
        (_, "https") | ("http", "http") => {}
        (_, "http") => {
            let problem = format!("redirects to {shown}, which is not encrypted");
            return Err(Error::corrupt(problem));
        }
        _ => {
            return Err(Error::corrupt(format!(
                "redirects to {shown}, which is not HTTP"
            )));
        }
    }
    // Whoever redirects does not choose as whom we speak.
    let _ = (to.set_username(""), to.set_password(None));
    Ok(to)
}

/// Creates what makes connections. **Blocking**: may read the system's certificates.
fn build_client(options: &HttpOptions) -> Result<Client> {
    let invalid =
        |e: reqwest::Error| Error::invalid("HTTP cannot be set up").because(e.without_url());
    let mut builder = Client::builder()
        .tls_backend_preconfigured(tls::configure(&options.tls, options.versions)?)
        .user_agent(&options.user_agent)
        .redirect(redirect::Policy::none())
        .referer(false)
        .connect_timeout(Duration::from_millis(options.connect_timeout_ms))
        .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
        .http2_initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keep_alive_interval(PING_INTERVAL)
        .http2_keep_alive_timeout(PING_INTERVAL)
        // Otherwise a proxy would be taken from the environment.
        .no_proxy();
    if let Some(proxy) = &options.proxy {
        // The cause is left out: it could repeat a password.
        let proxy = Proxy::all(proxy)
            .map_err(|_| Error::invalid("the address of the proxy cannot be used"))?;
        builder = builder.proxy(proxy);
    }
    builder = match options.versions {
        HttpVersions::Negotiated => builder,
        HttpVersions::Http1 => builder.http1_only(),
        HttpVersions::Http2 => builder.http2_prior_knowledge(),
    };
    builder.build().map_err(invalid)
}
