//! `admin upgrade`.

use treeferry_core::format::Checksum;
use treeferry_core::ops::pull::AgeCheck;
use treeferry_sysroot::order::{Placement, Retain};
use treeferry_sysroot::{Cleanup, Downgrade, Found, Locked, State, Unconfigured, Upgrade};

use super::machine::{Machine, stateroot_option};
use super::{cleanup, deploy as deploying, pulling, told};
use crate::failure::{Failure, Result};
use crate::output;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The stateroot (default: the one that runs)
    #[arg(long, value_name = "STATEROOT")]
    os: Option<String>,
    /// Reboot if there was an upgrade
    #[arg(short, long)]
    reboot: bool,
    /// Accept a commit that is older
    #[arg(long)]
    allow_downgrade: bool,
    /// Deploy this commit, and stay with it
    #[arg(long, value_name = "CHECKSUM")]
    override_commit: Option<String>,
    /// Pull, and do not deploy
    #[arg(long)]
    pull_only: bool,
    /// Deploy what was pulled before
    #[arg(long)]
    deploy_only: bool,
    /// Change the boot menu only when the machine goes down
    #[arg(long)]
    stage: bool,
}

/// How often a ref that has ended leads to another.
const MOVES_MAX: usize = 8;

/// What is done after an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    Nothing,
    Reboot,
}

pub(super) async fn run(args: Args, machine: &Machine) -> Result<()> {
    if args.pull_only && args.deploy_only {
        let message = "Cannot simultaneously specify --pull-only and --deploy-only";
        return Err(Failure::new(message));
    }
    if args.pull_only && args.reboot {
        let message = "Cannot simultaneously specify --pull-only and --reboot or --kexec";
        return Err(Failure::new(message));
    }
    let (_lock, state) = machine.locked().await?;
    let asked = stateroot_option(args.os.as_deref())?;
    let mut upgrade = Upgrade::new(&state, asked.as_ref(), Unconfigured::Refuse)?;
    let mut origin = upgrade.origin().inherited();
    if let Some(commit) = &args.override_commit {
        let commit: Checksum = commit.parse()?;
        origin.set("override-commit", &commit.to_string())?;
    }
    upgrade.set_origin(origin)?;
    let (age, downgrade) = match args.allow_downgrade {
        true => (AgeCheck::Any, Downgrade::Allow),
        false => {
            let deployed = upgrade.deployed().id.checksum;
            (AgeCheck::NotOlderThan(deployed), Downgrade::Refuse)
        }
    };
    let found = bring(machine, &mut upgrade, age, downgrade, !args.deploy_only).await?;
    let Found::New(commit) = found else {
        return Ok(output::line("No update available.")?);
    };
    if args.pull_only {
        return Ok(());
    }
    let stage = args.stage || std::env::var_os("OSTREE_EX_STAGE_DEPLOYMENTS").is_some();
    let after = if args.reboot {
        After::Reboot
    } else {
        After::Nothing
    };
    deploy(machine, &state, &upgrade, commit, stage, after).await
}

/// Pulls what an upgrade wants, if that is asked for, and looks at what came.
pub(super) async fn bring(
    machine: &Machine,
    upgrade: &mut Upgrade,
    age: AgeCheck,
    downgrade: Downgrade,
    pulls: bool,
) -> Result<Found> {
    for _ in 0..MOVES_MAX {
        if let (true, Some((remote, wanted))) = (pulls, upgrade.wanted()?) {
            pulling::pull_from(machine, &remote, wanted, age)
                .await
                .map_err(in_words)?;
        }
        match upgrade.find(&machine.sysroot, downgrade).await? {
            Found::Moved => {}
            found => return Ok(found),
        }
    }
    let message = format!("more than {MOVES_MAX} refs have ended and name another");
    Err(Failure::new(message))
}

/// Says of a commit that is too old what scripts look for.
fn in_words(failure: Failure) -> Failure {
    let text = failure.to_string();
    match text.contains("older") && !text.contains("chronologically older") {
        true => failure
            .context("Upgrade target revision is chronologically older than current revision"),
        false => failure,
    }
}

/// Deploys what came.
pub(super) async fn deploy(
    machine: &Machine,
    state: &State,
    upgrade: &Upgrade,
    commit: Checksum,
    stage: bool,
    after: After,
) -> Result<()> {
    let sysroot = &machine.sysroot;
    let new = upgrade.deployment(commit);
    deploying::check_room(machine, state, &new, &commit).await?;
    if stage {
        sysroot.stage(state, &new, Locked::No).await?;
    } else {
        let deployed = sysroot.deploy(&new).await?;
        told::deployed(&deployed, machine)?;
        let merge = new.merge.as_ref().map(|merge| &merge.id);
        let (placement, retain) = (Placement::Default, Retain::default());
        let written = sysroot.add_deployment(state, deployed.deployment, merge, placement, retain);
        told::written(written.await?.as_ref())?;
        cleanup::clean(machine, Cleanup::AndRepo).await?;
    }
    // An image that is being made is not rebooted.
    if after == After::Reboot && state.booted.is_some() {
        sysroot.options().host.power.reboot()?;
    }
    Ok(())
}
