//! `static-delta list`: which deltas there are.

use std::io::Write;

use treeferry_core::ops::delta::kept_deltas;

use crate::failure::Result;
use crate::output;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print them as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let repo = session.open().await?;
    let deltas = kept_deltas(&repo).await?;
    let mut out = output::stdout();
    if args.json {
        let entry = |name: &treeferry_core::format::delta::DeltaName| {
            let from = name.from.map(|from| from.to_string());
            serde_json::json!({ "name": name.to_string(), "from": from, "to": name.to.to_string() })
        };
        let list: Vec<_> = deltas.iter().map(entry).collect();
        writeln!(out, "{}", serde_json::Value::from(list))?;
        return Ok(out.flush()?);
    }
    if deltas.is_empty() {
        writeln!(out, "(No static deltas)")?;
    }
    for name in deltas {
        writeln!(out, "{name}")?;
    }
    Ok(out.flush()?)
}
