//! What a long operation is doing, drawn on the terminal.

use std::io::IsTerminal;
use std::time::Duration;

use futures::StreamExt;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;
use treeferry_core::repo::{Amount, Certainty, Count, Phase, Progress, Snapshot};

use crate::session::Session;

/// A progress that is being drawn, or not: on a terminal only, and not if told to be quiet.
pub(crate) struct Drawing {
    task: Option<(ProgressBar, JoinHandle<()>)>,
}

/// Starts to draw what the returned reporter is told.
pub(crate) fn draw(session: &Session) -> (Progress, Drawing) {
    if session.quiet || !std::io::stderr().is_terminal() {
        return (Progress::default(), Drawing { task: None });
    }
    let (progress, mut snapshots) = Progress::channel();
    // A bar of nothing would be drawn as a full one.
    let bar = ProgressBar::new(1).with_style(style());
    bar.enable_steady_tick(Duration::from_millis(120));
    let drawn = bar.clone();
    let task = tokio::spawn(async move {
        while let Some(snapshot) = snapshots.next().await {
            show(&drawn, &snapshot);
        }
    });
    let task = Some((bar, task));
    (progress, Drawing { task })
}

impl Drawing {
    /// Takes the drawing off the terminal.
    pub(crate) fn clear(self) {
        if let Some((bar, task)) = self.task {
            task.abort();
            bar.finish_and_clear();
        }
    }
}

/// The bar counts objects, the only total that is always known.
fn style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {prefix} [{bar:24}] {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

fn show(bar: &ProgressBar, snapshot: &Snapshot) {
    let (metadata, content) = (&snapshot.metadata, &snapshot.content);
    bar.set_prefix(match snapshot.phase {
        Phase::Resolving => "resolving",
        Phase::Scanning => "scanning ",
        Phase::Transferring => "moving   ",
        Phase::Committing => "writing  ",
        _ => "done     ",
    });
    bar.set_length(length(metadata, content));
    bar.set_position(metadata.done + content.done);
    let objects = objects_text(metadata, content);
    let (amount, what) = amount_of(snapshot);
    bar.set_message(format!(
        "{objects}, {}{what}{}",
        amount_text(amount),
        rate(amount, bar.elapsed())
    ));
}

/// Returns the bytes that tell how far it has come, and what became of them. Of what is on this machine
/// nothing comes over a transport: there it is what the destination takes that takes time.
fn amount_of(snapshot: &Snapshot) -> (&Amount, &'static str) {
    match snapshot.transferred.done_bytes {
        0 if snapshot.written.done_bytes > 0 => (&snapshot.written, " sent"),
        _ => (&snapshot.transferred, ""),
    }
}

/// Returns how long the bar is: longer than what is done as long as more may be found.
fn length(metadata: &Count, content: &Count) -> u64 {
    let total = metadata.total + content.total;
    match is_growing(metadata) || is_growing(content) {
        true => total.max(metadata.done + content.done + 1),
        false => total.max(1),
    }
}

fn is_growing(count: &Count) -> bool {
    count.certainty == Certainty::Estimated
}

/// Returns `12/34 objects`, with a `+` where more may be found.
fn objects_text(metadata: &Count, content: &Count) -> String {
    let (done, total) = (metadata.done + content.done, metadata.total + content.total);
    let more = if is_growing(metadata) || is_growing(content) {
        "+"
    } else {
        ""
    };
    format!("{done}/{total}{more} objects")
}

/// Returns `1.2 MiB of 3.4 MiB`, with `~` before a total that is an estimate.
fn amount_text(amount: &Amount) -> String {
    let done = HumanBytes(amount.done_bytes);
    match (amount.total_bytes, amount.certainty) {
        (None, _) => done.to_string(),
        (Some(total), Certainty::Exact) => format!("{done} of {}", HumanBytes(total)),
        // What has come already is the least that it can be.
        (Some(total), Certainty::Estimated) => {
            format!("{done} of ~{}", HumanBytes(total.max(amount.done_bytes)))
        }
    }
}

/// Returns `, 1.2 MiB/s, 3 s left`.
fn rate(amount: &Amount, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    if seconds < 0.5 || amount.done_bytes == 0 {
        return String::new();
    }
    let per_second = amount.done_bytes as f64 / seconds;
    let rate = format!(", {}/s", HumanBytes(per_second as u64));
    let left = amount
        .total_bytes
        .map(|total| total.saturating_sub(amount.done_bytes));
    match left {
        Some(left) if left > 0 => format!("{rate}, {:.0} s left", left as f64 / per_second),
        _ => rate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(certainty: Certainty) -> Amount {
        Amount {
            done_bytes: 1024,
            total_bytes: Some(2048),
            certainty,
        }
    }

    #[test]
    fn what_is_sent_counts_where_nothing_arrives() {
        let mut snapshot = Snapshot::default();
        snapshot.written = amount(Certainty::Exact);
        let (sent, what) = amount_of(&snapshot);
        assert_eq!((sent, what), (&snapshot.written, " sent"));
        snapshot.transferred = amount(Certainty::Estimated);
        assert_eq!(amount_of(&snapshot), (&snapshot.transferred, ""));
    }

    #[test]
    fn an_estimate_is_marked_and_an_exact_total_is_not() {
        let estimated = amount(Certainty::Estimated);
        assert_eq!(
            amount_text(&amount(Certainty::Exact)),
            "1.00 KiB of 2.00 KiB"
        );
        assert_eq!(amount_text(&estimated), "1.00 KiB of ~2.00 KiB");
        assert_eq!(
            rate(&estimated, Duration::from_secs(1)),
            ", 1.00 KiB/s, 1 s left"
        );
    }

    #[test]
    fn an_estimate_is_never_less_than_what_has_come() {
        let mut amount = amount(Certainty::Estimated);
        amount.done_bytes = 4096;
        assert_eq!(amount_text(&amount), "4.00 KiB of ~4.00 KiB");
        assert_eq!(rate(&amount, Duration::from_secs(1)), ", 4.00 KiB/s");
    }

    #[test]
    fn objects_that_may_become_more_are_marked() {
        let count = |certainty| Count {
            done: 1,
            total: 2,
            certainty,
        };
        let (exact, estimated) = (count(Certainty::Exact), count(Certainty::Estimated));
        assert_eq!(objects_text(&exact, &exact), "2/4 objects");
        assert_eq!(objects_text(&exact, &estimated), "2/4+ objects");
        assert_eq!((length(&exact, &exact), length(&exact, &estimated)), (4, 4));
        let none = |certainty| Count {
            done: 0,
            total: 0,
            certainty,
        };
        let (exact, estimated) = (none(Certainty::Exact), none(Certainty::Estimated));
        // Never full as long as it may not be.
        assert_eq!(length(&estimated, &exact), 1);
    }
}
