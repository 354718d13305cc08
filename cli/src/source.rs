//! From a configured remote, or an address, to something that can be pulled from.

use std::ffi::OsStr;
use std::sync::Arc;

use treeferry_core::archive::ArchiveRemote;
use treeferry_core::ops::pull::PullSource;
use treeferry_core::repo::{Permitted, RemoteConfig};
use treeferry_transport_http::{
    ClientIdentity, HttpOptions, HttpTransport, HttpVersions, ServerTrust, TlsOptions,
};

use crate::failure::{Failure, Result};
use crate::file_text;
use crate::place::Place;
use crate::session::Name;
use crate::verbs::version::OSTREE_VERSION;

/// Opens what `url` names: a web server, or a repository that is reached without one.
pub(crate) async fn open(
    url: &str,
    content_url: Option<&str>,
    http: &HttpOptions,
) -> Result<PullSource> {
    match Place::parse(OsStr::new(url)) {
        // Lists of mirrors are no places, and are refused there.
        Ok(Place::Web(_)) | Err(_) => Ok(open_http(url, content_url, http).await?.into()),
        Ok(place) => Ok(place.open().await?.repo.into()),
    }
}

/// Opens a repository on a web server.
pub(crate) async fn open_http(
    url: &str,
    content_url: Option<&str>,
    http: &HttpOptions,
) -> Result<ArchiveRemote> {
    for kind in ["mirrorlist=", "metalink="] {
        if url.starts_with(kind) {
            let message = format!("{url}: lists of mirrors are not supported yet");
            return Err(Failure::new(message));
        }
    }
    let transport = Arc::new(HttpTransport::new(url, http.clone()).await?);
    Ok(match content_url {
        None => ArchiveRemote::new(transport),
        Some(url) => {
            let content = HttpTransport::new(url, http.clone()).await?;
            ArchiveRemote::with_content(transport, Arc::new(content))
        }
    })
}

/// Returns how a configured remote wants to be spoken to.
pub(crate) fn http_options(remote: &RemoteConfig, name: Name) -> Result<HttpOptions> {
    let mut options = HttpOptions::default();
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

/// Returns the proxy that the environment names, as curl looks it up.
fn proxy_of_environment() -> Option<String> {
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
