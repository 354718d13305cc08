//! What `pull` says it brought.

use std::time::Duration;

use treeferry_core::ops::pull::PullReport;

use super::size_text::size_text;
use crate::session::Name;

/// Returns what was fetched from where, in one line.
pub(crate) fn totals(pulled: &PullReport, elapsed: Duration, name: Name) -> String {
    let report = &pulled.replicated;
    let mut metadata = report.metadata_fetched - report.metadata_local;
    if name == Name::Ostree {
        // OSTree counts the detached metadata that it asks for with each commit, there or not.
        metadata += report.commits_transferred;
    }
    let content = report.content_fetched - report.content_local;
    let mut line = match pulled.deltas.parts {
        0 => format!("{metadata} metadata, {content} content objects fetched"),
        parts => format!("{parts} delta parts, {} loose fetched", metadata + content),
    };
    let (metadata, content) = (report.metadata_local, report.content_local);
    let any_local = metadata + content > 0;
    if any_local {
        line += &format!(" ({metadata} meta, {content} content local)");
    }
    if report.transferred_bytes > 0 || !any_local {
        let transferred = transferred_text(report.transferred_bytes);
        line += &format!(
            "; {transferred} transferred in {} seconds",
            elapsed.as_secs()
        );
    }
    let written = size_text(report.written.content_bytes_written);
    line + &format!("; {written} content written")
}

fn transferred_text(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        _ => format!("{} KiB", bytes / 1024),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_at_hand_is_told_apart_from_what_was_transferred() {
        let mut pulled = PullReport::default();
        let report = &mut pulled.replicated;
        (report.metadata_fetched, report.metadata_local) = (6, 4);
        (report.content_fetched, report.content_local) = (6, 5);
        (report.commits_transferred, report.transferred_bytes) = (1, 354);
        let text = |pulled: &PullReport, name| totals(pulled, Duration::ZERO, name);
        assert!(text(&pulled, Name::Treeferry).starts_with(
            "2 metadata, 1 content objects fetched (4 meta, 5 content local); 354 B transferred"
        ));
        assert!(text(&pulled, Name::Ostree).starts_with("3 metadata, 1 content"));
        let report = &mut pulled.replicated;
        (report.metadata_local, report.content_local) = (6, 6);
        (report.commits_transferred, report.transferred_bytes) = (0, 0);
        assert!(!text(&pulled, Name::Ostree).contains("transferred"));
        let report = &mut pulled.replicated;
        (report.metadata_local, report.content_local) = (0, 0);
        assert!(!text(&pulled, Name::Ostree).contains("local"));
        pulled.deltas.parts = 2;
        assert!(text(&pulled, Name::Ostree).starts_with("2 delta parts, 12 loose fetched"));
    }
}
