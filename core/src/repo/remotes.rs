//! The remotes that a repository's configuration names.

use std::path::PathBuf;

use super::Repo;
use super::config::bad;
use crate::error::{Error, Result};
use crate::format::keyfile::KeyFile;
use crate::format::{Branch, CollectionId, RemoteName};
use crate::sign::SignVerify;
use crate::store::ExtraName;

/// One `[remote "NAME"]` of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemoteConfig {
    /// Its name.
    pub name: RemoteName,
    /// Where it is; after `mirrorlist=` or `metalink=` where it is said where that is.
    pub url: String,
    /// Where its objects are, if elsewhere.
    pub content_url: Option<String>,
    /// The branches that a pull fetches when it names none.
    pub branches: Vec<Branch>,
    /// The collection that its refs belong to.
    pub collection_id: Option<CollectionId>,
    /// Whether commits must carry an OpenPGP signature.
    pub gpg_verify: Required,
    /// The most seconds since its summary was made, if there is a limit: `max-summary-age-secs`.
    pub summary_age_secs_max: Option<u64>,
    /// The most seconds since a commit of its refs was made: `max-commit-age-secs`.
    pub commit_age_secs_max: Option<u64>,
    /// Whether the summary must carry an OpenPGP signature.
    pub gpg_verify_summary: Required,
    /// Whether commits must carry another kind of signature.
    pub sign_verify: Required,
    /// Whether the summary must carry another kind of signature.
    pub sign_verify_summary: Required,
    /// Which kinds, and by which keys.
    pub sign: SignVerify,
    /// Keyrings of OpenPGP, as configured: see [`RemoteConfig::gpg_key_paths`].
    pub gpg_key_path: Option<String>,
    /// The program that pulls from it: what its URL means only that one knows.
    pub custom_backend: Option<String>,
    /// A text that any pull fails with: something has to be set up first.
    pub unconfigured_state: Option<String>,
    /// The proxy to go through.
    pub proxy: Option<String>,
    /// TLS: which certificates.
    pub tls: TlsConfig,
    /// Whether HTTP/2 may be used.
    pub http2: Permitted,
}

/// Whether something must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Required {
    /// It must.
    Yes,
    /// It need not.
    No,
}

/// Whether something may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permitted {
    /// It may.
    Yes,
    /// It must not.
    No,
}

/// The TLS settings of a remote: paths, as configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsConfig {
    /// Whether a certificate that does not verify is accepted.
    pub permissive: bool,
    /// A file of certificates to trust instead of the system's.
    pub ca_path: Option<String>,
    /// The client's certificate.
    pub client_cert_path: Option<String>,
    /// The client's key.
    pub client_key_path: Option<String>,
}

/// What `remote add` does when there is a remote of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfExists {
    /// Fails.
    Fail,
    /// Leaves it alone.
    Keep,
    /// Replaces it.
    Replace,
}

/// A remote to add.
#[derive(Debug, Clone)]
pub struct NewRemote {
    /// Its name.
    pub name: RemoteName,
    /// Where it is; empty for one of a program of its own that has no URL.
    pub url: String,
    /// The branches that a pull fetches when it names none.
    pub branches: Vec<Branch>,
    /// Further keys and values, in order.
    pub settings: Vec<(String, String)>,
}

impl RemoteConfig {
    /// Reads the remote `name`; `None` when it is not configured.
    pub fn read(config: &KeyFile, name: &RemoteName) -> Result<Option<Self>> {
        let section = Section {
            config,
            group: group_of(name),
        };
        if !config.has_group(&section.group) {
            return Ok(None);
        }
        let metalink = section
            .string("metalink")?
            .map(|url| format!("metalink={url}"));
        let url = metalink.or(section.string("url")?);
        let custom_backend = section.string("custom-backend")?;
        let none = || custom_backend.is_some().then(String::new);
        let url = url.or_else(none).ok_or_else(|| {
            Error::missing("has no value").about(crate::Subject::ConfigKey(section.key("url")))
        })?;
        let branches = section.list("branches")?;
        let branches = branches
            .iter()
            .map(|b| Branch::new(b).map_err(|e| section.bad("branches", e)));
        let collection_id = section.string("collection-id")?;
        let collection_id = collection_id
            .map(|id| CollectionId::new(&id).map_err(|e| section.bad("collection-id", e)));
        Ok(Some(Self {
            name: name.clone(),
            url,
            content_url: section.string("contenturl")?,
            branches: branches.collect::<Result<_>>()?,
            collection_id: collection_id.transpose()?,
            summary_age_secs_max: section.number("max-summary-age-secs")?,
            commit_age_secs_max: section.number("max-commit-age-secs")?,
            gpg_verify: section.required("gpg-verify", Required::Yes)?,
            gpg_verify_summary: section.required("gpg-verify-summary", Required::No)?,
            sign_verify: section.required("sign-verify", Required::No)?,
            sign_verify_summary: section.required("sign-verify-summary", Required::No)?,
            sign: SignVerify::read(config, name)?,
            gpg_key_path: section.string("gpgkeypath")?,
            custom_backend,
            unconfigured_state: section.string("unconfigured-state")?,
            proxy: section.string("proxy")?,
            tls: TlsConfig {
                permissive: section.boolean("tls-permissive")?.unwrap_or(false),
                ca_path: section.string("tls-ca-path")?,
                client_cert_path: section.string("tls-client-cert-path")?,
                client_key_path: section.string("tls-client-key-path")?,
            },
            http2: match section.boolean("http2")? {
                Some(false) => Permitted::No,
                _ => Permitted::Yes,
            },
        }))
    }

    /// Returns the keyrings of OpenPGP, files and directories, that count in place of the machine's.
    ///
    /// # Errors
    ///
    /// When they are separated in more than one way.
    pub fn gpg_key_paths(&self) -> Result<Vec<PathBuf>> {
        let text = self.gpg_key_path.as_deref().unwrap_or_default();
        let separator = match (text.contains(';'), text.contains(',')) {
            (true, true) => {
                let key = format!("{}.gpgkeypath", group_of(&self.name));
                let problem = "key value list contains more than one separator";
                return Err(Error::invalid(problem).about(crate::Subject::ConfigKey(key)));
            }
            (false, true) => ',',
            _ => ';',
        };
        let text = text.strip_suffix(separator).unwrap_or(text);
        match text.is_empty() {
            true => Ok(Vec::new()),
            false if text.split(separator).any(str::is_empty) => {
                let key = format!("{}.gpgkeypath", group_of(&self.name));
                let problem = "lists a path that is empty (): No such file or directory";
                Err(Error::invalid(problem).about(crate::Subject::ConfigKey(key)))
            }
            false => Ok(text.split(separator).map(PathBuf::from).collect()),
        }
    }

    /// Returns the names of all remotes, sorted.
    pub fn list(config: &KeyFile) -> Vec<RemoteName> {
        let name = |group: &str| -> Option<RemoteName> {
            group
                .strip_prefix("remote \"")?
                .strip_suffix('"')?
                .parse()
                .ok()
        };
        let mut names: Vec<_> = config.groups().into_iter().filter_map(name).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

fn group_of(name: &RemoteName) -> String {
    format!("remote \"{name}\"")
}

struct Section<'a> {
    config: &'a KeyFile,
    group: String,
}

impl Section<'_> {
    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.group)
    }

    fn bad(&self, key: &str, error: crate::format::FormatError) -> Error {
        bad(&self.key(key), error)
    }

    fn string(&self, key: &str) -> Result<Option<String>> {
        self.config
            .string(&self.group, key)
            .map_err(|e| self.bad(key, e))
    }

    fn list(&self, key: &str) -> Result<Vec<String>> {
        let list = self
            .config
            .string_list(&self.group, key)
            .map_err(|e| self.bad(key, e))?;
        Ok(list.unwrap_or_default())
    }

    fn number(&self, key: &str) -> Result<Option<u64>> {
        self.config
            .uint64(&self.group, key)
            .map_err(|e| self.bad(key, e))
    }

    fn boolean(&self, key: &str) -> Result<Option<bool>> {
        self.config
            .boolean(&self.group, key)
            .map_err(|e| self.bad(key, e))
    }

    // `sign-verify` may also list the kinds of signature that count, and then it is required.
    fn required(&self, key: &str, default: Required) -> Result<Required> {
        match self.config.boolean(&self.group, key) {
            Ok(None) => Ok(default),
            Ok(Some(true)) => Ok(Required::Yes),
            Ok(Some(false)) => Ok(Required::No),
            Err(_) if key.starts_with("sign-") => Ok(Required::Yes),
            Err(error) => Err(self.bad(key, error)),
        }
    }
}

impl Repo {
    /// Reads a remote that must be configured.
    pub async fn remote(&self, name: &RemoteName) -> Result<RemoteConfig> {
        let remote = RemoteConfig::read(&self.config().await?, name)?;
        remote.ok_or_else(|| no_such_remote(name))
    }

    /// Adds a remote.
    pub async fn add_remote(&self, remote: &NewRemote, if_exists: IfExists) -> Result<()> {
        let group = group_of(&remote.name);
        self.change_config(|config| {
            if config.has_group(&group) {
                match if_exists {
                    IfExists::Fail => {
                        let problem = format!(
                            "Remote configuration for \"{}\" already exists",
                            remote.name
                        );
                        return Err(Error::invalid(problem));
                    }
                    IfExists::Keep => return Ok(()),
                    IfExists::Replace => {
                        config.remove_group(&group);
                    }
                }
            }
            let set = |key: &str| format!("{group}.{key}");
            let (key, url) = match remote.url.strip_prefix("metalink=") {
                Some(url) => ("metalink", url),
                None => ("url", &*remote.url),
            };
            if !url.is_empty() {
                config
                    .set_string(&group, key, url)
                    .map_err(|e| bad(&set(key), e))?;
            }
            if !remote.branches.is_empty() {
                let branches = remote.branches.iter().map(Branch::as_str);
                config
                    .set_string_list(&group, "branches", branches)
                    .map_err(|e| bad(&set("branches"), e))?;
            }
            for (key, value) in &remote.settings {
                config
                    .set_string(&group, key, value)
                    .map_err(|e| bad(&set(key), e))?;
            }
            // Written only if it can be read back; but which collection it says is the caller's: OSTree
            // writes down any, and complains when it is used.
            let mut read = config.clone();
            read.remove_key(&group, "collection-id");
            RemoteConfig::read(&read, &remote.name).map(drop)
        })
        .await
    }

    /// Deletes a remote, with its keyring and cookies. Its refs stay, so that no prune takes what
    /// they hold.
    pub async fn delete_remote(&self, name: &RemoteName) -> Result<()> {
        let group = group_of(name);
        self.change_config(|config| {
            if config.remove_group(&group) {
                Ok(())
            } else {
                Err(no_such_remote(name))
            }
        })
        .await?;
        for extra in [
            ExtraName::Keyring(name.clone()),
            ExtraName::Cookies(name.clone()),
        ] {
            self.state().write_extra(&extra, None).await?;
        }
        Ok(())
    }
}

fn no_such_remote(name: &RemoteName) -> Error {
    Error::missing(format!("Remote \"{name}\" not found"))
}
