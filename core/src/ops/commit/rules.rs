//! What is recorded of what is found.

use super::options::{Executables, Modifier, Permissions, XattrPolicy};
use crate::error::Result;
use crate::format::Xattrs;

pub(super) const FILE_TYPE: u32 = 0o170_000;
pub(super) const REGULAR: u32 = 0o100_000;
pub(super) const SYMLINK: u32 = 0o120_000;
pub(super) const DIRECTORY: u32 = 0o040_000;

const LABEL: &[u8] = b"security.selinux";

/// Owner and mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
}

/// A modifier at work: it remembers which single paths it met.
#[derive(Debug)]
pub(super) struct Rules(Modifier);

impl Rules {
    pub(super) fn new(modifier: Modifier) -> Self {
        Self(modifier)
    }

    /// Returns owner and mode to record for what is at `path`; `None` if it is left out.
    pub(super) fn apply(&mut self, path: &str, found: Owned) -> Option<Owned> {
        let modifier = &mut self.0;
        let kind = found.mode & FILE_TYPE;
        let mut owned = found;
        owned.uid = modifier.owner_uid.unwrap_or(owned.uid);
        owned.gid = modifier.owner_gid.unwrap_or(owned.gid);
        if modifier.executables == Executables::ReadOnly
            && kind == REGULAR
            && owned.mode & 0o111 != 0
        {
            owned.mode &= !0o222;
        }
        owned.mode = modifier.stat_overrides.apply(path, owned.mode);
        if modifier.skip_list.take(path) {
            return None;
        }
        if modifier.permissions == Permissions::Canonical {
            (owned.uid, owned.gid) = (0, 0);
            if kind != SYMLINK {
                owned.mode &= FILE_TYPE | 0o755;
            }
        }
        Some(owned)
    }

    /// Returns whether extended attributes have to be read.
    pub(super) fn wants_xattrs(&self) -> bool {
        self.0.xattrs == XattrPolicy::Record && self.0.permissions == Permissions::AsFound
    }

    /// Returns the extended attributes to record for what is at `path`.
    pub(super) fn xattrs(&self, path: &str, mode: u32, found: Xattrs) -> Result<Xattrs> {
        let found = if self.wants_xattrs() {
            found
        } else {
            Xattrs::default()
        };
        let label = match &self.0.labels {
            Some(labels) => labels.lookup(path, mode)?,
            None => None,
        };
        let Some(label) = label else {
            return Ok(found);
        };
        // At the end, wherever its name would be sorted: where OSTree puts it.
        let value = [label.as_bytes(), b"\0"].concat();
        let others = found.iter().filter(|(name, _)| *name != LABEL);
        let label = (LABEL, value.as_slice());
        Ok(Xattrs::in_order(others.chain([label])))
    }

    /// Returns whether what is recorded already is taken as it is.
    pub(super) fn change_nothing(&self) -> bool {
        let modifier = &self.0;
        modifier.owner_uid.is_none()
            && modifier.owner_gid.is_none()
            && modifier.executables == Executables::AsFound
            && modifier.stat_overrides.is_empty()
            && modifier.skip_list.is_empty()
            && modifier.permissions == Permissions::AsFound
            && modifier.xattrs == XattrPolicy::Record
            && modifier.labels.is_none()
    }

    /// Fails if a path that the modifier names was not met.
    pub(super) fn expect_met(&self) -> Result<()> {
        self.0.stat_overrides.expect_met()?;
        self.0.skip_list.expect_met()
    }
}
