//! What the repository's configuration says of the machine: its group `sysroot`.

use treeferry_core::error::{Error, Result};
use treeferry_core::format::FormatError;
use treeferry_core::format::keyfile::KeyFile;
use treeferry_core::repo::Repo;

use crate::boot_loaders::{BootLoaderKind, EntryPaths};

/// What the configuration says of the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// `sysroot.bootloader`.
    pub boot_loader: BootLoaderKind,
    /// `sysroot.bootprefix`.
    pub entry_paths: EntryPaths,
    /// `sysroot.bls-append-except-default`: keys of every entry but the first.
    pub except_default: Vec<(String, String)>,
    /// `sysroot.boot-counting-tries`: how often a new deployment may be tried.
    pub boot_tries: Option<u32>,
}

const GROUP: &str = "sysroot";

impl Settings {
    /// Reads them.
    pub async fn load(repo: &Repo) -> Result<Self> {
        Self::parse(&repo.config().await?)
    }

    /// Reads them from a configuration.
    pub fn parse(config: &KeyFile) -> Result<Self> {
        let bad = |key: &str, error: FormatError| {
            let subject = treeferry_core::Subject::ConfigKey(format!("{GROUP}.{key}"));
            Error::invalid("has a value that cannot be used")
                .because(error)
                .about(subject)
        };
        let kind = config
            .string(GROUP, "bootloader")
            .map_err(|e| bad("bootloader", e))?;
        let prefix = config
            .boolean(GROUP, "bootprefix")
            .map_err(|e| bad("bootprefix", e))?;
        let key = "bls-append-except-default";
        let appended = config.string_list(GROUP, key).map_err(|e| bad(key, e))?;
        let pair = |text: &String| {
            let pair = text
                .split_once('=')
                .map(|(k, v)| (k.to_owned(), v.to_owned()));
            pair.ok_or_else(|| {
                Error::invalid(format!("{GROUP}.{key}: expected KEY=VALUE: {text:?}"))
            })
        };
        let appended = appended.unwrap_or_default();
        let key = "boot-counting-tries";
        let tries = config.uint64(GROUP, key).map_err(|e| bad(key, e))?;
        Ok(Self {
            boot_loader: kind.map_or(Ok(BootLoaderKind::Auto), |kind| {
                BootLoaderKind::parse(&kind)
            })?,
            entry_paths: match prefix {
                Some(true) => EntryPaths::FromRoot,
                _ => EntryPaths::FromBoot,
            },
            except_default: appended.iter().map(pair).collect::<Result<_>>()?,
            boot_tries: tries
                .and_then(|tries| u32::try_from(tries).ok())
                .filter(|&t| t > 0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_counts() {
        let text = "[sysroot]\nbootloader=uboot\nbootprefix=true\nboot-counting-tries=3\n\
                    bls-append-except-default=key1=value1;key2=a=b;\n";
        let settings = Settings::parse(&KeyFile::parse(text).unwrap()).unwrap();
        assert_eq!(settings.boot_loader, BootLoaderKind::Uboot);
        assert_eq!(settings.entry_paths, EntryPaths::FromRoot);
        assert_eq!(settings.boot_tries, Some(3));
        let pairs =
            [("key1", "value1"), ("key2", "a=b")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(settings.except_default, pairs);
        let bad = KeyFile::parse("[sysroot]\nbootloader=lilo\n").unwrap();
        assert!(Settings::parse(&bad).is_err());
    }
}
