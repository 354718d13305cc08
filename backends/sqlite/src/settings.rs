//! What a repository's configuration says about itself.

use std::time::Duration;

use treeferry_core::error::{Error, ErrorKind, Result, Subject};
use treeferry_core::format::CollectionId;
use treeferry_core::format::keyfile::KeyFile;
use treeferry_core::store::StoreConfig;

use crate::db::Sync;

/// The keys that say how objects are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) sync: Sync,
    /// `None`: for ever.
    pub(crate) lock_wait: Option<Duration>,
    pub(crate) expiry: Duration,
    pub(crate) deflate_level: u8,
}

/// Returns the configuration of a new repository.
///
/// Its mode is that of archives: headers are kept whole whatever they say, content deflated.
pub(crate) fn new_config(collection_id: Option<&CollectionId>) -> String {
    treeferry_core::store::new_config("archive-z2", collection_id)
}

impl Settings {
    /// Reads the bytes of a configuration.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let file = KeyFile::parse(bytes)
            .map_err(|e| Error::invalid("the repository's config cannot be read").because(e))?;
        let core = StoreConfig::new(&file);
        expect(&core, "repo_version", &["1"])?;
        expect(&core, "mode", &["archive-z2", "archive"])?;
        let sync = match core.boolean("fsync")? {
            Some(false) => Sync::Later,
            Some(true) | None => Sync::Now,
        };
        Ok(Self {
            sync,
            lock_wait: core.lock_wait()?,
            expiry: core.expiry()?,
            deflate_level: core.deflate_level()?,
        })
    }
}

fn expect(core: &StoreConfig<'_>, name: &str, known: &[&str]) -> Result<()> {
    let found = core.text(name)?.unwrap_or_default();
    if known.contains(&found.as_str()) {
        return Ok(());
    }
    let expected = known[0];
    let problem = format!("is '{found}', which a repository in SQLite cannot be: use '{expected}'");
    Err(Error::new(ErrorKind::Unsupported, problem).about(key(name)))
}

fn key(name: &str) -> Subject {
    Subject::ConfigKey(format!("core.{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_config_has_ostrees_defaults() {
        let settings = Settings::parse(new_config(None).as_bytes()).expect("it is valid");
        let expected = Settings {
            sync: Sync::Now,
            lock_wait: Some(Duration::from_secs(300)),
            expiry: Duration::from_secs(86_400),
            deflate_level: 6,
        };
        assert_eq!(settings, expected);
    }

    #[test]
    fn a_wrong_value_is_named() {
        for (more, named) in [
            ("fsync=maybe\n", "core.fsync"),
            ("lock-timeout-secs=-2\n", "core.lock-timeout-secs"),
            ("mode=bare\n", "core.mode"),
            ("repo_version=2\n", "core.repo_version"),
            ("[archive]\nzlib-level=10\n", "archive.zlib-level"),
        ] {
            let config = new_config(None) + more;
            let error = Settings::parse(config.as_bytes()).expect_err("it is invalid");
            assert!(error.to_string().contains(named), "{error}");
        }
    }
}
