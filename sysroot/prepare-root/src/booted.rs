//! `/run/ostree-booted`: what the booted system is told of how it was started.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use treeferry_core::error::{Error, Result};
use treeferry_core::format::gvariant::{Dict, Value};

use crate::config::{Access, Lifetime, RootConfig, RootOverlay};
use crate::plan::Verity;

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booted {
    /// Device and inode of the deployment's directory: with an image or an overlay for a root they
    /// cannot be read off `/`.
    pub backing: (u64, u64),
    /// If the tree comes from a composefs image, whether its files must pass fs-verity.
    pub composefs: Option<Verity>,
    /// The file with the keys by which the image is signed, if it must be.
    pub signed_by: Option<PathBuf>,
    /// How the root was put together.
    pub config: RootConfig,
}

impl Booted {
    /// Looks at the deployment at `tree`.
    pub fn look(tree: &Path, composefs: Option<Verity>, config: RootConfig) -> Result<Self> {
        let found = fs::metadata(tree)
            .map_err(|e| Error::io("cannot be looked at", e).about(tree.to_owned()))?;
        Ok(Self {
            backing: (found.dev(), found.ino()),
            composefs,
            signed_by: None,
            config,
        })
    }

    /// Writes it, an `a{sv}` with OSTree's keys.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut dict = Dict::new();
        if let Some(verity) = self.composefs {
            dict.insert("composefs", true);
            dict.insert("composefs.verity", verity == Verity::Required);
        }
        if let Some(keys) = &self.signed_by {
            dict.insert("composefs.signed", &*keys.to_string_lossy());
        }
        if self.config.root != RootOverlay::None {
            dict.insert("root.transient", true);
        }
        if self.config.root == RootOverlay::TransientReadOnly {
            dict.insert("root.transient-ro", true);
        }
        if self.config.sysroot == Access::ReadOnly {
            dict.insert("sysroot-ro", true);
        }
        if self.config.etc == Lifetime::Boot {
            dict.insert("transient-etc", "/run/ostree/transient-etc");
        }
        let (device, inode) = self.backing;
        let backing = Value::Tuple(vec![Value::U64(device), Value::U64(inode)]);
        dict.insert("backing-root-device-inode", backing);
        dict.encode()
    }
}
