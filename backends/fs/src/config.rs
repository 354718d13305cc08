//! What a repository's `config` says about itself.

use std::path::PathBuf;
use std::time::Duration;

use treeferry_core::error::{Error, ErrorKind, Result, Subject};
use treeferry_core::format::keyfile::KeyFile;
use treeferry_core::store::StoreConfig;

use crate::free_space::MinFree;
use crate::mode::FsMode;
use crate::sys::Durable;

/// The longest `config` that is read, bytes.
pub(crate) const CONFIG_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The keys of `config` that say how objects lie and are written.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) mode: FsMode,
    pub(crate) durable: Durable,
    pub(crate) per_object_sync: bool,
    pub(crate) locking: bool,
    pub(crate) lock_timeout: LockTimeout,
    pub(crate) min_free: MinFree,
    pub(crate) tmp_expiry: Duration,
    pub(crate) parent: Option<PathBuf>,
    pub(crate) zlib_level: u8,
}

/// How long to wait for a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LockTimeout {
    Forever,
    After(Duration),
}

impl Config {
    /// Reads the bytes of a `config`.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let file = KeyFile::parse(bytes)
            .map_err(|e| Error::invalid("the repository's config cannot be read").because(e))?;
        let core = StoreConfig::new(&file);
        match core.text("repo_version")?.as_deref() {
            Some("1") => {}
            Some(version) => {
                let problem = format!("unknown repository version '{version}': expected 1");
                return Err(wrong("repo_version", ErrorKind::Unsupported, problem));
            }
            None => return Err(missing("repo_version")),
        }
        // A repository without a mode is as old as the mode that needs none.
        let mode = match core.text("mode")? {
            Some(mode) => mode.parse().map_err(|e: Error| e.about(key("mode")))?,
            None => FsMode::Bare,
        };
        let lock_timeout = match core.lock_wait()? {
            None => LockTimeout::Forever,
            Some(wait) => LockTimeout::After(wait),
        };
        let durable = match core.boolean("fsync")? {
            Some(false) => Durable::No,
            Some(true) | None => Durable::Yes,
        };
        Ok(Self {
            mode,
            durable,
            per_object_sync: core.boolean("per-object-fsync")?.unwrap_or(false),
            locking: core.boolean("locking")?.unwrap_or(true),
            lock_timeout,
            min_free: MinFree::parse(
                core.text("min-free-space-size")?.as_deref(),
                core.text("min-free-space-percent")?.as_deref(),
            )?,
            tmp_expiry: core.expiry()?,
            parent: core
                .text("parent")?
                .filter(|p| !p.is_empty())
                .map(PathBuf::from),
            zlib_level: core.deflate_level()?,
        })
    }
}

pub(crate) fn key(name: &str) -> Subject {
    Subject::ConfigKey(format!("core.{name}"))
}

fn wrong(name: &str, kind: ErrorKind, problem: String) -> Error {
    Error::new(kind, problem).about(key(name))
}

fn missing(name: &str) -> Error {
    Error::invalid("is missing: this is not the config of an OSTree repository").about(key(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(more: &str) -> Result<Config> {
        Config::parse(format!("[core]\nrepo_version=1\nmode=bare\n{more}").as_bytes())
    }

    #[test]
    fn what_is_not_said_has_ostrees_defaults() {
        let config = parse("").expect("it is valid");
        assert_eq!(config.durable, Durable::Yes);
        assert_eq!(
            config.lock_timeout,
            LockTimeout::After(Duration::from_secs(300))
        );
        assert_eq!(config.tmp_expiry, Duration::from_secs(86_400));
        assert_eq!(config.zlib_level, 6);
    }

    #[test]
    fn a_wrong_value_is_named() {
        for (more, named) in [
            ("fsync=maybe\n", "core.fsync"),
            ("lock-timeout-secs=-2\n", "core.lock-timeout-secs"),
            (
                "min-free-space-percent=100\n",
                "core.min-free-space-percent",
            ),
            ("[archive]\nzlib-level=10\n", "archive.zlib-level"),
        ] {
            let error = parse(more).expect_err("it is invalid");
            assert!(error.to_string().contains(named), "{error}");
        }
    }

    #[test]
    fn another_repo_version_is_refused() {
        let error = Config::parse(b"[core]\nrepo_version=2\nmode=bare\n").expect_err("unknown");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
}
