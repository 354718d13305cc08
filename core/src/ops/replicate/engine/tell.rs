//! What is said of how far it has come.

use super::Run;
use crate::repo::{Amount, Certainty, Phase, Snapshot};

impl Run<'_> {
    /// Reports what was written: of what is left, files count as many bytes as those before them.
    fn tell_written(&self, snapshot: &mut Snapshot, scanning: bool) {
        let written = &self.written;
        let left = snapshot.content.total.saturating_sub(written.files);
        let average = written.file_bytes.checked_div(written.files);
        let (total_bytes, certainty) = match left {
            0 if !scanning => (Some(written.bytes), Certainty::Exact),
            _ => {
                let more = average.map(|average| average.saturating_mul(left));
                let total = more.map(|more| written.bytes.saturating_add(more));
                (total, Certainty::Estimated)
            }
        };
        snapshot.written = Amount {
            done_bytes: written.bytes,
            total_bytes,
            certainty,
        };
    }

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
            self.tell_written(snapshot, scanning);
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
