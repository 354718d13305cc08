//! `du`: what each ref costs, and what a prune would free.

use std::io::Write;

use serde_json::json;
use treeferry_core::ops::du::{DiskUse, Stored, disk_use};

use super::size_text::size_text;
use crate::failure::Result;
use crate::session::Session;
use crate::{json, output};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print JSON, an object a line: each ref, then the repository
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let repo = session.open().await?;
    let found = disk_use(&repo).await?;
    let mut out = output::stdout();
    match args.json {
        true => write_json(&mut out, &found)?,
        false => write_table(&mut out, &found)?,
    }
    Ok(out.flush()?)
}

fn write_table(out: &mut impl Write, found: &DiskUse) -> Result<()> {
    let column = |stored: Stored| format!("{:>10}", size_text(stored.bytes));
    if !found.refs.is_empty() {
        writeln!(out, "   its own        all  ref")?;
    }
    for cost in &found.refs {
        writeln!(
            out,
            "{} {}  {}",
            column(cost.own),
            column(cost.all),
            cost.name
        )?;
    }
    let line =
        |what: &str, stored: Stored| format!("{} {:>10}  {what}", column(stored), stored.objects);
    if !found.refs.is_empty() {
        writeln!(out)?;
    }
    writeln!(out, "     bytes    objects")?;
    writeln!(out, "{}", line("in the repository", found.all))?;
    writeln!(out, "{}", line("shared by several refs", found.shared))?;
    let (of_refs, of_commits) = (found.without_ref, found.without_commit);
    let frees = "needed by no ref: 'prune --refs-only' frees it";
    writeln!(out, "{}", line(frees, of_refs))?;
    let frees = "of that needed by no commit: 'prune' frees it";
    Ok(writeln!(out, "{}", line(frees, of_commits))?)
}

fn write_json(out: &mut impl Write, found: &DiskUse) -> Result<()> {
    let of = |stored: Stored| json!({ "objects": stored.objects, "bytes": stored.bytes });
    for cost in &found.refs {
        let object = json!({
            "ref": cost.name.to_string(),
            "commit": cost.commit.to_string(),
            "all": of(cost.all),
            "own": of(cost.own),
        });
        json::write(out, &object)?;
    }
    let object = json!({
        "all": of(found.all),
        "shared": of(found.shared),
        "without_ref": of(found.without_ref),
        "without_commit": of(found.without_commit),
    });
    json::write(out, &object)
}
