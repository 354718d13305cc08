//! systemd-boot: reads the menu itself.
//!
//! Its own settings, and the entries of other systems, stand in the same directory as the menu, so
//! a menu that takes the place of another takes them along.

use treeferry_core::error::Result;

use super::{Atomicity, BootLoader, Change, Step};
use crate::boot_entry::EntryName;
use crate::files;
use crate::layout::Layout;

/// systemd-boot.
#[derive(Debug, Clone, Copy)]
pub struct SystemdBoot;

const SIGNS: [&str; 4] = [
    "boot/loader/loader.conf",
    "boot/EFI/systemd",
    "boot/efi/EFI/systemd",
    "efi/EFI/systemd",
];

impl BootLoader for SystemdBoot {
    fn name(&self) -> &'static str {
        "systemd-boot"
    }

    fn is_active(&self, layout: &Layout) -> Result<bool> {
        for sign in SIGNS {
            if files::look(&layout.root().join(sign))?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn atomicity(&self, _: &Layout) -> Result<Atomicity> {
        Ok(Atomicity::Atomic)
    }

    fn before(&self, change: &Change<'_>) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        if change.old_dir == change.new_dir {
            return Ok(steps);
        }
        for dir in ["", "entries"] {
            let (old, new) = (change.old_dir.join(dir), change.new_dir.join(dir));
            for name in files::names(&old)? {
                let path = old.join(&name);
                let is_file = files::look(&path)?.is_some_and(|meta| meta.is_file());
                if !is_file || EntryName::parse(&name.to_string_lossy()).is_some() {
                    continue;
                }
                steps.push(Step::Write {
                    path: new.join(&name),
                    bytes: files::read(&path)?.unwrap_or_default(),
                });
            }
        }
        Ok(steps)
    }

    fn after(&self, _: &Change<'_>) -> Result<Vec<Step>> {
        Ok(Vec::new())
    }
}
