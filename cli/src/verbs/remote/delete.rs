//! `remote delete`.

use std::path::PathBuf;

use treeferry_core::ErrorKind;

use super::{in_sysroot, name_of};
use crate::failure::Result;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Succeed if there is no remote of that name
    #[arg(long)]
    if_exists: bool,
    /// The system whose repository to use, in place of --repo
    #[arg(long, value_name = "PATH")]
    sysroot: Option<PathBuf>,
    /// The name of the remote
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let name = name_of(args.name.as_deref())?;
    let repo = in_sysroot(session, args.sysroot).open().await?;
    match repo.delete_remote(&name).await {
        Err(error) if args.if_exists && error.kind() == ErrorKind::Missing => Ok(()),
        result => Ok(result?),
    }
}
