//! `static-delta`: what turns one commit into another, made ahead of time.

mod apply_offline;
mod delete;
mod generate;
mod indexes;
mod list;
mod reindex;
mod show;
mod verify;

use std::ffi::OsString;

use clap::Subcommand;
use treeferry_core::format::delta::DeltaName;

use crate::failure::{Failure, Result};
use crate::session::Session;

pub(super) use generate::{Making, inside, print_report};
pub(super) use show::json_of;
pub(super) use verify::Trusting;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print the names of the deltas that the repository keeps
    List(list::Args),
    /// Print what a delta consists of
    Show(show::Args),
    /// Delete a delta
    Delete(delete::Args),
    /// Make a delta
    Generate(Box<generate::Args>),
    /// Apply a delta that is a file or a directory
    ApplyOffline(apply_offline::Args),
    /// Verify the signatures of a delta
    Verify(verify::Args),
    /// Print the commits that there is an index of deltas for
    Indexes(indexes::Args),
    /// Write the indexes of deltas anew
    Reindex(reindex::Args),
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

pub(crate) fn run(args: Args, session: &Session) -> Result<()> {
    let Some(verb) = args.verb else {
        return Err(Failure::usage("No command specified"));
    };
    match verb {
        Verb::List(args) => session.wait(list::run(args, session)),
        Verb::Show(args) => session.wait(show::run(args, session)),
        Verb::Delete(args) => session.wait(delete::run(args, session)),
        Verb::Generate(args) => session.wait(generate::run(*args, session)),
        Verb::ApplyOffline(args) => session.wait(apply_offline::run(args, session)),
        Verb::Verify(args) => session.wait(verify::run(args, session)),
        Verb::Indexes(args) => session.wait(indexes::run(args, session)),
        Verb::Reindex(args) => session.wait(reindex::run(args, session)),
        Verb::Other(words) => {
            let word = words.first().map(|word| word.to_string_lossy());
            let word = word.unwrap_or_default();
            Err(Failure::usage(format!(
                "Unknown \"static-delta\" subcommand '{word}'"
            )))
        }
    }
}

/// Reads the name of a delta as given on the command line.
fn name_of(name: Option<&str>) -> Result<DeltaName> {
    let name = name.ok_or_else(|| Failure::usage("DELTA must be specified"))?;
    let invalid = |_| Failure::new(format!("Invalid rev {name}"));
    name.parse().map_err(invalid)
}
