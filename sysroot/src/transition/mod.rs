//! What is under way, on disk: `ostree/treeferry-transition`.
//!
//! ```text
//!  stage ──> finalize ──> boot ──> mark good
//!    │          │           └────> fall back
//!    └── lost ──┴── interrupted: continued, or reported with its reason; never dropped
//! ```
//!
//! OSTree keeps what is staged in `/run` alone, and forgets it before it begins to finalize: cut off
//! there, the machine silently stays on what it had. This record outlives a boot. It is removed when
//! the new deployment has booted, or was told to be forgotten.

use treeferry_core::error::{Error, Result};
use treeferry_core::format::keyfile::KeyFile;
use treeferry_core::format::{Checksum, FormatError};

use crate::files;
use crate::names::{DeploymentId, Stateroot};
use crate::staged_file::StagedFile;
use crate::sysroot::Sysroot;

mod next;

pub use self::next::{ATTEMPTS_MAX, Facts, Next, Presence, Running, WhichBoot, next};

const GROUP: &str = "transition";

/// What is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transition {
    /// The deployment that is to be booted.
    pub target: DeploymentId,
    /// How far it is.
    pub phase: Phase,
    /// The boot in which that was written.
    pub boot_id: String,
    /// How often finalization was begun.
    pub attempts: u32,
    /// Why the last attempt failed.
    pub reason: Option<String>,
    /// What was staged, to be staged again.
    pub(crate) staged: Vec<u8>,
}

/// How far a change of systems is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It waits for the machine to go down.
    Staged,
    /// `/etc` is being merged, and what it boots from written.
    Finalizing,
    /// It is the default of the menu, and has not booted yet.
    Finalized,
    /// It cannot be finalized.
    Failed,
}

impl Phase {
    /// Returns a short stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Finalizing => "finalizing",
            Self::Finalized => "finalized",
            Self::Failed => "failed",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        let all = [
            Self::Staged,
            Self::Finalizing,
            Self::Finalized,
            Self::Failed,
        ];
        all.into_iter().find(|phase| phase.as_str() == word)
    }
}

impl Transition {
    /// Returns that `staged` was staged in the boot `boot_id`.
    pub(crate) fn staged(staged: &StagedFile, boot_id: &str) -> Self {
        Self {
            target: staged.target.clone(),
            phase: Phase::Staged,
            boot_id: boot_id.to_owned(),
            attempts: 0,
            reason: None,
            staged: staged.to_bytes(),
        }
    }

    /// Reads what is under way; `None` when nothing is. **Blocking.**
    pub(crate) fn read(sysroot: &Sysroot) -> Result<Option<Self>> {
        let path = sysroot.layout().transition();
        let Some(bytes) = files::read(&path)? else {
            return Ok(None);
        };
        let bad = |e| Error::corrupt("cannot be read; remove it to forget what it says").because(e);
        Self::parse(&bytes)
            .map(Some)
            .map_err(|e| bad(e).about(path))
    }

    /// Writes what is under way, durable. **Blocking.**
    pub(crate) fn write(&self, sysroot: &Sysroot) -> Result<()> {
        let path = sysroot.layout().transition();
        files::replace(&path, self.to_text()?.as_bytes(), 0o600)?;
        files::sync(path.parent().unwrap_or(sysroot.layout().root()))
    }

    /// Forgets what is under way. **Blocking.**
    pub(crate) fn forget(sysroot: &Sysroot) -> Result<()> {
        files::remove_file(&sysroot.layout().transition())
    }

    /// Returns what was staged.
    pub(crate) fn staged_file(&self) -> Result<StagedFile> {
        let lost = || Error::corrupt("does not say what was staged");
        StagedFile::parse(&self.staged)?.ok_or_else(lost)
    }

    /// Reads the record.
    ///
    /// # Errors
    /// Names the key that is missing or cannot be understood.
    pub fn parse(text: &[u8]) -> std::result::Result<Self, FormatError> {
        let file = KeyFile::parse(text)?;
        let get = |key: &str| -> std::result::Result<String, FormatError> {
            let missing = || FormatError::new("transition", format!("lacks {key:?}"));
            file.string(GROUP, key)?.ok_or_else(missing)
        };
        let bad = |what: &'static str| FormatError::new("transition", what);
        let checksum: Checksum = get("checksum")?.parse()?;
        let serial = get("serial")?
            .parse()
            .map_err(|_| bad("serial: not a number"))?;
        Ok(Self {
            target: DeploymentId {
                stateroot: Stateroot::new(&get("stateroot")?)?,
                checksum,
                serial,
            },
            phase: Phase::parse(&get("phase")?).ok_or_else(|| bad("phase: unknown"))?,
            boot_id: get("boot-id")?,
            attempts: get("attempts")?
                .parse()
                .map_err(|_| bad("attempts: not a number"))?,
            reason: file.string(GROUP, "reason")?,
            staged: from_hex(&get("staged")?).ok_or_else(|| bad("staged: not hexadecimal"))?,
        })
    }

    /// Writes the record.
    pub fn to_text(&self) -> Result<String> {
        let mut file = KeyFile::new();
        let values = [
            ("stateroot", self.target.stateroot.to_string()),
            ("checksum", self.target.checksum.to_string()),
            ("serial", self.target.serial.to_string()),
            ("phase", self.phase.as_str().to_owned()),
            ("boot-id", self.boot_id.clone()),
            ("attempts", self.attempts.to_string()),
            (
                "staged",
                self.staged
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect(),
            ),
        ];
        let reason = self.reason.clone().map(|reason| ("reason", reason));
        for (key, value) in values.into_iter().chain(reason) {
            let bad = |e| Error::invalid("cannot be recorded").because(e);
            file.set_string(GROUP, key, &value).map_err(bad)?;
        }
        Ok(file.to_string())
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    text.len()
        .is_multiple_of(2)
        .then(|| digits.map(byte).collect())?
}

impl Sysroot {
    /// Returns what is under way.
    pub async fn transition(&self) -> Result<Option<Transition>> {
        self.run(Transition::read).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_is_read_as_it_was_written() {
        let id = DeploymentId {
            stateroot: Stateroot::new("os").unwrap(),
            checksum: Checksum::of(b"c"),
            serial: 2,
        };
        let staged = StagedFile::new(id, Checksum::of(b"k"));
        let mut transition = Transition::staged(&staged, "boot-1");
        transition.reason = Some("no space\nleft".to_owned());
        let text = transition.to_text().unwrap();
        let read = Transition::parse(text.as_bytes()).unwrap();
        assert_eq!(read.staged_file().unwrap(), staged);
        assert_eq!(read, transition);
        assert!(Transition::parse(b"[transition]\nphase=odd\n").is_err());
    }
}
