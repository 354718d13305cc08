//! What became of each path in a merge. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::tree::{EtcTree, Node};

/// What became of each path in a merge. Paths are relative to `/etc`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MergeReport {
    /// What became of each path that is not the same everywhere.
    pub fates: BTreeMap<PathBuf, Fate>,
    /// Where both sides changed something.
    pub conflicts: Vec<Conflict>,
}

/// What became of a path that one side changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The administrator's change stays.
    Kept,
    /// What the administrator added stays.
    Added,
    /// What the administrator removed stays away.
    Deleted,
    /// It was as the old system shipped it, and is now as the new one does.
    Replaced,
    /// It was as the old system shipped it, and the new one does not have it.
    RemovedWithDefault,
    /// The new system brings it.
    NewDefault,
    /// Both sides made the same change.
    Agreed,
    /// Both sides changed it: see the conflicts.
    Conflict,
}

/// A path that both sides changed, and differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Where.
    pub path: PathBuf,
    /// How they differ.
    pub kind: ConflictKind,
    /// What was done.
    pub resolution: Resolution,
}

/// How the two sides differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConflictKind {
    /// Both changed it.
    BothChanged,
    /// Both added it.
    BothAdded,
    /// The administrator changed it, the new system removed it.
    ChangedHereRemovedThere,
    /// The administrator removed it, the new system changed it.
    RemovedHereChangedThere,
    /// One has a directory, the other something else.
    DifferentKinds,
    /// It is in a directory of the administrator's, in whose place the new system has one too, which
    /// was taken.
    DroppedWithDirectory,
    /// Mode or owner of a directory was changed, but nothing in it: the change is lost.
    DirectoryAttributes,
    /// It is neither file, link nor directory, and was left behind.
    Special,
}

/// What was done about a conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// The administrator's stays.
    KeptMine,
    /// The new system's came.
    TookNew,
    /// Both are there.
    KeptBoth,
}

pub(super) fn classify(
    old: &EtcTree,
    mine: &EtcTree,
    new: &EtcTree,
    result: &EtcTree,
    resolution: impl Fn(&Path) -> Resolution,
) -> MergeReport {
    let paths: BTreeSet<_> = old
        .0
        .keys()
        .chain(mine.0.keys())
        .chain(new.0.keys())
        .collect();
    let mut report = MergeReport::default();
    for path in paths {
        let [o, m, n, r] = [old, mine, new, result].map(|tree| tree.get(path));
        let lost = m != o && r != m;
        let kind = match (m != o, n != o) {
            (false, false) => continue,
            (false, true) => None,
            (true, false) if !lost => None,
            (true, true) if m == n => None,
            _ => Some(conflict_kind(o, m, n, lost)),
        };
        let fate = match (o, m, n) {
            _ if kind.is_some() => Fate::Conflict,
            (_, m, n) if m == n => Fate::Agreed,
            (None, None, _) => Fate::NewDefault,
            (None, Some(_), _) => Fate::Added,
            (Some(_), None, _) => Fate::Deleted,
            (o, m, None) if o == m => Fate::RemovedWithDefault,
            (o, m, Some(_)) if o == m => Fate::Replaced,
            _ => Fate::Kept,
        };
        report.fates.insert(path.clone(), fate);
        if let Some(kind) = kind {
            let resolution = match (lost, resolution(path)) {
                (true, Resolution::KeptMine) => Resolution::TookNew,
                (_, resolution) => resolution,
            };
            report.conflicts.push(Conflict {
                path: path.clone(),
                kind,
                resolution,
            });
        }
    }
    report
}

fn conflict_kind(
    old: Option<&Node>,
    mine: Option<&Node>,
    new: Option<&Node>,
    lost: bool,
) -> ConflictKind {
    match (old, mine, new) {
        (_, Some(mine), _) if mine.kind == super::tree::Kind::Special => ConflictKind::Special,
        (_, Some(mine), Some(new)) if mine.is_dir() && new.is_dir() => {
            ConflictKind::DirectoryAttributes
        }
        (_, Some(mine), Some(new)) if !mine.same_kind(new) => ConflictKind::DifferentKinds,
        (None, Some(_), None) | (Some(_), Some(_), None) if lost => {
            ConflictKind::DroppedWithDirectory
        }
        (None, Some(_), _) => ConflictKind::BothAdded,
        (Some(_), Some(_), None) => ConflictKind::ChangedHereRemovedThere,
        (_, None, _) => ConflictKind::RemovedHereChangedThere,
        (Some(_), Some(_), Some(_)) => ConflictKind::BothChanged,
    }
}

impl MergeReport {
    /// Returns the paths with that fate.
    pub fn with_fate(&self, fate: Fate) -> impl Iterator<Item = &Path> {
        let found = self.fates.iter().filter(move |(_, f)| **f == fate);
        found.map(|(path, _)| path.as_path())
    }

    /// Returns the report for programs.
    pub fn to_json(&self) -> String {
        let list = |fate: Fate| -> Vec<Value> {
            self.with_fate(fate)
                .map(|path| json!(path.to_string_lossy()))
                .collect()
        };
        let conflict = |conflict: &Conflict| {
            json!({
                "path": conflict.path.to_string_lossy(),
                "kind": conflict.kind.as_str(),
                "resolution": conflict.resolution.as_str(),
            })
        };
        let report = json!({
            "kept": list(Fate::Kept),
            "added": list(Fate::Added),
            "deleted": list(Fate::Deleted),
            "replaced": list(Fate::Replaced),
            "removed-with-default": list(Fate::RemovedWithDefault),
            "new-default": list(Fate::NewDefault),
            "agreed": list(Fate::Agreed),
            "conflicts": self.conflicts.iter().map(conflict).collect::<Vec<_>>(),
        });
        format!("{report:#}\n")
    }
}

impl ConflictKind {
    /// Returns a short stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BothChanged => "both-changed",
            Self::BothAdded => "both-added",
            Self::ChangedHereRemovedThere => "changed-here-removed-there",
            Self::RemovedHereChangedThere => "removed-here-changed-there",
            Self::DifferentKinds => "different-kinds",
            Self::DroppedWithDirectory => "dropped-with-directory",
            Self::DirectoryAttributes => "directory-attributes",
            Self::Special => "special",
        }
    }
}

impl Resolution {
    /// Returns a short stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::KeptMine => "kept-mine",
            Self::TookNew => "took-new",
            Self::KeptBoth => "kept-both",
        }
    }
}
