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
    let bar = ProgressBar::new(0).with_style(style());
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

/// The bar counts objects, the only total that is always known; the message counts bytes.
fn style() -> ProgressStyle {
    let layout = "{spinner} {prefix} [{wide_bar}] {pos}/{len} objects, {msg}";
    ProgressStyle::with_template(layout)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

fn show(bar: &ProgressBar, snapshot: &Snapshot) {
    let (metadata, content) = (&snapshot.metadata, &snapshot.content);
    bar.set_prefix(match snapshot.phase {
        Phase::Resolving => "resolving",
        Phase::Scanning => "scanning ",
        Phase::Transferring => "fetching ",
        Phase::Committing => "writing  ",
        _ => "done     ",
    });
    bar.set_length(metadata.total + content.total);
    bar.set_position(metadata.done + content.done);
    let rate = rate(&snapshot.transferred, bar.elapsed());
    let more = match still_growing(metadata) || still_growing(content) {
        true => " (more to come)",
        false => "",
    };
    bar.set_message(format!(
        "{}{rate}{more}",
        amount_text(&snapshot.transferred)
    ));
}

fn still_growing(count: &Count) -> bool {
    count.certainty == Certainty::Estimated
}

/// Returns `1.2 MiB of 3.4 MiB`, with `~` before a total that is an estimate.
fn amount_text(amount: &Amount) -> String {
    let done = HumanBytes(amount.done_bytes);
    match (amount.total_bytes, amount.certainty) {
        (None, _) => done.to_string(),
        (Some(total), Certainty::Exact) => format!("{done} of {}", HumanBytes(total)),
        (Some(total), Certainty::Estimated) => format!("{done} of ~{}", HumanBytes(total)),
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

    #[test]
    fn an_estimate_is_marked_and_an_exact_total_is_not() {
        let mut amount = Amount {
            done_bytes: 1024,
            total_bytes: Some(2048),
            certainty: Certainty::Exact,
        };
        assert_eq!(amount_text(&amount), "1.00 KiB of 2.00 KiB");
        amount.certainty = Certainty::Estimated;
        assert_eq!(amount_text(&amount), "1.00 KiB of ~2.00 KiB");
        assert_eq!(
            rate(&amount, Duration::from_secs(1)),
            ", 1.00 KiB/s, 1 s left"
        );
    }
}
