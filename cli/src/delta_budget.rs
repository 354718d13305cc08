//! What making and applying deltas may use on this machine.

use std::sync::Arc;

use treeferry_core::ops::delta::{ApplyBudget, GenerateOptions, SpillPlace};
use treeferry_core::spill;
use treeferry_core_liblzma::LibLzma;

use crate::dates;
use crate::place::Opened;

/// Returns where bytes wait that need not be in memory: where the repository's other walks leave what
/// does not fit, or with the temporary files of the machine.
pub(crate) fn spill_place(opened: &Opened) -> SpillPlace {
    match &opened.repo.spill().place {
        Some(place) => SpillPlace::Disk(place.clone()),
        None => of_the_machine(),
    }
}

fn of_the_machine() -> SpillPlace {
    SpillPlace::Disk(spill::SpillPlace::new(std::env::temp_dir()))
}

/// Returns what applying a delta may use.
pub(crate) fn to_apply(opened: &Opened) -> ApplyBudget {
    let mut budget = ApplyBudget::default();
    budget.xz = Arc::new(LibLzma);
    budget.spill = spill_place(opened);
    budget
}

/// Returns what looking into a delta may use, where there need not be a repository.
pub(crate) fn to_look() -> ApplyBudget {
    let mut budget = ApplyBudget::default();
    budget.xz = Arc::new(LibLzma);
    budget.spill = of_the_machine();
    budget
}

/// Returns how a delta is made.
pub(crate) fn to_make() -> GenerateOptions {
    let mut options = GenerateOptions::default();
    options.xz = Arc::new(LibLzma);
    options.now_secs = dates::now();
    options
}
