//! Repositories over HTTP: a client transport, and a plain server.
//!
//! [`HttpTransport`] reads from any static web server; nothing of the protocol is ours. [`Server`]
//! is such a server, for a directory that holds a repository.

mod answer;
mod body;
mod client;
mod cookies;
mod failure;
mod options;
mod part;
mod remote_url;
mod serve;
mod tls;

pub use client::HttpTransport;
pub use cookies::{Cookie, CookieJar, Secure};
pub use options::{HttpOptions, HttpVersions, LowSpeed};
pub use serve::{Answer, Asked, ServeOptions, Served, Server, Verdict};
pub use tls::{ClientIdentity, ServerTrust, TlsOptions};
