//! How a bucket is spoken to.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::path::PathBuf;
use std::time::Duration;

use treeferry_core::{Error, Result};
use treeferry_transport_http::TlsOptions;

use crate::{BucketAddress, Provider};

/// How a bucket is spoken to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BucketOptions {
    /// The server, `https://HOST` or `http://HOST:PORT`, where it is not the provider's own.
    pub endpoint: Option<String>,
    /// The region. Servers of one's own mostly do not care.
    pub region: Option<String>,
    /// Whether the bucket is a part of the host's name, as Amazon prefers, or of the path.
    pub addressing: Addressing,
    /// As whom.
    pub credentials: Credentials,
    /// Who else writes.
    pub writers: Writers,
    /// Whom TLS trusts.
    pub tls: TlsOptions,
    /// The proxy that all requests go through.
    pub(crate) proxy: Option<Secret>,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long nothing may happen.
    pub stall_timeout: Duration,
    /// How slow sending may be before it is given up, bytes a second.
    pub low_speed_bytes: u64,
    /// How long a file must be to be sent in parts, bytes. A part is held in memory while it is sent.
    pub part_bytes: u64,
    /// How many parts are sent at once, of all files together.
    pub parts_at_once: usize,
    /// Other settings, by the names that `object_store` gives them, such as `azure_storage_account_name`.
    pub(crate) settings: BTreeMap<String, Secret>,
}

impl Default for BucketOptions {
    /// Anonymous, and several writers.
    fn default() -> Self {
        Self {
            endpoint: None,
            region: None,
            addressing: Addressing::Path,
            credentials: Credentials::Anonymous,
            writers: Writers::Several,
            tls: TlsOptions::default(),
            proxy: None,
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(30),
            low_speed_bytes: 16 * 1024,
            part_bytes: 8 * 1024 * 1024,
            parts_at_once: 8,
            settings: BTreeMap::new(),
        }
    }
}

/// Where the name of a bucket stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addressing {
    /// `https://HOST/BUCKET/KEY`.
    Path,
    /// `https://BUCKET.HOST/KEY`.
    VirtualHosted,
}

/// As whom a bucket is spoken to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Credentials {
    /// As nobody: what is public can be read.
    Anonymous,
    /// With keys that do not change.
    Keys(Keys),
    /// With the keys of a profile in a file of `aws`, read again as they change.
    Profile {
        /// The files to look in, `credentials` and `config`.
        files: Vec<PathBuf>,
        /// Which profile.
        name: String,
    },
    /// With what the machine, the container or the [settings](BucketOptions::set) give, and
    /// renewed as they run out.
    Ambient,
}

/// Keys that do not change.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// The public one.
    pub id: String,
    /// The secret one.
    pub secret: String,
    /// What comes with keys that expire.
    pub token: Option<String>,
}

impl Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// A setting that is not shown.
#[derive(Clone)]
pub(crate) struct Secret(pub(crate) String);

impl Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("...")
    }
}

/// Who writes to a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writers {
    /// Anybody: refs move by conditional writes, which the server must enforce.
    Several,
    /// Nobody else, which nothing checks. For servers that do not enforce them.
    One,
}

impl BucketOptions {
    /// Sets what `object_store` calls `key`.
    #[must_use]
    pub fn set(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.insert(key.into(), Secret(value.into()));
        self
    }

    /// Sets the proxy that all requests go through, an `http://` or `https://` address.
    #[must_use]
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.proxy = Some(Secret(url.into()));
        self
    }

    /// Takes the options that stand in an address.
    pub(crate) fn apply_address(&mut self, address: &BucketAddress) -> Result<()> {
        for (key, value) in &address.settings {
            match key.as_str() {
                "endpoint" => self.endpoint = Some(value.clone()),
                "region" => self.region = Some(value.clone()),
                "anonymous" => self.credentials = Credentials::Anonymous,
                "single-writer" => self.writers = Writers::One,
                "virtual-hosted" => self.addressing = Addressing::VirtualHosted,
                _ => {
                    let problem = format!(
                        "{address}: '{key}' is not known: expected endpoint, region, anonymous, \
                         single-writer or virtual-hosted"
                    );
                    return Err(Error::invalid(problem));
                }
            }
        }
        if address.provider == Provider::Azure && self.addressing == Addressing::VirtualHosted {
            return Err(Error::invalid(format!(
                "{address}: containers have no hosts of their own"
            )));
        }
        Ok(())
    }
}
