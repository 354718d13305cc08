//! `remote delete`.

use std::path::PathBuf;

use treeferry_core::ErrorKind;

use super::{in_sysroot, name_of};
use crate::failure::Result;
use crate::remotes_d;
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
    let session = in_sysroot(session, args.sysroot);
    let repo = session.open().await?;
    if let Some(directory) = remotes_d::directory(&session.repo_path()?)
        && remotes_d::delete(&directory, &name)?
    {
        return Ok(());
    }
    match repo.delete_remote(&name).await {
        Err(error) if args.if_exists && error.kind() == ErrorKind::Missing => Ok(()),
        result => Ok(result?),
    }
}
