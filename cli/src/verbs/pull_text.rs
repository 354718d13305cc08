//! What `pull` says it brought.

use std::time::Duration;

use treeferry_core::ops::pull::{EndOfLife, PullReport};
use treeferry_core::store::RefName;

use super::size_text::size_text;
use crate::session::{Name, Session};

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

/// Warns of branches of which nothing more will come; scripts that know the other name expect no such
/// line.
pub(super) fn warn_of_ends(session: &Session, report: &PullReport) {
    if session.name == Name::Ostree {
        return;
    }
    for pulled in &report.refs {
        if let (Some(name), Some(end)) = (&pulled.name, &pulled.end_of_life) {
            eprintln!("{}", end_text(name, end));
        }
    }
}

fn end_text(name: &RefName, end: &EndOfLife) -> String {
    let mut text = format!("warning: {name} is at the end of its life");
    if let Some(reason) = &end.reason {
        text += &format!(": {}", reason.escape_debug());
    }
    match (&end.rebase, name) {
        (Some(branch), RefName::Remote(remote, _)) => {
            let branch = branch.escape_debug();
            text + &format!("; {branch} takes its place: pull {remote} {branch}")
        }
        (Some(branch), _) => text + &format!("; {} takes its place", branch.escape_debug()),
        (None, _) => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_branch_is_told_with_what_follows() {
        let (remote, branch) = ("origin".parse().unwrap(), "os/9".parse().unwrap());
        let name = RefName::Remote(remote, branch);
        let mut end = EndOfLife {
            reason: Some("no more\nupdates".to_owned()),
            rebase: None,
        };
        let text = "warning: origin:os/9 is at the end of its life: no more\\nupdates";
        assert_eq!(end_text(&name, &end), text);
        end.rebase = Some("os/10".to_owned());
        let rest = "; os/10 takes its place: pull origin os/10";
        assert_eq!(end_text(&name, &end), format!("{text}{rest}"));
    }

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
