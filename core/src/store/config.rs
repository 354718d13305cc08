//! What every place reads from its repository's configuration, and reads alike.

use std::time::Duration;

use crate::error::{Error, Result, Subject};
use crate::format::CollectionId;
use crate::format::keyfile::KeyFile;

/// Seconds that a lock is waited for, where nothing is said.
const LOCK_WAIT_SECS: i64 = 300;
/// Seconds after which what an interrupted writer left expires, where nothing is said.
const EXPIRY_SECS: i64 = 86_400;
/// How hard is deflated, where nothing is said.
const DEFLATE_LEVEL: u8 = 6;

/// The keys of a repository's configuration that say how objects are written.
///
/// Each answer is an error that names the key where its value is not of its kind.
#[derive(Debug, Clone, Copy)]
pub struct StoreConfig<'a>(&'a KeyFile);

impl<'a> StoreConfig<'a> {
    /// Reads from `config`.
    pub fn new(config: &'a KeyFile) -> Self {
        Self(config)
    }

    /// Returns the value of a key of the group `core`.
    pub fn text(&self, key: &str) -> Result<Option<String>> {
        let value = self.0.string("core", key);
        value.map_err(|e| {
            Error::invalid("cannot be read")
                .because(e)
                .about(named(key))
        })
    }

    /// Returns the value of a key of the group `core` that is `true` or `false`.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>> {
        let value = self.0.boolean("core", key);
        value.map_err(|e| {
            let problem = "expected 'true' or 'false'";
            Error::invalid(problem).because(e).about(named(key))
        })
    }

    /// Returns how long a lock is waited for, by `lock-timeout-secs`; `None` is for ever.
    pub fn lock_wait(&self) -> Result<Option<Duration>> {
        let seconds = self.seconds("lock-timeout-secs", LOCK_WAIT_SECS, -1)?;
        Ok(u64::try_from(seconds).ok().map(Duration::from_secs))
    }

    /// Returns after how long what an interrupted writer left expires, by `tmp-expiry-secs`.
    pub fn expiry(&self) -> Result<Duration> {
        let seconds = self.seconds("tmp-expiry-secs", EXPIRY_SECS, 0)?;
        Ok(Duration::from_secs(seconds.unsigned_abs()))
    }

    /// Returns how hard content is deflated, from 1 to 9, by `archive.zlib-level`.
    pub fn deflate_level(&self) -> Result<u8> {
        let Some(text) = self.0.get_raw("archive", "zlib-level") else {
            return Ok(DEFLATE_LEVEL);
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

    fn seconds(&self, key: &str, default: i64, min: i64) -> Result<i64> {
        let Some(text) = self.text(key)? else {
            return Ok(default);
        };
        match text.trim().parse() {
            Ok(number) if number >= min => Ok(number),
            _ => {
                let problem = format!("'{text}' is not a number of seconds from {min} up");
                Err(Error::invalid(problem).about(named(key)))
            }
        }
    }
}

/// Returns the configuration of a new repository of the mode that is written `mode`, in the bytes
/// in which OSTree writes it.
pub fn new_config(mode: &str, collection_id: Option<&CollectionId>) -> String {
    let collection = collection_id.map_or(String::new(), |id| format!("collection-id={id}\n"));
    format!("[core]\nrepo_version=1\nmode={mode}\n{collection}")
}

/// Names a key of the group `core`, for errors.
fn named(key: &str) -> Subject {
    Subject::ConfigKey(format!("core.{key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(more: &str) -> KeyFile {
        KeyFile::parse(new_config("bare", None) + more).expect("it is a key file")
    }

    #[test]
    fn what_is_not_said_has_ostrees_defaults() {
        let file = file("");
        let config = StoreConfig::new(&file);
        assert_eq!(config.text("mode").expect("valid").as_deref(), Some("bare"));
        assert_eq!(config.boolean("fsync").expect("valid"), None);
        let wait = config.lock_wait().expect("valid");
        assert_eq!(wait, Some(Duration::from_secs(300)));
        assert_eq!(config.expiry().expect("valid"), Duration::from_secs(86_400));
        assert_eq!(config.deflate_level().expect("valid"), 6);
    }

    #[test]
    fn what_is_said_counts() {
        let file = file("lock-timeout-secs=-1\ntmp-expiry-secs=0\n[archive]\nzlib-level= 9 \n");
        let config = StoreConfig::new(&file);
        assert_eq!(config.lock_wait().expect("valid"), None);
        assert_eq!(config.expiry().expect("valid"), Duration::ZERO);
        assert_eq!(config.deflate_level().expect("valid"), 9);
    }

    #[test]
    fn a_wrong_value_is_named() {
        type Read = fn(&StoreConfig<'_>) -> Result<()>;
        let cases: [(&str, &str, Read); 4] = [
            ("fsync=maybe\n", "core.fsync", |c| {
                c.boolean("fsync").map(|_| ())
            }),
            ("lock-timeout-secs=-2\n", "core.lock-timeout-secs", |c| {
                c.lock_wait().map(|_| ())
            }),
            ("tmp-expiry-secs=-1\n", "core.tmp-expiry-secs", |c| {
                c.expiry().map(|_| ())
            }),
            ("[archive]\nzlib-level=10\n", "archive.zlib-level", |c| {
                c.deflate_level().map(|_| ())
            }),
        ];
        for (more, name, read) in cases {
            let file = file(more);
            let error = read(&StoreConfig::new(&file)).expect_err("it is invalid");
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
