//! What a repository's configuration says about itself.

use std::time::Duration;

use treeferry_core::error::{Error, ErrorKind, Result, Subject};
use treeferry_core::format::CollectionId;
use treeferry_core::format::keyfile::KeyFile;

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
    let collection = collection_id.map_or(String::new(), |id| format!("collection-id={id}\n"));
    format!("[core]\nrepo_version=1\nmode=archive-z2\n{collection}")
}

impl Settings {
    /// Reads the bytes of a configuration.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let file = KeyFile::parse(bytes)
            .map_err(|e| Error::invalid("the repository's config cannot be read").because(e))?;
        let core = Core(&file);
        expect(&core, "repo_version", &["1"])?;
        expect(&core, "mode", &["archive-z2", "archive"])?;
        let lock_wait = match core.number("lock-timeout-secs", 300, -1)? {
            -1 => None,
            seconds => Some(Duration::from_secs(seconds.unsigned_abs())),
        };
        let fsync = file.boolean("core", "fsync").map_err(|e| {
            let problem = "expected 'true' or 'false'";
            Error::invalid(problem).because(e).about(key("fsync"))
        })?;
        let sync = match fsync {
            Some(false) => Sync::Later,
            Some(true) | None => Sync::Now,
        };
        let expiry = core.number("tmp-expiry-secs", 86_400, 0)?;
        Ok(Self {
            sync,
            lock_wait,
            expiry: Duration::from_secs(expiry.unsigned_abs()),
            deflate_level: deflate_level(&file)?,
        })
    }
}

struct Core<'a>(&'a KeyFile);

impl Core<'_> {
    fn text(&self, name: &str) -> Result<Option<String>> {
        let value = self.0.string("core", name);
        value.map_err(|e| Error::invalid("cannot be read").because(e).about(key(name)))
    }

    fn number(&self, name: &str, default: i64, min: i64) -> Result<i64> {
        let Some(text) = self.text(name)? else {
            return Ok(default);
        };
        match text.trim().parse() {
            Ok(number) if number >= min => Ok(number),
            _ => {
                let problem = format!("'{text}' is not a number of seconds from {min} up");
                Err(Error::invalid(problem).about(key(name)))
            }
        }
    }
}

fn expect(core: &Core<'_>, name: &str, known: &[&str]) -> Result<()> {
    let found = core.text(name)?.unwrap_or_default();
    if known.contains(&found.as_str()) {
        return Ok(());
    }
    let expected = known[0];
    let problem = format!("is '{found}', which a repository in SQLite cannot be: use '{expected}'");
    Err(Error::new(ErrorKind::Unsupported, problem).about(key(name)))
}

fn deflate_level(file: &KeyFile) -> Result<u8> {
    let Some(text) = file.get_raw("archive", "zlib-level") else {
        return Ok(6);
    };
    match text.trim().parse() {
        Ok(level @ 1..=9) => Ok(level),
        _ => {
            let problem = format!("'{text}' is not a level from 1 (fast) to 9 (small)");
            let key = Subject::ConfigKey("archive.zlib-level".into());
            Err(Error::invalid(problem).about(key))
        }
    }
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
