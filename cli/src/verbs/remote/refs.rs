//! `remote refs`.

use std::io::Write;
use std::path::PathBuf;

use serde_json::json;
use treeferry_core::format::{RemoteName, Summary};
use treeferry_core::ops::pull;
use treeferry_core::ops::replicate::Retry;
use treeferry_core::store::SignedSummary;

use super::name_of;
use crate::failure::{Failure, Result};
use crate::session::{Session, remote_config};
use crate::{json, output, source, trust};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print the commit of each ref after it
    #[arg(short, long)]
    revision: bool,
    /// Print JSON: each ref with its commit
    #[arg(long)]
    json: bool,
    /// Accepted for compatibility: no cache is kept
    #[arg(long, value_name = "PATH", hide = true)]
    cache_dir: Option<PathBuf>,
    /// The name of the remote
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let name = name_of(args.name.as_deref())?;
    let summary = fetch_summary(session, &name)
        .await?
        .ok_or_else(|| Failure::new("Remote refs not available; server has no summary file"))?;
    let mut refs = Summary::parse(&summary.summary)?.refs;
    refs.sort_by(|a, b| a.name.cmp(&b.name));
    let mut out = output::stdout();
    for entry in refs {
        if args.json {
            let commit = entry.commit.to_string();
            let entry = json!({ "remote": name.as_str(), "ref": entry.name, "commit": commit });
            json::write(&mut out, &entry)?;
            continue;
        }
        write!(out, "{name}:{}", entry.name)?;
        if args.revision {
            write!(out, "\t{}", entry.commit)?;
        }
        writeln!(out)?;
    }
    Ok(out.flush()?)
}

/// Fetches the summary of a configured remote, verified as its pulls are; `None` when it has none.
pub(crate) async fn fetch_summary(
    session: &Session,
    name: &RemoteName,
) -> Result<Option<SignedSummary>> {
    let opened = session.open_place().await?;
    let remote = remote_config(&opened, name).await?;
    if remote.url.is_empty() {
        return Err(Failure::new(format!(
            "No \"url\" option in remote \"{name}\""
        )));
    }
    let options = source::http_options(&opened.repo, &remote, session.name).await?;
    let source = source::open(&remote.url, None, &options).await?;
    let policy = trust::of_remote(&opened, &remote).await?;
    let pool = opened.repo.pool();
    Ok(pull::fetch_summary(pool, &source, &policy, &Retry::default()).await?)
}
