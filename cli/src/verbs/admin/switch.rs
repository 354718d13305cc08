//! `admin switch`.

use treeferry_core::ops::pull::AgeCheck;
use treeferry_core::store::{ExpectedRef, RefName, RefUpdate};
use treeferry_sysroot::{Downgrade, Found, Origin, Unconfigured, Upgrade};

use super::machine::{Machine, stateroot_option};
use super::upgrade::{After, bring, deploy};
use crate::failure::{Failure, Result};
use crate::output;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Reboot afterwards
    #[arg(short, long)]
    reboot: bool,
    /// The stateroot (default: the one that runs)
    #[arg(long, value_name = "STATEROOT")]
    os: Option<String>,
    /// The ref; REMOTE: keeps the branch
    #[arg(value_name = "REFSPEC")]
    refspec: Option<String>,
}

pub(super) async fn run(args: Args, machine: &Machine) -> Result<()> {
    let new = args
        .refspec
        .ok_or_else(|| Failure::usage("REFSPEC must be specified"))?;
    let (_lock, state) = machine.locked().await?;
    let asked = stateroot_option(args.os.as_deref())?;
    let mut upgrade = Upgrade::new(&state, asked.as_ref(), Unconfigured::Ignore)?;
    let old = upgrade.origin().require_refspec()?;
    let (remote, branch) = match new.split_once(':') {
        Some((remote, "")) => (Some(remote.to_owned()), old.branch.to_string()),
        Some((remote, branch)) => (Some(remote.to_owned()), branch.to_owned()),
        None => (old.remote.as_ref().map(ToString::to_string), new.clone()),
    };
    let refspec = match remote {
        Some(remote) => format!("{remote}:{branch}"),
        None => branch,
    };
    if refspec == old.to_string() {
        return Err(Failure::new(format!(
            "Old and new refs are equal: {refspec}"
        )));
    }
    upgrade.set_origin(Origin::from_refspec(&refspec)?)?;
    // Another branch may well be older.
    let found = bring(machine, &mut upgrade, AgeCheck::Any, Downgrade::Allow, true).await?;
    let commit = match found {
        Found::New(commit) => commit,
        _ => upgrade.deployed().id.checksum,
    };
    let after = if args.reboot {
        After::Reboot
    } else {
        After::Nothing
    };
    deploy(machine, &state, &upgrade, commit, false, after).await?;
    let text = match &old.remote {
        Some(remote) => format!("{remote}:{}", old.branch),
        None => format!("(null):{}", old.branch),
    };
    output::line(format!("Deleting ref '{text}'"))?;
    let update = RefUpdate {
        name: RefName::from(old),
        expected: ExpectedRef::Any,
        new: None,
    };
    machine.sysroot.repo().refs().update_refs(&[update]).await?;
    Ok(())
}
