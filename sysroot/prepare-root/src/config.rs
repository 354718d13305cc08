//! `prepare-root.conf`: how the root is put together.

use treeferry_core::error::{Error, Result, Subject};
use treeferry_core::format::keyfile::KeyFile;

use crate::cmdline::KernelCmdline;

/// The kernel argument that overrides `composefs.enabled`.
const COMPOSEFS_ARGUMENT: &str = "ostree.prepare-root.composefs";

/// What `prepare-root.conf` says, with OSTree's defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootConfig {
    /// Whether `/sysroot` is mounted read-only.
    pub sysroot: Access,
    /// Whether changes to `/etc` outlive a reboot.
    pub etc: Lifetime,
    /// Whether the whole root can be written to until the next reboot.
    pub root: RootOverlay,
    /// Whether the tree comes from a composefs image.
    pub composefs: Composefs,
}

/// Whether something can be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It can.
    ReadWrite,
    /// It cannot.
    ReadOnly,
}

/// How long changes live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// As long as the deployment.
    Kept,
    /// Until the next reboot.
    Boot,
}

/// What lies over the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootOverlay {
    /// Nothing.
    None,
    /// What is written is forgotten at the next boot.
    Transient,
    /// The same, mounted read-only at first, for whoever wants to add to it later.
    TransientReadOnly,
}

/// Whether the tree comes from a composefs image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Composefs {
    /// It does not.
    No,
    /// It does if there is an image and the kernel can.
    Maybe,
    /// It must.
    Yes,
    /// It must, and each file must pass fs-verity.
    Verity,
    /// The same, and the commit that holds the image's digest must be signed.
    Signed,
}

impl RootConfig {
    /// Reads the configuration, what the kernel was told, and what the repository says for those who
    /// have no `prepare-root.conf` (`sysroot.readonly`).
    ///
    /// # Errors
    ///
    /// [`Invalid`](treeferry_core::ErrorKind::Invalid) names the key whose value is not understood: a
    /// machine that was told to verify must not boot without.
    pub fn read(file: &KeyFile, repo: &KeyFile, kernel: &KernelCmdline) -> Result<Self> {
        let composefs = match kernel.get(COMPOSEFS_ARGUMENT) {
            Some(value) => composefs(value, COMPOSEFS_ARGUMENT)?,
            None => match file.string("composefs", "enabled")? {
                Some(value) => composefs(&value, "composefs.enabled")?,
                None => Composefs::No,
            },
        };
        let flag = |group, key| Ok::<_, Error>(boolean(file, group, key)?.unwrap_or(false));
        let read_only = match boolean(file, "sysroot", "readonly")? {
            Some(read_only) => read_only,
            None if matches!(composefs, Composefs::No) => {
                boolean(repo, "sysroot", "readonly")?.unwrap_or(false)
            }
            None => true,
        };
        let root = match (flag("root", "transient")?, flag("root", "transient-ro")?) {
            (_, true) => RootOverlay::TransientReadOnly,
            (true, false) => RootOverlay::Transient,
            (false, false) => RootOverlay::None,
        };
        Ok(Self {
            sysroot: if read_only {
                Access::ReadOnly
            } else {
                Access::ReadWrite
            },
            etc: if flag("etc", "transient")? {
                Lifetime::Boot
            } else {
                Lifetime::Kept
            },
            root,
            composefs,
        })
    }
}

fn boolean(file: &KeyFile, group: &str, key: &str) -> Result<Option<bool>> {
    let about = || Subject::ConfigKey(format!("{group}.{key}"));
    file.boolean(group, key)
        .map_err(|e| Error::from(e).about(about()))
}

fn composefs(value: &str, key: &str) -> Result<Composefs> {
    match value {
        "no" | "false" | "0" => Ok(Composefs::No),
        "maybe" => Ok(Composefs::Maybe),
        "yes" | "true" | "1" => Ok(Composefs::Yes),
        "verity" => Ok(Composefs::Verity),
        "signed" => Ok(Composefs::Signed),
        other => {
            let problem =
                format!("'{other}' is none of 'no', 'maybe', 'yes', 'verity' and 'signed'");
            Err(Error::invalid(problem).about(Subject::ConfigKey(key.into())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &str, repo: &str, kernel: &str) -> Result<RootConfig> {
        let file = KeyFile::parse(file).unwrap();
        let repo = KeyFile::parse(repo).unwrap();
        RootConfig::read(&file, &repo, &KernelCmdline::parse(kernel))
    }

    #[test]
    fn nothing_said_is_nothing_changed() {
        let config = read("", "", "").unwrap();
        assert_eq!(
            config,
            RootConfig {
                sysroot: Access::ReadWrite,
                etc: Lifetime::Kept,
                root: RootOverlay::None,
                composefs: Composefs::No,
            }
        );
    }

    #[test]
    fn the_sysroot_is_read_only_where_somebody_says_so() {
        for (file, repo, wanted) in [
            ("[sysroot]\nreadonly=true\n", "", Access::ReadOnly),
            ("", "[sysroot]\nreadonly=true\n", Access::ReadOnly),
            (
                "[sysroot]\nreadonly=false\n",
                "[sysroot]\nreadonly=true\n",
                Access::ReadWrite,
            ),
            ("[composefs]\nenabled=yes\n", "", Access::ReadOnly),
            (
                "[composefs]\nenabled=yes\n[sysroot]\nreadonly=false\n",
                "",
                Access::ReadWrite,
            ),
        ] {
            assert_eq!(
                read(file, repo, "").unwrap().sysroot,
                wanted,
                "{file}{repo}"
            );
        }
    }

    #[test]
    fn the_kernel_has_the_last_word_on_composefs() {
        let file = "[composefs]\nenabled=verity\n";
        assert_eq!(read(file, "", "").unwrap().composefs, Composefs::Verity);
        let kernel = "ostree.prepare-root.composefs=maybe";
        assert_eq!(read(file, "", kernel).unwrap().composefs, Composefs::Maybe);
    }

    #[test]
    fn a_word_that_is_not_understood_stops_the_boot() {
        for (file, key) in [
            ("[composefs]\nenabled=verify\n", "composefs.enabled"),
            ("[etc]\ntransient=perhaps\n", "etc.transient"),
        ] {
            let error = read(file, "", "").unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}
