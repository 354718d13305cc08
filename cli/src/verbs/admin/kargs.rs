//! `admin kargs`: shows and changes kernel arguments.

use clap::Subcommand;
use serde_json::json;
use treeferry_sysroot::{Cleanup, State};

use super::machine::{Machine, index, stateroot_option};
use super::{cleanup, told};
use crate::failure::{Failure, Result};
use crate::{json, output};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Change the arguments of all deployments where they stand
    EditInPlace(InPlace),
    /// Print the arguments of a deployment
    Show(Show),
    /// Deploy the default once more with other arguments
    Edit(Edit),
}

#[derive(Debug, clap::Args)]
struct InPlace {
    /// Add an argument unless it is there; can be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    append_if_missing: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// Print the arguments as JSON
    #[arg(long)]
    json: bool,
    /// The deployment (default: 0)
    #[arg(value_name = "INDEX")]
    index: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Edit {
    /// The stateroot (default: the one that runs)
    #[arg(long, value_name = "STATEROOT")]
    os: Option<String>,
    /// Add an argument; can be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    append: Vec<String>,
    /// Add an argument unless it is there; can be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    append_if_missing: Vec<String>,
    /// Change the value of an argument, NAME=NEW or NAME=OLD=NEW; can be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    replace: Vec<String>,
    /// Remove an argument; can be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    delete: Vec<String>,
    /// Remove an argument if it is there; can be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    delete_if_present: Vec<String>,
}

pub(super) async fn run(args: Args, machine: &Machine) -> Result<()> {
    match args.verb {
        None => Err(Failure::usage("No \"kargs\" subcommand specified")),
        Some(Verb::EditInPlace(args)) => edit_in_place(args, machine).await,
        Some(Verb::Show(args)) => show(args, machine).await,
        Some(Verb::Edit(args)) => edit(args, machine).await,
    }
}

async fn edit_in_place(args: InPlace, machine: &Machine) -> Result<()> {
    let (_lock, state) = machine.locked().await?;
    let ids: Vec<_> = state.deployments.iter().map(|d| d.id.clone()).collect();
    for id in ids {
        // Each write may exchange the menu.
        let state: State = machine.sysroot.load().await?;
        let Some(deployment) = state.find(&id) else {
            continue;
        };
        let mut kargs = deployment.entry.args();
        args.append_if_missing
            .iter()
            .for_each(|arg| kargs.append_if_missing(arg));
        machine
            .sysroot
            .set_args_in_place(&state, &id, &kargs)
            .await?;
    }
    cleanup::clean(machine, Cleanup::Deployments).await
}

async fn show(args: Show, machine: &Machine) -> Result<()> {
    let state = machine.sysroot.load().await?;
    let deployment = state.at(index(args.index.as_deref().unwrap_or("0"))?)?;
    let kargs = deployment.entry.args();
    match args.json {
        true => json::line(&json!({
            "deployment": deployment.id.to_string(),
            "args": kargs.to_words(),
        })),
        false => Ok(output::line(kargs)?),
    }
}

async fn edit(args: Edit, machine: &Machine) -> Result<()> {
    let (_lock, state) = machine.locked().await?;
    let stateroot = state.stateroot(stateroot_option(args.os.as_deref())?.as_ref())?;
    let base = state.merge_source(&stateroot);
    let base = base.ok_or_else(|| Failure::new(format!("No deployment for OS '{stateroot}'")))?;
    let mut kargs = base.entry.args();
    for arg in &args.delete {
        kargs.delete(arg)?;
    }
    for arg in &args.delete_if_present {
        kargs.delete_if_present(arg)?;
    }
    for arg in &args.replace {
        kargs.replace_existing(arg)?;
    }
    args.append.iter().for_each(|arg| kargs.append(arg));
    args.append_if_missing
        .iter()
        .for_each(|arg| kargs.append_if_missing(arg));
    let written = machine
        .sysroot
        .redeploy_with_args(&state, base, kargs)
        .await?;
    told::written(written.as_ref())?;
    cleanup::clean(machine, Cleanup::AndRepo).await
}
