//! Reports as JSON: an object a line, so that long ones can be read as they come.

use std::io::Write;

use serde_json::{Value, json};
use treeferry_core::format::{Checksum, Commit};
use treeferry_core::ops::pull::PullReport;

use crate::failure::Result;
use crate::output;

/// Prints one object on a line of its own.
pub(crate) fn write(out: &mut impl Write, object: &Value) -> Result<()> {
    Ok(writeln!(out, "{object}")?)
}

/// Prints one object at once.
pub(crate) fn line(object: &Value) -> Result<()> {
    Ok(output::line(object)?)
}

/// Returns what a commit says of itself.
pub(crate) fn of_commit(checksum: &Checksum, commit: &Commit) -> Value {
    json!({
        "commit": checksum.to_string(),
        "parent": commit.parent.map(|parent| parent.to_string()),
        "content_checksum": commit.content_checksum().to_string(),
        "timestamp": commit.timestamp,
        "version": commit.version(),
        "subject": commit.subject,
        "body": commit.body,
    })
}

/// Returns what a pull brought.
pub(crate) fn of_pull(report: &PullReport) -> Value {
    let moved = &report.replicated;
    let refs = report.refs.iter().map(|pulled| {
        json!({
            "ref": pulled.name.as_ref().map(ToString::to_string),
            "before": pulled.before.map(|before| before.to_string()),
            "commit": pulled.now.to_string(),
            "end_of_life": pulled.end_of_life.as_ref().map(|end| json!({
                "reason": end.reason,
                "rebase": end.rebase,
            })),
        })
    });
    json!({
        "refs": refs.collect::<Vec<_>>(),
        "metadata_fetched": moved.metadata_fetched,
        "content_fetched": moved.content_fetched,
        "transferred_bytes": moved.transferred_bytes,
        "written_bytes": moved.written_bytes,
    })
}
