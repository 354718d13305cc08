//! How far the transfer of one object has come.

use bytes::BytesMut;

use crate::error::Result;
use crate::store::ScratchFile;
use crate::transport::{Resume, Validator};

/// A file up to this length is held in memory; a longer one goes through the scratch place.
pub(super) const IN_MEMORY_BYTES_MAX: u64 = 128 * 1024;

/// How far a transfer has come: kept over tries.
#[derive(Debug, Default)]
pub(super) enum Received {
    #[default]
    Nothing,
    Memory {
        validator: Option<Validator>,
        bytes: BytesMut,
    },
    Spooled(Box<dyn ScratchFile>),
}

impl Received {
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Memory { bytes, .. } => bytes.len() as u64,
            Self::Spooled(file) => file.received_bytes(),
        }
    }

    pub(super) fn total_bytes(&self) -> Option<u64> {
        match self {
            Self::Spooled(file) => file.total_bytes(),
            _ => None,
        }
    }

    pub(super) async fn discard(self) -> Result<()> {
        match self {
            Self::Spooled(file) => file.discard().await,
            Self::Nothing | Self::Memory { .. } => Ok(()),
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        match self {
            Self::Spooled(file) => file.total_bytes() == Some(file.received_bytes()),
            _ => false,
        }
    }

    /// Returns where to continue: only a validated version can be continued.
    pub(super) fn resume(&self) -> Option<Resume> {
        let validator = match self {
            Self::Nothing => None,
            Self::Memory { validator, .. } => validator.clone(),
            Self::Spooled(file) => file.validator().cloned(),
        };
        let offset = self.bytes();
        validator
            .filter(|_| offset > 0)
            .map(|validator| Resume { offset, validator })
    }
}

pub(super) fn small_len(total_bytes: Option<u64>) -> usize {
    let total = total_bytes.unwrap_or(0).min(IN_MEMORY_BYTES_MAX);
    usize::try_from(total).unwrap_or(0)
}
