//! Room in `/boot`: known before anything is written, and made if what goes anyway is enough.

use std::collections::HashMap;
use std::path::Path;

use treeferry_core::error::{Error, ErrorKind, Result};
use treeferry_core::format::Checksum;

use crate::deployment::Deployment;
use crate::files;
use crate::kernel::Kernel;
use crate::layout::{boot_dir, parse_boot_dir};
use crate::load::State;
use crate::names::Stateroot;
use crate::sysroot::Sysroot;

/// Room that a menu takes beside kernels, blocks.
const MENU_BLOCKS: u64 = 8;

/// What `/boot` needs and has, bytes. Exact, as whole blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BootSpace {
    /// What is new.
    pub needed_bytes: u64,
    /// What is free.
    pub available_bytes: u64,
    /// What is in the way of nothing any more once the new menu counts.
    pub removable_bytes: u64,
    /// Whether `/boot` is on the filesystem of the deployments: then files are linked, and nothing is
    /// needed.
    pub place: BootPlace,
}

/// Which filesystem `/boot` is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootPlace {
    /// That of the deployments.
    Shared,
    /// One of its own.
    Own,
}

/// What a write would do about `/boot`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// There is enough.
    Enough,
    /// There is, once what goes anyway has gone: the menu changes twice.
    AfterRemoval,
    /// There is not.
    TooLittle,
}

impl BootSpace {
    /// Decides what a write does about `/boot`.
    pub fn room(&self) -> Room {
        if self.place == BootPlace::Shared || self.needed_bytes <= self.available_bytes {
            return Room::Enough;
        }
        match self.needed_bytes <= self.available_bytes + self.removable_bytes {
            true => Room::AfterRemoval,
            false => Room::TooLittle,
        }
    }

    /// Returns the error of a write that has no room.
    pub fn error(&self) -> Error {
        let kind = ErrorKind::NoSpace {
            needed_bytes: Some(self.needed_bytes),
            available_bytes: Some(self.available_bytes),
        };
        let problem = format!(
            "/boot needs {} bytes more than it has: {} needed, {} available, {} would become free; \
             remove deployments with admin undeploy, or unpin some",
            self.needed_bytes.saturating_sub(self.available_bytes),
            self.needed_bytes,
            self.available_bytes,
            self.removable_bytes
        );
        Error::new(kind, problem)
    }
}

/// Measures what `/boot` needs and has for a new list of deployments. **Blocking.**
pub(crate) fn measure(sysroot: &Sysroot, new: &[Deployment]) -> Result<BootSpace> {
    let boot = sysroot.layout().boot();
    files::make_dirs(&boot, 0o755)?;
    let block = files::block_bytes(&boot)?;
    let there = present(&boot, block)?;
    let mut wanted = HashMap::new();
    let mut needed_bytes = MENU_BLOCKS * block;
    for deployment in new {
        let root = sysroot.layout().deployment(&deployment.id);
        let kernel = Kernel::find(&root, sysroot.options().device_trees)?;
        let csum = deployment.bootcsum.unwrap_or(kernel.bootcsum);
        let key = (deployment.id.stateroot.clone(), csum);
        if !there.contains_key(&key) && !wanted.contains_key(&key) {
            needed_bytes += kernel.boot_bytes(block)?;
        }
        wanted.insert(key, ());
    }
    let goes = there.iter().filter(|(key, _)| !wanted.contains_key(*key));
    let place = match files::device(&boot)? == files::device(&sysroot.layout().repo())? {
        true => BootPlace::Shared,
        false => BootPlace::Own,
    };
    Ok(BootSpace {
        needed_bytes,
        available_bytes: files::available_bytes(&boot)?,
        removable_bytes: goes.map(|(_, bytes)| bytes).sum(),
        place,
    })
}

/// Returns what is in `/boot`, and how much room it takes.
fn present(boot: &Path, block: u64) -> Result<HashMap<(Stateroot, Checksum), u64>> {
    let mut found = HashMap::new();
    for name in files::names(&boot.join("ostree"))? {
        let Some(key) = parse_boot_dir(&name.to_string_lossy()) else {
            continue;
        };
        let mut bytes = 0;
        let mut todo = vec![boot.join(boot_dir(&key.0, &key.1))];
        while let Some(path) = todo.pop() {
            let Some(meta) = files::look(&path)? else {
                continue;
            };
            bytes += meta.len().div_ceil(block) * block;
            if meta.is_dir() {
                todo.extend(files::names(&path)?.iter().map(|name| path.join(name)));
            }
        }
        found.insert(key, bytes);
    }
    Ok(found)
}

/// Makes sure that what `new` boots from fits into `/boot`. If it does only without what goes
/// anyway, `shrink` is called with the deployments that stay. **Blocking.**
pub(crate) fn make_room(
    sysroot: &Sysroot,
    state: &State,
    new: &[Deployment],
    shrink: impl FnOnce(Vec<Deployment>) -> Result<()>,
) -> Result<()> {
    let space = measure(sysroot, new)?;
    match space.room() {
        Room::Enough => return Ok(()),
        // Leftovers may be all that is in the way.
        Room::AfterRemoval | Room::TooLittle => crate::cleanup::clean_boot(sysroot, state)?,
    }
    let space = measure(sysroot, new)?;
    match space.room() {
        Room::Enough => Ok(()),
        Room::TooLittle => Err(space.error()),
        Room::AfterRemoval => {
            let stays = |old: &&Deployment| {
                let same = |n: &Deployment| {
                    n.bootcsum == old.bootcsum && n.id.stateroot == old.id.stateroot
                };
                new.iter().any(same)
            };
            let common: Vec<_> = state
                .deployments
                .iter()
                .filter(|d| !d.is_staged())
                .filter(stays)
                .cloned()
                .collect();
            if common.is_empty() {
                // A machine with an empty menu does not boot if this is cut off.
                return Err(space.error());
            }
            tracing::info!(
                ?space,
                "/boot has too little room: the menu is changed in two steps"
            );
            shrink(common)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_decided_by_what_is_needed_free_and_removable() {
        for (needed_bytes, available_bytes, removable_bytes, place, room) in [
            (10, 10, 0, BootPlace::Own, Room::Enough),
            (10, 9, 1, BootPlace::Own, Room::AfterRemoval),
            (10, 5, 4, BootPlace::Own, Room::TooLittle),
            (10, 0, 0, BootPlace::Shared, Room::Enough),
        ] {
            let space = BootSpace {
                needed_bytes,
                available_bytes,
                removable_bytes,
                place,
            };
            assert_eq!(space.room(), room);
        }
    }
}
