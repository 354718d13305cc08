//! Makes the client of a bucket.

use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::client::{ClientConfigKey, HttpConnector};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use treeferry_core::{Error, Result};
use treeferry_transport_http::HttpVersions;

use crate::options::{Addressing, BucketOptions, Credentials};
use crate::profile::ProfileKeys;
use crate::service::Service;
use crate::{BucketAddress, Provider, emulator};

/// The region that is named where none is: servers of one's own do not care.
const REGION: &str = "us-east-1";

/// Returns the client of a bucket. **Blocking**: may read certificates and files of credentials.
pub(crate) fn connect(
    address: &BucketAddress,
    options: &BucketOptions,
) -> Result<Arc<dyn ObjectStore>> {
    let service = Service {
        client: client(options)?,
        stall_timeout: options.stall_timeout,
        low_speed_bytes: options.low_speed_bytes,
    };
    let made = match address.provider {
        Provider::S3 => s3(address, options, service),
        Provider::Gcs => gcs(address, options, service),
        Provider::Azure => azure(address, options, service),
    };
    made.map_err(|e| Error::invalid(format!("{address}: cannot be used")).because(e))
}

fn client(options: &BucketOptions) -> Result<reqwest::Client> {
    let invalid =
        |e: reqwest::Error| Error::invalid("HTTP cannot be set up").because(e.without_url());
    let builder = reqwest::Client::builder()
        .tls_backend_preconfigured(options.tls.client_config(HttpVersions::Http1)?)
        .user_agent(concat!("treeferry/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(options.connect_timeout)
        // Otherwise a proxy would be taken from the environment.
        .no_proxy()
        .http1_only();
    let builder = match &options.proxy {
        None => builder,
        Some(proxy) => {
            // The cause is left out: it could repeat a password.
            let bad = |_| Error::invalid("the address of the proxy cannot be used");
            builder.proxy(reqwest::Proxy::all(&proxy.0).map_err(bad)?)
        }
    };
    builder.build().map_err(invalid)
}

/// Trying again is the caller's business.
fn never() -> RetryConfig {
    RetryConfig {
        max_retries: 0,
        ..RetryConfig::default()
    }
}

fn client_options(options: &BucketOptions) -> ClientOptions {
    let plain = options
        .endpoint
        .as_ref()
        .is_some_and(|e| e.starts_with("http://"));
    ClientOptions::new().with_config(ClientConfigKey::AllowHttp, plain.to_string())
}

/// Returns the settings whose names this kind of bucket knows.
fn settings<K: std::str::FromStr>(options: &BucketOptions) -> Vec<(K, String)> {
    let known = |(key, value): (&String, &crate::options::Secret)| {
        Some((key.parse().ok()?, value.0.clone()))
    };
    options.settings.iter().filter_map(known).collect()
}

fn s3(
    address: &BucketAddress,
    options: &BucketOptions,
    service: impl HttpConnector,
) -> object_store::Result<Arc<dyn ObjectStore>> {
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&address.bucket)
        .with_region(options.region.as_deref().unwrap_or(REGION))
        .with_virtual_hosted_style_request(options.addressing == Addressing::VirtualHosted)
        .with_retry(never())
        .with_client_options(client_options(options))
        .with_http_connector(service);
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
    }
    for (key, value) in settings::<AmazonS3ConfigKey>(options) {
        builder = builder.with_config(key, value);
    }
    builder = match options.credentials.clone() {
        Credentials::Anonymous => builder.with_skip_signature(true),
        Credentials::Keys(keys) => {
            let builder = builder
                .with_access_key_id(keys.id)
                .with_secret_access_key(keys.secret);
            match keys.token {
                Some(token) => builder.with_token(token),
                None => builder,
            }
        }
        Credentials::Profile { files, name } => {
            builder.with_credentials(Arc::new(ProfileKeys::new(files, name)))
        }
        Credentials::Ambient => builder,
    };
    Ok(Arc::new(builder.build()?))
}

fn gcs(
    address: &BucketAddress,
    options: &BucketOptions,
    service: impl HttpConnector,
) -> object_store::Result<Arc<dyn ObjectStore>> {
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(&address.bucket)
        .with_retry(never())
        .with_client_options(client_options(options))
        .with_http_connector(service);
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_base_url(endpoint.trim_end_matches('/'));
    }
    for (key, value) in settings::<GoogleConfigKey>(options) {
        builder = builder.with_config(key, value);
    }
    if matches!(options.credentials, Credentials::Anonymous) {
        builder = builder.with_skip_signature(true);
    }
    Ok(Arc::new(builder.build()?))
}

fn azure(
    address: &BucketAddress,
    options: &BucketOptions,
    service: impl HttpConnector,
) -> object_store::Result<Arc<dyn ObjectStore>> {
    let mut builder = MicrosoftAzureBuilder::new()
        .with_container_name(&address.bucket)
        .with_retry(never())
        .with_client_options(client_options(options))
        .with_http_connector(service);
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_endpoint(endpoint.trim_end_matches('/').to_owned());
    }
    for (key, value) in settings::<AzureConfigKey>(options) {
        builder = builder.with_config(key, value);
    }
    builder = emulator::direct(builder, options);
    builder = match options.credentials.clone() {
        Credentials::Anonymous => builder.with_skip_signature(true),
        Credentials::Keys(keys) => builder.with_account(keys.id).with_access_key(keys.secret),
        Credentials::Profile { .. } | Credentials::Ambient => builder,
    };
    Ok(Arc::new(builder.build()?))
}
