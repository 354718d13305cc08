//! What is said of static deltas that are taken along.

use treeferry_core::ops::delta::DeltasTaken;

use super::size_text::size_text;
use crate::failure::Result;
use crate::output;

/// Says which deltas came along, if any were there.
pub(super) fn print_taken(taken: &DeltasTaken) -> Result<()> {
    warn_of_left_out(taken);
    if taken.deltas == 0 {
        return Ok(());
    }
    let (deltas, files, bytes) = (taken.deltas, taken.files, size_text(taken.bytes));
    Ok(output::line(format!(
        "{deltas} static deltas came along, {files} files, {bytes}"
    ))?)
}

/// Says which deltas would come along, if any are there.
pub(super) fn print_planned(planned: &DeltasTaken) -> Result<()> {
    warn_of_left_out(planned);
    if planned.deltas + planned.present == 0 {
        return Ok(());
    }
    let (deltas, files, bytes) = (planned.deltas, planned.files, planned.bytes);
    let present = planned.present;
    Ok(output::line(format!(
        "static deltas to move: {deltas}, {files} files, {bytes} bytes, exact, from their \
         superblocks; there already: {present}"
    ))?)
}

/// Warns of deltas that stayed behind because something is wrong with them.
pub(super) fn warn_of_left_out(taken: &DeltasTaken) {
    for left in &taken.left_out {
        eprintln!(
            "warning: the static delta {} was left out: {}",
            left.name, left.error
        );
    }
}
