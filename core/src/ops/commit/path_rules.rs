//! The files that name single paths: `--statoverride` and `--skip-list`.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use crate::error::Error;

/// Changes to the modes of single paths, each to be met exactly once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatOverrides {
    changes: BTreeMap<Box<str>, ModeChange>,
}

/// A change to a mode; the file type stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct ModeChange {
    add: Option<u32>,
    set: Option<u32>,
}

impl StatOverrides {
    /// Changes `mode` if there is a change for `path`, which is met by that.
    pub(super) fn apply(&mut self, path: &str, mode: u32) -> u32 {
        let Some(change) = self.changes.remove(path) else {
            return mode;
        };
        match change {
            ModeChange { add: Some(add), .. } => mode | add,
            ModeChange { set: Some(set), .. } => mode & FILE_TYPE | set,
            ModeChange { .. } => mode,
        }
    }

    /// Fails if a path was not met.
    pub(super) fn expect_met(&self) -> Result<(), Error> {
        expect_met("statoverride", self.changes.keys())
    }

    /// Returns whether there are no changes.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

const FILE_TYPE: u32 = 0o170_000;

impl FromStr for StatOverrides {
    type Err = Error;

    /// Reads lines `MODE PATH`, which add bits to the mode, and `=MODE PATH`, which replace it.
    ///
    /// `MODE` is a decimal number, `PATH` absolute in the tree; empty lines are skipped. The last
    /// line of each kind counts for a path, and adding wins over replacing.
    fn from_str(text: &str) -> Result<Self, Error> {
        let mut changes: BTreeMap<Box<str>, ModeChange> = BTreeMap::new();
        for line in text.split('\n').filter(|line| !line.is_empty()) {
            let malformed = |problem: &str| {
                let problem = format!("Malformed statoverride file ({problem}): {line}");
                Error::invalid(problem)
            };
            let (mode, path) = line
                .split_once(' ')
                .ok_or_else(|| malformed("no space found"))?;
            let (digits, sets) = match mode.strip_prefix('=') {
                Some(digits) => (digits, true),
                None => (mode, false),
            };
            let mode: u32 = digits
                .parse()
                .map_err(|_| malformed("the mode is not a decimal number"))?;
            if mode & !0o7777 != 0 {
                return Err(malformed("the mode has bits beyond 07777, decimal 4095"));
            }
            let change = changes.entry(path.into()).or_default();
            if sets {
                change.set = Some(mode);
            } else {
                change.add = Some(mode);
            }
        }
        Ok(Self { changes })
    }
}

/// Paths that are left out with all below them, each to be met exactly once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SkipList {
    paths: BTreeSet<Box<str>>,
}

impl SkipList {
    /// Returns whether `path` is listed, and was not met before.
    pub(super) fn take(&mut self, path: &str) -> bool {
        self.paths.remove(path)
    }

    /// Fails if a path was not met.
    pub(super) fn expect_met(&self) -> Result<(), Error> {
        expect_met("skip-list", self.paths.iter())
    }

    /// Returns whether nothing is left out.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }
}

impl FromStr for SkipList {
    type Err = std::convert::Infallible;

    /// Reads one absolute path a line; empty lines are skipped.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let paths = text.split('\n').filter(|line| !line.is_empty());
        Ok(Self {
            paths: paths.map(Into::into).collect(),
        })
    }
}

fn expect_met<'a>(
    what: &str,
    mut rest: impl ExactSizeIterator<Item = &'a Box<str>>,
) -> Result<(), Error> {
    const NAMED_MAX: usize = 8;
    let unmet = rest.len();
    let Some(first) = rest.next() else {
        return Ok(());
    };
    let mut problem = format!("Unmatched {what} paths: {first}");
    for path in rest.take(NAMED_MAX - 1) {
        problem.push_str(", ");
        problem.push_str(path);
    }
    if unmet > NAMED_MAX {
        problem.push_str(&format!(" and {} more", unmet - NAMED_MAX));
    }
    Err(Error::invalid(problem))
}
