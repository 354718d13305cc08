//! Where a deployment came from: the key file `CHECKSUM.SERIAL.origin` beside it.

use treeferry_core::error::{Error, Result};
use treeferry_core::format::keyfile::KeyFile;
use treeferry_core::format::{Checksum, FormatError, Refspec};

const ORIGIN: &str = "origin";
const TRANSIENT: &str = "libostree-transient";

/// Where a deployment came from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin(KeyFile);

/// Whether a deployment stays, whatever is deployed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pinned {
    /// It stays.
    Yes,
    /// It goes when its turn comes.
    No,
}

impl Origin {
    /// Returns the origin of what is deployed from a ref.
    pub fn from_refspec(refspec: &str) -> Result<Self> {
        let mut origin = Self::default();
        origin.set("refspec", refspec)?;
        Ok(origin)
    }

    /// Reads an origin.
    pub fn parse(text: impl AsRef<[u8]>) -> std::result::Result<Self, FormatError> {
        KeyFile::parse(text).map(Self)
    }

    /// Returns the ref to upgrade from, as it is written.
    pub fn refspec(&self) -> Option<&str> {
        self.0.get_raw(ORIGIN, "refspec")
    }

    /// Returns the ref to upgrade from, which must be there.
    pub fn require_refspec(&self) -> Result<Refspec> {
        let text = self.refspec().ok_or_else(|| {
            let problem =
                "No origin/refspec in current deployment origin; cannot upgrade via ostree";
            Error::missing(problem)
        })?;
        let bad = |e| Error::invalid(format!("Invalid refspec {text}")).because(e);
        text.parse().map_err(bad)
    }

    /// Returns the commit that is wanted instead of what the ref holds.
    pub fn override_commit(&self) -> Result<Option<Checksum>> {
        let text = self.0.get_raw(ORIGIN, "override-commit");
        Ok(text.map(str::parse).transpose()?)
    }

    /// Returns a text that an upgrade fails with: something has to be set up first.
    pub fn unconfigured_state(&self) -> Option<&str> {
        self.0.get_raw(ORIGIN, "unconfigured-state")
    }

    /// Returns how it was unlocked, if that outlives a boot.
    pub fn unlocked(&self) -> Option<&str> {
        self.0.get_raw(ORIGIN, "unlocked")
    }

    /// Returns whether the deployment stays, whatever is deployed later.
    pub fn pinned(&self) -> Pinned {
        match self.0.boolean(TRANSIENT, "pinned") {
            Ok(Some(true)) => Pinned::Yes,
            _ => Pinned::No,
        }
    }

    /// Sets a key of the group `origin`.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        self.0
            .set_string(ORIGIN, key, value)
            .map_err(|e| Error::invalid("cannot be written to an origin").because(e))
    }

    /// Pins the deployment, or does not.
    pub fn set_pinned(&mut self, pinned: Pinned) -> Result<()> {
        let yes = pinned == Pinned::Yes;
        let bad = |e| Error::invalid("cannot be pinned").because(e);
        self.0.set_boolean(TRANSIENT, "pinned", yes).map_err(bad)
    }

    /// Returns what a deployment made from this one inherits: not that it was pinned or unlocked,
    /// nor which commit it was held at.
    #[must_use]
    pub fn inherited(&self) -> Self {
        let mut origin = self.clone();
        origin.0.remove_key(ORIGIN, "override-commit");
        origin.without_transient()
    }

    /// Returns this without what holds for one deployment only.
    #[must_use]
    pub fn without_transient(&self) -> Self {
        let mut origin = self.clone();
        origin.0.remove_group(TRANSIENT);
        origin.0.remove_key(ORIGIN, "unlocked");
        origin
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_written_as_ostree_writes_it() {
        let mut origin = Origin::from_refspec("os:stable").unwrap();
        assert_eq!(origin.to_string(), "[origin]\nrefspec=os:stable\n");
        origin.set_pinned(Pinned::Yes).unwrap();
        let text = origin.to_string();
        assert!(
            text.contains("[libostree-transient]\npinned=true\n"),
            "{text}"
        );
        assert_eq!(origin.pinned(), Pinned::Yes);
        assert_eq!(origin.inherited().pinned(), Pinned::No);
    }
}
