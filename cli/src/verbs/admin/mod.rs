//! `admin`: the deployments of a machine.

mod boot_complete;
mod cleanup;
mod config_diff;
mod deploy;
mod etc_merge;
mod finalize_staged;
mod init_fs;
mod instutil;
mod kargs;
mod lock_finalization;
mod machine;
mod overlay;
mod pin;
mod post_copy;
mod preflight;
mod prepare_soft_reboot;
mod pulling;
mod rollback;
mod set_default;
mod set_origin;
mod signatures;
mod state_overlay;
mod stateroot_init;
mod status;
mod switch;
mod told;
mod undeploy;
mod unlock;
mod upgrade;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Subcommand;

use self::machine::Machine;
use crate::failure::{Failure, Result};
use crate::session::Session;
use crate::{output, own_mounts};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The root of the system (default: $OSTREE_SYSROOT, else /)
    #[arg(long, global = true, display_order = 800, value_name = "PATH")]
    sysroot: Option<PathBuf>,
    /// Print the directory of the deployment that runs, or else of the default one
    #[arg(long)]
    print_current_dir: bool,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Confirm that the machine came up, and continue or report what was cut off
    #[command(hide = true)]
    BootComplete,
    /// Remove what no deployment needs
    Cleanup,
    /// Show what was changed in /etc
    ConfigDiff(config_diff::Args),
    /// Make a commit the system that boots next
    Deploy(Box<deploy::Args>),
    /// Show what an upgrade would do to /etc, or did
    EtcMerge(etc_merge::Args),
    /// Put the staged deployment into the boot menu; run when the machine goes down
    #[command(hide = true)]
    FinalizeStaged(finalize_staged::Args),
    /// Make a directory the root of a system with deployments
    InitFs(init_fs::Args),
    /// What installers need
    #[command(hide = true)]
    Instutil(instutil::Args),
    /// Change kernel arguments
    #[command(hide = true)]
    Kargs(kargs::Args),
    /// Hold the staged deployment back, or let it go
    LockFinalization(lock_finalization::Args),
    /// Lay directories or archives over a commit, record the result and deploy it
    Overlay(overlay::Args),
    /// Keep deployments whatever is deployed later
    Pin(pin::Args),
    /// Set what a copy of files loses
    PostCopy,
    /// Show how much room a deployment needs
    Preflight(preflight::Args),
    /// Name the deployment that the next soft reboot goes to
    PrepareSoftReboot(prepare_soft_reboot::Args),
    /// Make the deployment before the default the default again
    Rollback,
    /// Make another deployment the default
    SetDefault(set_default::Args),
    /// Change where a deployment is upgraded from
    SetOrigin(set_origin::Args),
    /// Mount a writable layer over a directory
    #[command(hide = true)]
    StateOverlay(state_overlay::Args),
    /// Make a stateroot: a place for deployments that share /var
    #[command(alias = "os-init")]
    StaterootInit(stateroot_init::Args),
    /// Show the deployments
    Status(status::Args),
    /// Upgrade to another ref
    Switch(switch::Args),
    /// Remove a deployment
    Undeploy(undeploy::Args),
    /// Make /usr of the running system changeable
    Unlock(unlock::Args),
    /// Upgrade to the newest commit
    Upgrade(upgrade::Args),
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

impl Verb {
    /// Returns whether it needs `/sysroot` and `/boot` writable.
    fn writes(&self) -> bool {
        !matches!(
            self,
            Self::ConfigDiff(_)
                | Self::InitFs(_)
                | Self::Other(_)
                | Self::Preflight(_)
                | Self::Status(_)
        )
    }
}

pub(crate) fn run(args: Args, session: &Session) -> Result<()> {
    let Some(verb) = args.verb else {
        if args.print_current_dir {
            return session.wait(print_current_dir(args.sysroot, session));
        }
        return Err(Failure::usage("No \"admin\" subcommand specified"));
    };
    if verb.writes() {
        own_mounts::make_sysroot_writable(&machine::path_or_default(args.sysroot.clone()))?;
    }
    session.wait(dispatch(verb, args.sysroot, session))
}

async fn dispatch(verb: Verb, sysroot: Option<PathBuf>, session: &Session) -> Result<()> {
    match verb {
        // The system need not be one yet.
        Verb::InitFs(args) => return init_fs::run(args).await,
        Verb::Other(words) => {
            let word = words.first().map(|word| word.to_string_lossy());
            let word = word.unwrap_or_default();
            let message = format!("Unknown \"admin\" subcommand '{word}'");
            return Err(Failure::usage(message));
        }
        _ => {}
    }
    let machine = Machine::open(session, sysroot).await?;
    match verb {
        Verb::InitFs(_) | Verb::Other(_) => Ok(()),
        Verb::BootComplete => boot_complete::run(&machine).await,
        Verb::Cleanup => cleanup::run(&machine).await,
        Verb::ConfigDiff(args) => config_diff::run(args, &machine).await,
        Verb::Deploy(args) => deploy::run(*args, &machine).await,
        Verb::EtcMerge(args) => etc_merge::run(args, &machine).await,
        Verb::FinalizeStaged(args) => finalize_staged::run(args, &machine).await,
        Verb::Instutil(args) => instutil::run(args, &machine).await,
        Verb::Kargs(args) => kargs::run(args, &machine).await,
        Verb::LockFinalization(args) => lock_finalization::run(args, &machine).await,
        Verb::Overlay(args) => overlay::run(args, &machine).await,
        Verb::Pin(args) => pin::run(args, &machine).await,
        Verb::PostCopy => post_copy::run(&machine).await,
        Verb::Preflight(args) => preflight::run(args, &machine).await,
        Verb::PrepareSoftReboot(args) => prepare_soft_reboot::run(args, &machine).await,
        Verb::Rollback => rollback::run(&machine).await,
        Verb::SetDefault(args) => set_default::run(args, &machine).await,
        Verb::SetOrigin(args) => set_origin::run(args, &machine).await,
        Verb::StateOverlay(args) => state_overlay::run(args, &machine).await,
        Verb::StaterootInit(args) => stateroot_init::run(args, &machine).await,
        Verb::Status(args) => status::run(args, &machine).await,
        Verb::Switch(args) => switch::run(args, &machine).await,
        Verb::Undeploy(args) => undeploy::run(args, &machine).await,
        Verb::Unlock(args) => unlock::run(args, &machine).await,
        Verb::Upgrade(args) => upgrade::run(args, &machine).await,
    }
}

async fn print_current_dir(sysroot: Option<PathBuf>, session: &Session) -> Result<()> {
    let machine = Machine::open(session, sysroot).await?;
    let state = machine.sysroot.load().await?;
    let current = state.booted().or(state.deployments.first());
    let current = current.ok_or_else(|| Failure::new("Unable to find a deployment in sysroot"))?;
    let path = machine.sysroot.layout().deployment(&current.id);
    let path = std::path::absolute(&path).unwrap_or(path);
    Ok(output::line(path.display())?)
}
