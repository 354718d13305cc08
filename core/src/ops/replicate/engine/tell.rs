//! What is said of how far it has come.

use super::Run;
use crate::repo::{Certainty, Phase};

impl Run<'_> {
    /// Reports totals: exact once nothing can be wanted any more that is not known.
    pub(super) fn tell(&self) {
        let scanning = self.lookups + self.sifts > 0
            || self.planner.is_unsure()
            || !self.missing_metadata.is_empty();
        let certainty = if scanning {
            Certainty::Estimated
        } else {
            Certainty::Exact
        };
        self.engine.options.progress.update(|snapshot| {
            if !scanning {
                snapshot.phase = Phase::Transferring;
            }
            snapshot.metadata.certainty = certainty;
            snapshot.content.certainty = certainty;
            let files = snapshot.content;
            let all_announced = self.announced.files == self.transfers && !scanning;
            let metadata_bytes = self.report.transferred_bytes - self.content_bytes;
            snapshot.transferred.certainty = if all_announced {
                Certainty::Exact
            } else {
                Certainty::Estimated
            };
            let average = self.content_bytes.checked_div(files.done);
            let left = files.total.saturating_sub(files.done);
            let transferred = self.report.transferred_bytes;
            let estimated = |average: u64| transferred.saturating_add(average.saturating_mul(left));
            snapshot.transferred.total_bytes = match all_announced {
                true => Some(self.announced.bytes.saturating_add(metadata_bytes)),
                false => average.map(estimated),
            };
        });
    }
}
