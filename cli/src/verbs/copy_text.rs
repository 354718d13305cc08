//! What is said of a push, a copy, and of what they would do.

use std::collections::BTreeSet;
use std::io::Write;

use serde_json::json;
use treeferry_core::ops::copy::{CopiedRef, CopyPlan, CopyReport, RefOutcome};
use treeferry_core::ops::replicate::{EstimatedFrom, ExactFrom, PlannedBytes, ReplicatePlan};
use treeferry_core::store::RefValue;

use super::delta_text;
use super::size_text::size_text;
use crate::failure::{Failure, Result};
use crate::place::Place;
use crate::session::Session;
use crate::{json, output};

/// Whether anything changed at the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    SomethingMoved,
    NothingMoved,
}

impl After {
    pub(super) fn of(report: &CopyReport) -> Self {
        let moved = |copied: &CopiedRef| copied.outcome == RefOutcome::Moved;
        // A summary lists deltas too.
        match report.refs.iter().any(moved) || report.deltas.deltas > 0 {
            true => Self::SomethingMoved,
            false => Self::NothingMoved,
        }
    }
}

/// Prints what was moved. A ref that was not is a failure that names what it holds.
pub(super) fn print(session: &Session, report: &CopyReport, to: &Place) -> Result<()> {
    if !session.quiet {
        let moved = &report.replicated;
        let (metadata, content) = (moved.metadata_fetched, moved.content_fetched);
        let written = size_text(moved.written_bytes);
        let line =
            format!("{metadata} metadata, {content} content objects moved; {written} written");
        output::line(line)?;
        print_refs(&report.refs)?;
        delta_text::print_taken(&report.deltas)?;
    }
    conflicts(&report.refs, to)
}

/// Prints what was moved as JSON: each ref, and then the totals.
pub(super) fn print_json(report: &CopyReport, to: &Place) -> Result<()> {
    let value = |value: Option<&RefValue>| value.map(|value| value_text(Some(value)));
    let mut out = output::stdout();
    for copied in &report.refs {
        let outcome = match &copied.outcome {
            RefOutcome::Unchanged => "unchanged",
            RefOutcome::Moved => "moved",
            RefOutcome::Conflict { .. } => "conflict",
        };
        let copied = json!({
            "ref": copied.name.to_string(),
            "outcome": outcome,
            "before": value(copied.before.as_ref()),
            "now": value(Some(&copied.new)),
        });
        json::write(&mut out, &copied)?;
    }
    let moved = &report.replicated;
    let totals = json!({
        "to": to.to_string(),
        "metadata_moved": moved.metadata_fetched,
        "content_moved": moved.content_fetched,
        "transferred_bytes": moved.transferred_bytes,
        "written_bytes": moved.written_bytes,
        "static_deltas_moved": report.deltas.deltas,
        "static_delta_bytes": report.deltas.bytes,
    });
    json::write(&mut out, &totals)?;
    out.flush()?;
    delta_text::warn_of_left_out(&report.deltas);
    conflicts(&report.refs, to)
}

/// Prints what would be moved.
pub(super) fn print_plan(plan: &CopyPlan, to: &Place) -> Result<()> {
    print_refs(&plan.refs)?;
    print_objects(&plan.objects)?;
    delta_text::print_planned(&plan.deltas)?;
    conflicts(&plan.refs, to)
}

fn print_refs(refs: &[CopiedRef]) -> Result<()> {
    let mut out = output::stdout();
    for copied in refs {
        let (name, new) = (&copied.name, value_text(Some(&copied.new)));
        match (&copied.outcome, &copied.before) {
            (RefOutcome::Unchanged, _) => writeln!(out, "{name} is up to date")?,
            (RefOutcome::Moved, None) => writeln!(out, "{name} (new) {new}")?,
            (RefOutcome::Moved, before) => {
                writeln!(out, "{name} {} -> {new}", value_text(before.as_ref()))?;
            }
            (RefOutcome::Conflict { .. }, _) => {}
        }
    }
    Ok(out.flush()?)
}

fn conflicts(refs: &[CopiedRef], to: &Place) -> Result<()> {
    let conflicts = refs.iter().filter_map(|copied| match &copied.outcome {
        RefOutcome::Conflict { current } => {
            let current = value_text(current.as_ref());
            Some(format!("ref '{}' is at {current} there", copied.name))
        }
        _ => None,
    });
    let conflicts: Vec<_> = conflicts.collect();
    if conflicts.is_empty() {
        return Ok(());
    }
    let refs = conflicts.join(", ");
    Err(Failure::new(format!(
        "{to}: {refs}, which is not what was expected, and was left as it is: somebody else moved \
         it; look at that commit, and try again if yours is to follow it"
    )))
}

fn value_text(value: Option<&RefValue>) -> String {
    match value {
        None => "no commit".to_owned(),
        Some(RefValue::Commit(commit)) => commit.to_string(),
        Some(RefValue::Alias(target)) => format!("an alias of {target}"),
    }
}

/// Prints how many objects would be moved, and how many bytes.
pub(super) fn print_objects(plan: &ReplicatePlan) -> Result<()> {
    let mut out = output::stdout();
    for line in object_lines(plan) {
        writeln!(out, "{line}")?;
    }
    Ok(out.flush()?)
}

fn object_lines(plan: &ReplicatePlan) -> Vec<String> {
    let mut lines = vec![
        format!(
            "to move: {} metadata, {} content objects",
            plan.metadata_missing, plan.content_missing
        ),
        format!(
            "there already: {} metadata, {} content objects, {} whole commits with all that they hold",
            plan.metadata_present, plan.content_present, plan.commits_whole
        ),
    ];
    lines.push(format!("to transfer: {}", bytes_text(&plan.transfer)));
    lines.push(format!("to write: {}", bytes_text(&plan.write)));
    lines
}

fn bytes_text(bytes: &PlannedBytes) -> String {
    let total = bytes.total_bytes();
    let exact = words(&bytes.exact_from, |from| match from {
        ExactFrom::Objects => "the metadata itself",
        ExactFrom::Listing => "the lengths that the source tells",
        ExactFrom::Announced => "what the commits announce",
        ExactFrom::Headers => "the headers of the files",
        _ => "other sources",
    });
    if bytes.is_exact() {
        return match exact.is_empty() {
            true => format!("{total} bytes, exact"),
            false => format!("{total} bytes, exact, from {exact}"),
        };
    }
    let estimated = words(&bytes.estimated_from, |from| match from {
        EstimatedFrom::UnpackedLength => "the lengths before compression",
        EstimatedFrom::PackedLength => "the compressed lengths",
        EstimatedFrom::Sample => "the average of a sample",
        _ => "other sources",
    });
    let mut text = format!("about {total} bytes, ");
    if bytes.exact_bytes > 0 {
        text += &format!("{} of them exact, from {exact}; ", bytes.exact_bytes);
    }
    text + &format!("{} estimated, from {estimated}", bytes.estimated_bytes)
}

fn words<T>(from: &BTreeSet<T>, word: impl Fn(&T) -> &'static str) -> String {
    let words: Vec<_> = from.iter().map(word).collect();
    words.join(" and ")
}
