//! A deployment, as it is found.

use std::fmt;

use treeferry_core::format::Checksum;

use crate::boot_entry::BootEntry;
use crate::names::DeploymentId;
use crate::origin::{Origin, Pinned};

/// A checked-out commit that can be booted, or is about to be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deployment {
    /// Which.
    pub id: DeploymentId,
    /// The checksum of what it boots from.
    pub bootcsum: Option<Checksum>,
    /// Counts deployments with that checksum, from 0.
    pub boot_serial: u32,
    /// Its entry in the menu, or what is known of it yet.
    pub entry: BootEntry,
    /// Where it came from.
    pub origin: Option<Origin>,
    /// What is laid over its initramfs.
    pub overlay_initrds: Vec<Checksum>,
    /// Whether its `/usr` can be changed.
    pub unlocked: Unlocked,
    /// Whether it waits for the machine to go down.
    pub staging: Staging,
    /// Whether a soft reboot leads to it.
    pub soft_reboot_target: SoftRebootTarget,
}

impl Deployment {
    /// Returns a deployment of which nothing else is known yet.
    pub(crate) fn new(id: DeploymentId) -> Self {
        Self {
            id,
            bootcsum: None,
            boot_serial: 0,
            entry: BootEntry::default(),
            origin: None,
            overlay_initrds: Vec::new(),
            unlocked: Unlocked::No,
            staging: Staging::Final,
            soft_reboot_target: SoftRebootTarget::No,
        }
    }

    /// Returns whether it stays, whatever is deployed later.
    pub fn pinned(&self) -> Pinned {
        self.origin.as_ref().map_or(Pinned::No, Origin::pinned)
    }

    /// Returns whether it waits for the machine to go down.
    pub fn is_staged(&self) -> bool {
        self.staging != Staging::Final
    }
}

/// Whether the `/usr` of a deployment can be changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Unlocked {
    /// It cannot.
    #[default]
    No,
    /// It can, and changes stay.
    Hotfix,
    /// It can, until the next boot.
    Development,
    /// It can by whoever mounts it writable for themselves, until the next boot.
    Transient,
}

impl Unlocked {
    /// Reads the word that an origin has for it.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::No, Self::Hotfix, Self::Development, Self::Transient]
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }

    /// Returns OSTree's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::No => "none",
            Self::Hotfix => "hotfix",
            Self::Development => "development",
            Self::Transient => "transient",
        }
    }
}

impl fmt::Display for Unlocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a deployment waits for the machine to go down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Staging {
    /// It is in the boot menu.
    #[default]
    Final,
    /// It will be put there when the machine goes down.
    Staged,
    /// It would be, but somebody holds it back.
    Locked,
}

/// Whether a soft reboot leads to a deployment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SoftRebootTarget {
    /// It does.
    Yes,
    /// It does not.
    #[default]
    No,
}
