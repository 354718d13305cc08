//! Boot loaders: what each needs beyond the menu of the Boot Loader Specification.
//!
//! A boot loader says what is to be done, as [`Step`]s; it does nothing itself. So each is tested by
//! what it says, and what it says is carried out in one place.
//!
//! ```text
//! none          reads the menu itself
//! systemd_boot  reads it too; its own files, and other systems' entries, stand beside it
//! syslinux      loader/syslinux.cfg: its own labels rewritten, others' kept
//! uboot         loader/uEnv.txt: variables for a boot script
//! grub2         loader/grub.cfg by grub2-mkconfig; nothing where it reads the menu itself
//! zipl, aboot   run their programs after the change
//! ```

mod aboot;
mod grub2;
mod stamp;
mod syslinux;
mod systemd_boot;
mod uboot;
mod zipl;

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use treeferry_core::error::{Error, Result};

pub use self::aboot::Aboot;
pub use self::grub2::{Firmware, Grub2, GrubContext, GrubOptions, GrubScript, grub_menu};
pub use self::syslinux::Syslinux;
pub use self::systemd_boot::SystemdBoot;
pub use self::uboot::Uboot;
pub use self::zipl::Zipl;
use crate::boot_entry::BootEntry;
use crate::files;
use crate::host::{Call, Programs};
use crate::layout::Layout;

/// A boot loader.
pub trait BootLoader: Debug + Send + Sync {
    /// Returns its name.
    fn name(&self) -> &'static str;

    /// Returns whether the machine boots by it; false for one that is never chosen by itself. **Blocking.**
    fn is_active(&self, _layout: &Layout) -> Result<bool> {
        Ok(false)
    }

    /// Returns whether the change of menus is all that it takes.
    fn atomicity(&self, _layout: &Layout) -> Result<Atomicity> {
        Ok(Atomicity::Steps)
    }

    /// Returns what is to be done before the change. **Blocking**: it may look at files.
    fn before(&self, change: &Change<'_>) -> Result<Vec<Step>>;

    /// Returns what is to be done after it.
    fn after(&self, change: &Change<'_>) -> Result<Vec<Step>>;
}

/// Whether the change of menus is all that a boot loader takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Atomicity {
    /// It is.
    Atomic,
    /// More has to follow, and may be cut off.
    Steps,
}

/// A change of menus.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// The sysroot.
    pub layout: &'a Layout,
    /// The directory of the menu that counts now.
    pub old_dir: &'a Path,
    /// The directory of the menu that is about to.
    pub new_dir: &'a Path,
    /// Its entries, the default first.
    pub entries: &'a [BootEntry],
    /// What paths in entries count from: whether `/boot` is part of them already.
    pub paths: EntryPaths,
    /// The directory of the deployment that is the new default, below the sysroot.
    pub default_deployment: Option<&'a Path>,
    /// Whether the system runs from a deployment of this sysroot.
    pub booted: Booted,
}

/// What paths in entries count from; `sysroot.bootprefix`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EntryPaths {
    /// `/boot`, as the root of a filesystem.
    #[default]
    FromBoot,
    /// `/`: they begin with `/boot`.
    FromRoot,
}

impl EntryPaths {
    /// Returns what paths in entries begin with.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Self::FromBoot => "/",
            Self::FromRoot => "/boot/",
        }
    }

    /// Returns what has to stand before them to count from `/`.
    fn to_root(self) -> &'static str {
        match self {
            Self::FromBoot => "/boot",
            Self::FromRoot => "",
        }
    }
}

/// Whether the system runs from a deployment of this sysroot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Booted {
    /// It does.
    Yes,
    /// It does not: an image is being made.
    No,
}

/// Something to be done for a boot loader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A file is put in place as a whole.
    Write {
        /// Where.
        path: PathBuf,
        /// What is in it.
        bytes: Vec<u8>,
    },
    /// A program is run.
    Call(Call),
    /// A file is synced.
    Sync(PathBuf),
    /// A file is moved into the place of another.
    Rename {
        /// From here.
        from: PathBuf,
        /// To here.
        to: PathBuf,
    },
    /// A file is removed.
    Remove(PathBuf),
}

/// Which boot loader is used; `sysroot.bootloader`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BootLoaderKind {
    /// The one that is found.
    #[default]
    Auto,
    /// None: it reads the menu itself.
    None,
    /// GRUB 2.
    Grub2,
    /// Syslinux or extlinux.
    Syslinux,
    /// U-Boot.
    Uboot,
    /// systemd-boot.
    SystemdBoot,
    /// An Android boot loader.
    Aboot,
    /// zipl, of IBM Z.
    Zipl,
}

impl BootLoaderKind {
    /// Reads what `sysroot.bootloader` says.
    pub fn parse(word: &str) -> Result<Self> {
        Ok(match word {
            "auto" => Self::Auto,
            "none" => Self::None,
            "grub2" => Self::Grub2,
            "syslinux" => Self::Syslinux,
            "uboot" => Self::Uboot,
            "systemd-boot" => Self::SystemdBoot,
            "aboot" => Self::Aboot,
            "zipl" => Self::Zipl,
            _ => {
                return Err(Error::invalid(format!(
                    "Invalid bootloader configuration: '{word}'"
                )));
            }
        })
    }

    /// Returns the boot loader to use; `None` where it reads the menu itself. **Blocking.**
    pub fn choose(
        self,
        layout: &Layout,
        grub: &GrubOptions,
    ) -> Result<Option<Box<dyn BootLoader>>> {
        let grub2 = || Box::new(Grub2::new(grub.clone()));
        Ok(match self {
            Self::None => None,
            Self::Grub2 => Some(grub2()),
            Self::Syslinux => Some(Box::new(Syslinux)),
            Self::Uboot => Some(Box::new(Uboot)),
            Self::SystemdBoot => Some(Box::new(SystemdBoot)),
            Self::Aboot => Some(Box::new(Aboot)),
            Self::Zipl => Some(Box::new(Zipl)),
            Self::Auto => {
                let all: [Box<dyn BootLoader>; 4] = [
                    Box::new(Syslinux),
                    grub2(),
                    Box::new(Uboot),
                    Box::new(SystemdBoot),
                ];
                for loader in all {
                    if loader.is_active(layout)? {
                        return Ok(Some(loader));
                    }
                }
                None
            }
        })
    }
}

/// Carries steps out, in order. **Blocking.**
pub(crate) fn carry_out(steps: &[Step], programs: &dyn Programs) -> Result<()> {
    for step in steps {
        match step {
            Step::Write { path, bytes } => {
                if let Some(dir) = path.parent() {
                    files::make_dirs(dir, 0o755)?;
                }
                files::replace(path, bytes, 0o644)?;
            }
            Step::Call(call) => programs.run(call)?,
            Step::Sync(path) => files::sync(path)?,
            Step::Rename { from, to } => {
                std::fs::rename(from, to).map_err(files::failed(to, "cannot be exchanged"))?;
            }
            Step::Remove(path) => files::remove_file(path)?,
        }
    }
    Ok(())
}

fn require_linux(entry: &BootEntry) -> Result<&str> {
    let missing = || Error::invalid("No \"linux\" key in bootloader config");
    entry.get("linux").ok_or_else(missing)
}
