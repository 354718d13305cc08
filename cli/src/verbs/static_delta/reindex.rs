//! `static-delta reindex`: writes the indexes of deltas anew.

use treeferry_core::ops::delta::reindex;

use crate::failure::Result;
use crate::session::{Session, resolve};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only the index of deltas to this commit
    #[arg(long, value_name = "REV")]
    to: Option<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let repo = session.open().await?;
    let only = match &args.to {
        Some(rev) => Some(resolve(&repo, rev).await?),
        None => None,
    };
    Ok(reindex(&repo, only.as_ref()).await?)
}
