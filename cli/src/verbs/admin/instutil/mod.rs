//! `admin instutil`: what installers and scripts of boot loaders need.

mod grub2_generate;
mod selinux_ensure_labeled;
mod set_kargs;

use clap::Subcommand;

use super::machine::Machine;
use crate::failure::{Failure, Result};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print the part of GRUB's configuration that boots deployments
    #[command(name = "grub2-generate")]
    Grub2Generate(grub2_generate::Args),
    /// Label what has no SELinux label
    SelinuxEnsureLabeled,
    /// Set the kernel arguments of the default deployment
    SetKargs(set_kargs::Args),
}

pub(super) async fn run(args: Args, machine: &Machine) -> Result<()> {
    match args.verb {
        None => Err(Failure::usage("No \"instutil\" subcommand specified")),
        Some(Verb::Grub2Generate(args)) => grub2_generate::run(args, machine).await,
        Some(Verb::SelinuxEnsureLabeled) => selinux_ensure_labeled::run(machine).await,
        Some(Verb::SetKargs(args)) => set_kargs::run(args, machine).await,
    }
}
