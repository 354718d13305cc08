//! Remotes that are named by a list of mirrors or by a metalink.

use std::sync::Arc;

use bytes::Bytes;
use treeferry_core::archive::{CONFIG_PATH, METALINK_BYTES_MAX, Metalink, SUMMARY_PATH, read_file};
use treeferry_core::transport::{Mirrors, RemotePath, Transport};
use treeferry_transport_http::{HttpOptions, HttpTransport};

use crate::failure::{Failure, Result};
use crate::rate::limited;

/// The longest list of mirrors that is read, bytes.
const LIST_BYTES_MAX: u64 = 1024 * 1024;

/// Returns whether `url` says where it is said where a remote is.
pub(crate) fn is_list(url: &str) -> bool {
    url.starts_with("mirrorlist=") || url.starts_with("metalink=")
}

/// Opens the mirrors that the list at `url` names: an address a line, and comments after `#`.
pub(crate) async fn listed(url: &str, http: &HttpOptions) -> Result<Mirrors> {
    let failed = |e: Failure| e.context(format_args!("mirrorlist {url}"));
    let text = text_at(url, LIST_BYTES_MAX, http).await.map_err(failed)?;
    let lines = text.lines().map(str::trim);
    let urls = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut mirrors: Vec<Arc<dyn Transport>> = Vec::new();
    for url in urls {
        // Lines that are no address for us, such as of rsync, are for others.
        if url.starts_with("http://") || url.starts_with("https://") {
            mirrors.push(Arc::new(HttpTransport::new(url, http.clone()).await?));
        }
    }
    let mirrors = Mirrors::new(mirrors, url)?;
    Ok(mirrors.starting_where(&CONFIG_PATH.parse()?).await?)
}

/// Opens the first place that the metalink at `url` names and that has the summary which it says,
/// and returns that summary as well.
pub(crate) async fn by_metalink(
    url: &str,
    http: &HttpOptions,
) -> Result<(Arc<dyn Transport>, Bytes)> {
    let failed = |e: Failure| e.context(format_args!("metalink {url}"));
    let text = text_at(url, METALINK_BYTES_MAX, http)
        .await
        .map_err(failed)?;
    let metalink = Metalink::parse(&text, SUMMARY_PATH).map_err(|e| failed(e.into()))?;
    let mut last = None;
    for url in &metalink.urls {
        match summary_at(url, &metalink, http).await {
            Ok(opened) => return Ok(opened),
            Err(failure) => last = Some(failure.context(url)),
        }
    }
    Err(failed(
        last.unwrap_or_else(|| Failure::new("names no place")),
    ))
}

async fn summary_at(
    url: &str,
    metalink: &Metalink,
    http: &HttpOptions,
) -> Result<(Arc<dyn Transport>, Bytes)> {
    let (transport, path) = HttpTransport::of_file(url, http.clone()).await?;
    let longest = metalink.size_bytes().saturating_add(1);
    let bytes = bytes_at(&transport, &path, longest).await?;
    metalink.verify(&bytes)?;
    Ok((Arc::new(limited(transport)), bytes))
}

async fn text_at(url: &str, bytes_max: u64, http: &HttpOptions) -> Result<String> {
    let (transport, path) = HttpTransport::of_file(url, http.clone()).await?;
    let bytes = bytes_at(&transport, &path, bytes_max).await?;
    String::from_utf8(bytes.into()).map_err(|_| Failure::new("is not UTF-8"))
}

async fn bytes_at(transport: &HttpTransport, path: &RemotePath, bytes_max: u64) -> Result<Bytes> {
    let read = read_file(transport, path, bytes_max).await?;
    read.ok_or_else(|| Failure::new("is not there"))
}
