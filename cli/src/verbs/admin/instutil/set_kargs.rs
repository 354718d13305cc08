//! `admin instutil set-kargs`.

use treeferry_sysroot::{Cleanup, KernelArgs};

use crate::failure::{Failure, Result};
use crate::verbs::admin::deploy::proc_cmdline;
use crate::verbs::admin::machine::Machine;
use crate::verbs::admin::{cleanup, told};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Begin with the arguments of the running kernel
    #[arg(long)]
    import_proc_cmdline: bool,
    /// Begin with the arguments that are set
    #[arg(long)]
    merge: bool,
    /// Set an argument, in place of all with that name; can be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    replace: Vec<String>,
    /// Add an argument; can be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    append: Vec<String>,
    /// Arguments to add
    #[arg(value_name = "[ARG...]")]
    args: Vec<String>,
}

pub(super) async fn run(args: Args, machine: &Machine) -> Result<()> {
    let (_lock, state) = machine.locked().await?;
    let first = state.deployments.first();
    let first = first.ok_or_else(|| Failure::new("Unable to find a deployment in sysroot"))?;
    let mut kargs = match (args.import_proc_cmdline, args.merge) {
        (true, _) => proc_cmdline()?,
        (_, true) => first.entry.args(),
        _ => KernelArgs::new(),
    };
    args.replace.iter().for_each(|arg| kargs.replace(arg));
    args.append.iter().for_each(|arg| kargs.append(arg));
    args.args.iter().for_each(|arg| kargs.append(arg));
    let written = machine
        .sysroot
        .set_args_in_place(&state, &first.id, &kargs)
        .await?;
    told::written(written.as_ref())?;
    cleanup::clean(machine, Cleanup::Deployments).await
}
