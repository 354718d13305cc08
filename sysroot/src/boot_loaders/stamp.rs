//! Boot loaders whose program has to run after the change: a stamp says so meanwhile, and whoever finds it after a
//! power cut runs the program.

use std::path::PathBuf;

use super::{Change, Step};

const STAMP: &str = "boot/ostree-bootloader-update.stamp";

/// Says that the program has to run.
pub(super) fn set(change: &Change<'_>) -> Step {
    Step::Write {
        path: path(change),
        bytes: Vec::new(),
    }
}

/// Says that it has.
pub(super) fn clear(change: &Change<'_>) -> Step {
    Step::Remove(path(change))
}

fn path(change: &Change<'_>) -> PathBuf {
    change.layout.root().join(STAMP)
}
