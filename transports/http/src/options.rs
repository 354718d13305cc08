//! How a remote is spoken to.

use std::fmt::{self, Debug};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use treeferry_core::{Error, Result};

use crate::cookies::CookieJar;
use crate::tls::TlsOptions;

/// The name and version that servers are told.
const USER_AGENT: &str = concat!("treeferry/", env!("CARGO_PKG_VERSION"));

/// How a remote is spoken to: time limits, headers, TLS.
#[derive(Clone)]
pub struct HttpOptions {
    pub(crate) connect_timeout_ms: u64,
    pub(crate) stall_timeout_ms: u64,
    pub(crate) total_timeout_ms: Option<u64>,
    pub(crate) low_speed: Option<LowSpeed>,
    pub(crate) redirects_max: u32,
    pub(crate) versions: HttpVersions,
    pub(crate) headers: HeaderMap,
    pub(crate) cookies: CookieJar,
    pub(crate) user_agent: String,
    pub(crate) proxy: Option<String>,
    pub(crate) tls: TlsOptions,
}

/// When a transfer is too slow to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LowSpeed {
    /// Fewer bytes a second than this are too few.
    pub bytes_per_second: u64,
    /// Over how long they are counted. Time in which the caller takes no bytes does not count. No
    /// wait for a byte is longer, also where [`HttpOptions::stall_timeout_ms`] is.
    pub window_ms: u64,
}

/// Which versions of HTTP are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HttpVersions {
    /// HTTP/2 where TLS agrees on it, else HTTP/1.1.
    #[default]
    Negotiated,
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 from the first byte, also without TLS.
    Http2,
}

impl Default for HttpOptions {
    /// Half a minute to connect and for each wait, and at least 1000 bytes a second over half a
    /// minute; no limit in all; up to 10 redirects.
    fn default() -> Self {
        Self {
            connect_timeout_ms: 30_000,
            stall_timeout_ms: 30_000,
            total_timeout_ms: None,
            low_speed: Some(LowSpeed {
                bytes_per_second: 1000,
                window_ms: 30_000,
            }),
            redirects_max: 10,
            versions: HttpVersions::default(),
            headers: HeaderMap::new(),
            cookies: CookieJar::default(),
            user_agent: USER_AGENT.into(),
            proxy: None,
            tls: TlsOptions::default(),
        }
    }
}

impl HttpOptions {
    /// Sets how long connecting may take, name lookup and TLS included.
    #[must_use]
    pub fn connect_timeout_ms(mut self, limit_ms: u64) -> Self {
        self.connect_timeout_ms = limit_ms;
        self
    }

    /// Sets how long to wait for the answer, and then for each next byte.
    #[must_use]
    pub fn stall_timeout_ms(mut self, limit_ms: u64) -> Self {
        self.stall_timeout_ms = limit_ms;
        self
    }

    /// Sets how long one request may take in all, its body and redirects included.
    #[must_use]
    pub fn total_timeout_ms(mut self, limit_ms: Option<u64>) -> Self {
        self.total_timeout_ms = limit_ms;
        self
    }

    /// Sets when a transfer is too slow to go on.
    #[must_use]
    pub fn low_speed(mut self, limit: Option<LowSpeed>) -> Self {
        self.low_speed = limit;
        self
    }

    /// Sets how many redirects one request may follow.
    #[must_use]
    pub fn redirects_max(mut self, redirects_max: u32) -> Self {
        self.redirects_max = redirects_max;
        self
    }

    /// Sets which versions of HTTP are spoken.
    #[must_use]
    pub fn versions(mut self, versions: HttpVersions) -> Self {
        self.versions = versions;
        self
    }

    /// Adds a header to every request to the remote itself; not to where it redirects to.
    ///
    /// [`Invalid`](treeferry_core::ErrorKind::Invalid) when HTTP does not allow the name or value.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self> {
        let name: HeaderName = name.parse().map_err(|e| {
            Error::invalid(format!("{name:?} cannot be the name of a header")).because(e)
        })?;
        let mut value = HeaderValue::from_str(value).map_err(|e| {
            Error::invalid(format!("the value of the header {name} is not allowed")).because(e)
        })?;
        value.set_sensitive(true);
        self.headers.append(name, value);
        Ok(self)
    }

    /// Sets the cookies that are sent where they belong, also to where is redirected to.
    #[must_use]
    pub fn cookies(mut self, cookies: CookieJar) -> Self {
        self.cookies = cookies;
        self
    }

    /// Sets the user agent that servers are told, in place of our own name and version.
    #[must_use]
    pub fn user_agent(mut self, words: &str) -> Self {
        self.user_agent = words.into();
        self
    }

    /// Adds words to the user agent that servers are told.
    #[must_use]
    pub fn append_user_agent(mut self, words: &str) -> Self {
        self.user_agent.push(' ');
        self.user_agent.push_str(words);
        self
    }

    /// Sets the proxy that all requests go through, an `http://` or `https://` address.
    #[must_use]
    pub fn proxy(mut self, url: &str) -> Self {
        self.proxy = Some(url.into());
        self
    }

    /// Sets whom TLS trusts, and as whom it speaks.
    #[must_use]
    pub fn tls(mut self, tls: TlsOptions) -> Self {
        self.tls = tls;
        self
    }
}

impl Debug for HttpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the proxy and the values of headers: they may hold secrets.
        f.debug_struct("HttpOptions")
            .field("connect_timeout_ms", &self.connect_timeout_ms)
            .field("stall_timeout_ms", &self.stall_timeout_ms)
            .field("total_timeout_ms", &self.total_timeout_ms)
            .field("low_speed", &self.low_speed)
            .field("redirects_max", &self.redirects_max)
            .field("versions", &self.versions)
            .field("headers", &self.headers.keys())
            .field("user_agent", &self.user_agent)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}
