//! Repositories over HTTP: a client transport, and a plain server.
//!
//! [`HttpTransport`] reads from any static web server; nothing of the protocol is ours.

mod answer;
mod body;
mod client;
mod failure;
mod options;
mod part;
mod remote_url;
mod tls;

pub use client::HttpTransport;
pub use options::{HttpOptions, HttpVersions, LowSpeed};
pub use tls::{ClientIdentity, ServerTrust, TlsOptions};
