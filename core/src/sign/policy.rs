//! What must be signed, and by whom.

use std::sync::Arc;

use super::{AllOf, Signed, Verdict, Verifier};
use crate::error::{Error, Result};
use crate::format::gvariant::Dict;

/// Who must have signed something.
#[derive(Debug, Clone, Default)]
pub enum Trust {
    /// Nobody: its checksum says what it is, and whoever named it is believed.
    #[default]
    Anyone,
    /// It must be signed so that this accepts it.
    Signed(Arc<dyn Verifier>),
}

impl Trust {
    /// Requires a signature that `verifier` accepts.
    pub fn signed(verifier: impl Verifier) -> Self {
        Self::Signed(Arc::new(verifier))
    }

    /// Returns whether a signature is required.
    pub fn is_required(&self) -> bool {
        matches!(self, Self::Signed(_))
    }

    /// Requires what both require.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Anyone, trust) | (trust, Self::Anyone) => trust,
            (Self::Signed(first), Self::Signed(second)) => Self::signed(AllOf(vec![first, second])),
        }
    }
}

/// What of a remote must be signed, and by whom. Needs no file: keys can be given in memory.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct VerifyPolicy {
    /// Commits, by their detached metadata.
    pub commits: Trust,
    /// The summary, by the file beside it. Required, nothing is taken from an unsigned one, and it
    /// must exist.
    pub summary: Trust,
    /// Static deltas, by the wrapper of their superblock.
    pub deltas: Trust,
    /// What time it is, seconds since 1970, for keys that expire; `None`: unknown, and what depends
    /// on it is refused.
    pub now_secs: Option<u64>,
}

impl VerifyPolicy {
    /// Returns the policy that all that can be signed is, so that `trust` accepts it.
    pub fn all(trust: &Trust, now_secs: u64) -> Self {
        Self {
            commits: trust.clone(),
            summary: trust.clone(),
            deltas: trust.clone(),
            now_secs: Some(now_secs),
        }
    }

    /// Requires what both require.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            commits: self.commits.and(other.commits),
            summary: self.summary.and(other.summary),
            deltas: self.deltas.and(other.deltas),
            now_secs: self.now_secs.or(other.now_secs),
        }
    }

    /// Returns the policy that commits are signed, so that `trust` accepts them.
    pub fn commits(trust: Trust, now_secs: u64) -> Self {
        Self {
            commits: trust,
            now_secs: Some(now_secs),
            ..Self::default()
        }
    }
}

/// Verifies `data` by the `a{sv}` beside it; `None`: there is none. CPU work: not for a runtime
/// thread if `data` is long.
///
/// # Errors
///
/// [`Untrusted`](crate::ErrorKind::Untrusted), and why.
pub fn require(
    verifier: &dyn Verifier,
    data: &[u8],
    metadata: Option<&[u8]>,
    now_secs: Option<u64>,
) -> Result<Verdict> {
    let (signatures, malformed) = match metadata.map(Dict::decode) {
        None => (Dict::new(), None),
        Some(Ok(signatures)) => (signatures, None),
        Some(Err(error)) => (Dict::new(), Some(error)),
    };
    let signed = Signed {
        data: data.into(),
        signatures: &signatures,
        now_secs,
    };
    let verdict = verifier.verify(&signed).into_result();
    let Some(malformed) = malformed else {
        return verdict;
    };
    // Says which kind of signature is missing; one that needs none is not asked what is wrong here.
    let problem = match verdict {
        Err(unsigned) => format!("{unsigned}: what should hold them is not well formed"),
        Ok(_) => "no signatures found: what should hold them is not well formed".to_owned(),
    };
    Err(Error::new(crate::ErrorKind::Untrusted, problem).because(malformed))
}
