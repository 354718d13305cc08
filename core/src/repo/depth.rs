//! How far back a walk over history goes.

/// How much history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// So many parents; 0 is the commit alone.
    Parents(u32),
    /// All of it, as far as the source has it.
    All,
}

impl Depth {
    /// Returns whether a walk with this much left covers all of one with `other` left.
    pub(crate) fn covers(self, other: Self) -> bool {
        match (self, other) {
            (Self::All, _) => true,
            (Self::Parents(_), Self::All) => false,
            (Self::Parents(n), Self::Parents(m)) => n >= m,
        }
    }

    /// Returns what is left after one step to a parent, if a step is left.
    pub(crate) fn step(self) -> Option<Self> {
        match self {
            Self::All => Some(Self::All),
            Self::Parents(n) => n.checked_sub(1).map(Self::Parents),
        }
    }
}
