//! `static-delta indexes`: for which commits there is an index of deltas.

use std::io::Write;

use treeferry_core::ops::delta::kept_indexes;

use crate::failure::Result;
use crate::output;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) async fn run(_: Args, session: &Session) -> Result<()> {
    let repo = session.open().await?;
    let indexes = kept_indexes(&repo).await?;
    let mut out = output::stdout();
    if indexes.is_empty() {
        writeln!(out, "(No static deltas indexes)")?;
    }
    for to in indexes {
        writeln!(out, "{to}")?;
    }
    Ok(out.flush()?)
}
