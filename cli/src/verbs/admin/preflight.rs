//! `admin preflight`: how much room a deployment needs.

use treeferry_core::repo::Certainty;
use treeferry_sysroot::{Need, Room};

use super::machine::{Machine, stateroot_option};
use crate::failure::{Failure, Result};
use crate::output;
use crate::session::resolve;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The stateroot (default: the one that runs)
    #[arg(long, value_name = "STATEROOT")]
    os: Option<String>,
    /// The ref or commit to be deployed
    #[arg(value_name = "REFSPEC")]
    refspec: Option<String>,
}

pub(super) async fn run(args: Args, machine: &Machine) -> Result<()> {
    let refspec = args
        .refspec
        .ok_or_else(|| Failure::usage("REFSPEC must be specified"))?;
    let state = machine.sysroot.load().await?;
    let stateroot = state.stateroot(stateroot_option(args.os.as_deref())?.as_ref())?;
    let commit = resolve(machine.sysroot.repo(), &refspec).await?;
    let room = machine
        .sysroot
        .preflight(&state, &stateroot, &commit)
        .await?;
    for (place, need) in [
        ("repository", room.repo),
        ("deployment", room.deployment),
        ("/boot", room.boot),
    ] {
        output::line(format!("{place:<11} {}", text(need)))?;
    }
    Ok(room.check()?)
}

fn text(need: Option<Need>) -> String {
    let Some(need) = need else {
        return "not known: the commit does not say, or its tree is not here".to_owned();
    };
    let exact = match need.certainty {
        Certainty::Exact => "exactly",
        Certainty::Estimated => "about",
    };
    let room = match need.room() {
        Room::Enough => "",
        Room::AfterRemoval => ", once what goes anyway is gone",
        Room::TooLittle => ": too little",
    };
    format!(
        "{exact} {} bytes needed, {} available{room}",
        need.needed_bytes, need.available_bytes
    )
}
