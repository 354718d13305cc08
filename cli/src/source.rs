//! From a configured remote, or an address, to something that can be pulled from.

use std::ffi::OsStr;
use std::sync::Arc;

use treeferry_core::archive::ArchiveRemote;
use treeferry_core::format::RemoteName;
use treeferry_core::ops::pull::PullSource;
use treeferry_core::repo::{Permitted, RemoteConfig, Repo};
use treeferry_core::store::ExtraName;
use treeferry_core::transport::Transport;
use treeferry_transport_http::{
    ClientIdentity, CookieJar, HttpOptions, HttpTransport, HttpVersions, ServerTrust, TlsOptions,
};

use crate::failure::{Failure, Result};
use crate::file_text;
use crate::mirrors;
use crate::place::Place;
use crate::rate::limited;
use crate::session::Name;
use crate::verbs::version::OSTREE_VERSION;

/// Opens what `url` names: a web server, or a repository that is reached without one.
pub(crate) async fn open(
    url: &str,
    content_url: Option<&str>,
    http: &HttpOptions,
) -> Result<PullSource> {
    let is_listed = mirrors::is_list(url);
    match Place::parse(OsStr::new(url)) {
        Ok(Place::Web(_)) | Err(_) => Ok(open_http(url, content_url, http).await?.into()),
        Ok(_) if is_listed => Ok(open_http(url, content_url, http).await?.into()),
        Ok(place) => Ok(place.open().await?.repo.into()),
    }
}

/// Opens a repository on a web server.
pub(crate) async fn open_http(
    url: &str,
    content_url: Option<&str>,
    http: &HttpOptions,
) -> Result<ArchiveRemote> {
    let (metadata, summary) = match url.strip_prefix("metalink=") {
        None => (transport(url, http).await?, None),
        Some(url) => {
            let (transport, summary) = mirrors::by_metalink(url, http).await?;
            (transport, Some(summary))
        }
    };
    let content = match content_url {
        None => Arc::clone(&metadata),
        Some(url) => transport(url, http).await?,
    };
    let remote = ArchiveRemote::with_content(metadata, content);
    Ok(match summary {
        None => remote,
        Some(summary) => remote.with_summary(summary),
    })
}

/// Opens the files below a URL, or below the mirrors that a list at it names.
async fn transport(url: &str, http: &HttpOptions) -> Result<Arc<dyn Transport>> {
    let listed = url.strip_prefix("mirrorlist=").unwrap_or(url);
    if let Some((scheme, _)) = listed.split_once("://")
        && !["http", "https"].contains(&scheme.to_ascii_lowercase().as_str())
    {
        let message = format!("Invalid URI scheme in {url}: expected http:// or https://");
        return Err(Failure::new(message));
    }
    Ok(match url.strip_prefix("mirrorlist=") {
        Some(url) => Arc::new(limited(mirrors::listed(url, http).await?)),
        None => Arc::new(limited(HttpTransport::new(url, http.clone()).await?)),
    })
}

/// Returns how a configured remote wants to be spoken to.
///
/// Its cookies are those that `repo` has for it.
pub(crate) async fn http_options(
    repo: &Repo,
    remote: &RemoteConfig,
    name: Name,
) -> Result<HttpOptions> {
    let mut options = HttpOptions::default().cookies(cookies(repo, &remote.name).await?);
    if name == Name::Ostree {
        // Servers that tell clients apart know this one.
        options = options.user_agent(&format!("libostree/{OSTREE_VERSION}"));
    }
    if let Some(proxy) = remote.proxy.clone().or_else(proxy_of_environment) {
        options = options.proxy(&proxy);
    }
    if remote.http2 == Permitted::No {
        options = options.versions(HttpVersions::Http1);
    }
    let tls = &remote.tls;
    let read = |path: &str| file_text::read(path.as_ref()).map(bytes::Bytes::from);
    let trust = match (tls.permissive, &tls.ca_path) {
        (true, _) => ServerTrust::Anyone,
        (false, Some(path)) => ServerTrust::Authorities(read(path)?),
        (false, None) => ServerTrust::System,
    };
    let identity = match (&tls.client_cert_path, &tls.client_key_path) {
        (Some(certificate), Some(key)) => Some(ClientIdentity {
            certificate_pem: read(certificate)?,
            key_pem: read(key)?,
        }),
        (None, None) => None,
        _ => {
            let keys = "tls-client-cert-path and tls-client-key-path";
            let message = format!(
                "Remote \"{}\" must have both or none of {keys}",
                remote.name
            );
            return Err(Failure::new(message));
        }
    };
    Ok(options.tls(TlsOptions { trust, identity }))
}

/// Returns how a server is spoken to that nothing is configured for.
pub(crate) fn plain_http() -> HttpOptions {
    let options = HttpOptions::default();
    match proxy_of_environment() {
        Some(proxy) => options.proxy(&proxy),
        None => options,
    }
}

/// Reads the cookies that a repository has for a remote.
pub(crate) async fn cookies(repo: &Repo, remote: &RemoteName) -> Result<CookieJar> {
    let file = ExtraName::Cookies(remote.clone());
    let Some(bytes) = repo.state().read_extra(&file).await? else {
        return Ok(CookieJar::default());
    };
    let text = String::from_utf8_lossy(&bytes);
    let read = CookieJar::parse(&text).map_err(Failure::from);
    read.map_err(|e| e.context(file.file_name()))
}

/// Returns the proxy that the environment names, as curl looks it up.
pub(crate) fn proxy_of_environment() -> Option<String> {
    let names = [
        "all_proxy",
        "ALL_PROXY",
        "https_proxy",
        "HTTPS_PROXY",
        "http_proxy",
    ];
    let value = names.iter().find_map(|name| std::env::var(name).ok());
    value.filter(|value| !value.is_empty())
}
