//! `admin set-origin`.

use treeferry_core::format::RemoteName;
use treeferry_core::repo::{IfExists, NewRemote};
use treeferry_sysroot::Origin;

use super::machine::Machine;
use crate::failure::{Failure, Result};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Set a key of the remote's configuration; can be repeated
    #[arg(short, long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The deployment, as status counts them (default: the one that runs)
    #[arg(long, value_name = "INDEX")]
    index: Option<usize>,
    /// The name of the remote
    #[arg(value_name = "REMOTENAME")]
    remote: Option<String>,
    /// Where it is
    #[arg(value_name = "URL")]
    url: Option<String>,
    /// The branch (default: the same as before)
    #[arg(value_name = "[BRANCH]")]
    branch: Option<String>,
}

pub(super) async fn run(args: Args, machine: &Machine) -> Result<()> {
    let (Some(remote), Some(url)) = (&args.remote, &args.url) else {
        return Err(Failure::usage("REMOTENAME and URL must be specified"));
    };
    let (_lock, state) = machine.locked().await?;
    let deployment = match args.index {
        Some(index) => state.at(index)?,
        None => state.require_booted()?,
    };
    let setting = |text: &String| {
        let pair = text
            .split_once('=')
            .map(|(k, v)| (k.to_owned(), v.to_owned()));
        pair.ok_or_else(|| Failure::new("Missing '=' in KEY=VALUE for --set"))
    };
    let new = NewRemote {
        name: RemoteName::new(remote)?,
        url: url.clone(),
        branches: Vec::new(),
        settings: args.set.iter().map(setting).collect::<Result<_>>()?,
    };
    let old = deployment
        .origin
        .as_ref()
        .filter(|origin| origin.refspec().is_some());
    let branch = match (&args.branch, old) {
        (Some(branch), _) => branch.clone(),
        (None, Some(origin)) => origin.require_refspec()?.branch.to_string(),
        (None, None) => return Err(Failure::new("No host refspec found, branch is required")),
    };
    machine
        .sysroot
        .repo()
        .add_remote(&new, IfExists::Keep)
        .await?;
    let origin = Origin::from_refspec(&format!("{remote}:{branch}"))?;
    Ok(machine
        .sysroot
        .write_origin(&deployment.id, &origin)
        .await?)
}
