//! `admin deploy`.

use std::path::PathBuf;

use treeferry_core::format::Checksum;
use treeferry_sysroot::order::{Placement, Retain};
use treeferry_sysroot::{Cleanup, Deployment, KernelArgs, Locked, NewDeployment, Origin, State};

use super::etc_merge::StrategyOptions;
use super::machine::{Machine, stateroot_option};
use super::{cleanup, told};
use crate::failure::{Failure, Result, io_failure};
use crate::file_text;
use crate::session::resolve;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The stateroot (default: the one that runs)
    #[arg(long, alias = "stateroot", value_name = "STATEROOT")]
    os: Option<String>,
    /// Take the origin from this key file
    #[arg(long, value_name = "FILENAME")]
    origin_file: Option<PathBuf>,
    /// Do not delete objects that nothing needs any more
    #[arg(long)]
    no_prune: bool,
    /// Start with the /etc that the tree ships
    #[arg(long)]
    no_merge: bool,
    /// Keep all deployments
    #[arg(long)]
    retain: bool,
    /// Change the boot menu only when the machine goes down
    #[arg(long)]
    stage: bool,
    /// Stage, and hold back until admin lock-finalization --unlock
    #[arg(long)]
    lock_finalization: bool,
    /// Keep deployments that were to be booted next
    #[arg(long)]
    retain_pending: bool,
    /// Keep deployments that can be rolled back to
    #[arg(long)]
    retain_rollback: bool,
    /// Leave the default as it is
    #[arg(long)]
    not_as_default: bool,
    /// Begin with the kernel arguments of the running kernel
    #[arg(long)]
    karg_proc_cmdline: bool,
    /// Set a kernel argument, in place of all with that name; can be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    karg: Vec<String>,
    /// Add a kernel argument; can be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    karg_append: Vec<String>,
    /// Begin without kernel arguments
    #[arg(long)]
    karg_none: bool,
    /// Remove a kernel argument; can be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    karg_delete: Vec<String>,
    /// Lay this initramfs over that of the tree; can be repeated
    #[arg(long, value_name = "FILE")]
    overlay_initrd: Vec<PathBuf>,
    #[command(flatten)]
    strategies: StrategyOptions,
    /// The ref or commit
    #[arg(value_name = "REFSPEC")]
    refspec: Option<String>,
}

pub(super) async fn run(args: Args, machine: &Machine) -> Result<()> {
    let refspec = args.refspec.clone();
    let refspec = refspec.ok_or_else(|| Failure::usage("REF/REV must be specified"))?;
    check(&args)?;
    let (_lock, state) = machine.locked().await?;
    let context =
        |e: treeferry_core::Error| Failure::from(e).context("Looking for booted deployment");
    let asked = stateroot_option(args.os.as_deref())?;
    let stateroot = state.stateroot(asked.as_ref()).map_err(context)?;
    let sysroot = &machine.sysroot;
    let commit = resolve(sysroot.repo(), &refspec).await?;
    let origin = match &args.origin_file {
        Some(path) => Origin::parse(file_text::read(path)?)?,
        None => Origin::from_refspec(&refspec)?,
    };
    let merge = state
        .merge_source(&stateroot)
        .filter(|_| !args.no_merge)
        .cloned();
    // What an earlier failure left would be in the way.
    cleanup::clean(machine, Cleanup::Deployments).await?;
    let mut new = NewDeployment::new(stateroot, commit, origin);
    new.kargs = kernel_args(&args, merge.as_ref())?;
    new.merge = merge;
    new.strategies = args.strategies.strategies()?;
    for path in &args.overlay_initrd {
        let name = sysroot.stage_overlay_initrd(path).await?;
        new.overlay_initrds.push(name);
    }
    if args.stage || args.lock_finalization {
        return stage(&args, machine, &state, &new).await;
    }
    check_room(machine, &state, &new, &commit).await?;
    let deployed = sysroot.deploy(&new).await?;
    told::deployed(&deployed, machine)?;
    let placement = match args.not_as_default {
        true => Placement::NotDefault,
        false => Placement::Default,
    };
    let retain = Retain {
        all: args.retain,
        pending: args.retain_pending,
        rollback: args.retain_rollback,
    };
    let merge = new.merge.as_ref().map(|merge| &merge.id);
    let written = sysroot.add_deployment(&state, deployed.deployment, merge, placement, retain);
    told::written(written.await?.as_ref())?;
    let depth = match args.no_prune {
        true => Cleanup::Deployments,
        false => Cleanup::AndRepo,
    };
    cleanup::clean(machine, depth).await
}

fn check(args: &Args) -> Result<()> {
    let wrong = match args {
        Args {
            karg_proc_cmdline: true,
            karg_none: true,
            ..
        } => "Can't specify both --karg-proc-cmdline and --karg-none",
        _ if args.karg_none && !args.karg_delete.is_empty() => {
            "Can't specify both --karg-none and --karg-delete"
        }
        _ if args.no_merge && !args.karg_delete.is_empty() => {
            "Can't specify both --no-merge and --karg-delete"
        }
        _ => return Ok(()),
    };
    Err(Failure::usage(wrong))
}

/// Returns the kernel arguments, if any are asked for; else they come from `merge` unchanged.
fn kernel_args(args: &Args, merge: Option<&Deployment>) -> Result<Option<KernelArgs>> {
    let changes =
        !args.karg.is_empty() || !args.karg_append.is_empty() || !args.karg_delete.is_empty();
    let mut kargs = match (args.karg_none, args.karg_proc_cmdline, merge) {
        (true, ..) => KernelArgs::new(),
        (_, true, _) => proc_cmdline()?,
        (_, _, Some(merge)) if changes => merge.entry.args(),
        _ if changes => KernelArgs::new(),
        _ => return Ok(None),
    };
    args.karg.iter().for_each(|arg| kargs.replace(arg));
    args.karg_append.iter().for_each(|arg| kargs.append(arg));
    for arg in &args.karg_delete {
        kargs.delete_if_present(arg)?;
    }
    Ok(Some(kargs))
}

/// Reads the arguments of the running kernel.
pub(super) fn proc_cmdline() -> Result<KernelArgs> {
    const PATH: &str = "/proc/cmdline";
    let line = std::fs::read_to_string(PATH).map_err(|e| io_failure(PATH, &e))?;
    Ok(KernelArgs::parse_running(&line))
}

async fn stage(args: &Args, machine: &Machine, state: &State, new: &NewDeployment) -> Result<()> {
    if args.retain_pending || args.retain_rollback {
        let message = "--stage cannot currently be combined with --retain arguments";
        return Err(Failure::new(message));
    }
    if args.not_as_default {
        let message = "--stage cannot currently be combined with --not-as-default";
        return Err(Failure::new(message));
    }
    let locked = match args.lock_finalization {
        true => Locked::Yes,
        false => Locked::No,
    };
    machine.sysroot.stage(state, new, locked).await?;
    Ok(())
}

/// Fails before anything is written if there is no room for it.
pub(super) async fn check_room(
    machine: &Machine,
    state: &State,
    new: &NewDeployment,
    commit: &Checksum,
) -> Result<()> {
    let room = machine
        .sysroot
        .preflight(state, &new.stateroot, commit)
        .await?;
    Ok(room.check()?)
}
