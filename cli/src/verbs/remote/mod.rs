//! `remote`: the remotes of a repository.

mod add;
mod cookies;
mod delete;
mod gpg_import;
mod gpg_list_keys;
mod list;
mod refs;
mod show_url;
mod summary;

use std::ffi::OsString;

use clap::Subcommand;
use treeferry_core::format::RemoteName;

use crate::failure::{Failure, Result};
use crate::session::Session;

pub(crate) use add::verification_key;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Name a place to pull from
    Add(add::Args),
    /// Forget a remote
    Delete(delete::Args),
    /// Trust keys of OpenPGP for a remote
    GpgImport(gpg_import::Args),
    /// Print the keys of OpenPGP that a remote is trusted by
    GpgListKeys(gpg_list_keys::Args),
    /// Print where a remote is
    ShowUrl(show_url::Args),
    /// Print the names of the remotes
    List(list::Args),
    /// Send a cookie to a remote
    AddCookie(cookies::AddArgs),
    /// No longer send a cookie to a remote
    DeleteCookie(cookies::DeleteArgs),
    /// Print the cookies that are sent to a remote
    ListCookies(cookies::ListArgs),
    /// Fetch and print the names of a remote's refs
    Refs(refs::Args),
    /// Fetch and print the summary of a remote
    Summary(summary::Args),
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

pub(crate) fn run(args: Args, session: &Session) -> Result<()> {
    let Some(verb) = args.verb else {
        return Err(Failure::usage("No \"remote\" subcommand specified"));
    };
    match verb {
        Verb::Add(args) => session.wait(add::run(args, session)),
        Verb::Delete(args) => session.wait(delete::run(args, session)),
        Verb::GpgImport(args) => session.wait(gpg_import::run(args, session)),
        Verb::GpgListKeys(args) => session.wait(gpg_list_keys::run(args, session)),
        Verb::ShowUrl(args) => session.wait(show_url::run(args, session)),
        Verb::List(args) => session.wait(list::run(args, session)),
        Verb::AddCookie(args) => session.wait(cookies::add(args, session)),
        Verb::DeleteCookie(args) => session.wait(cookies::delete(args, session)),
        Verb::ListCookies(args) => session.wait(cookies::list(args, session)),
        Verb::Refs(args) => session.wait(refs::run(args, session)),
        Verb::Summary(args) => session.wait(summary::run(args, session)),
        Verb::Other(words) => {
            let word = words.first().map(|word| word.to_string_lossy());
            let word = word.unwrap_or_default();
            Err(Failure::usage(format!(
                "Unknown \"remote\" subcommand '{word}'"
            )))
        }
    }
}

/// Reads the name of a remote as given on the command line.
pub(crate) fn name_of(name: Option<&str>) -> Result<RemoteName> {
    let name = name.ok_or_else(|| Failure::usage("NAME must be specified"))?;
    RemoteName::new(name).map_err(|_| Failure::new(format!("Invalid remote name {name}")))
}

/// Returns the session whose repository is the one of a system's root, if one was named.
fn in_sysroot(session: &Session, sysroot: Option<std::path::PathBuf>) -> Session {
    let mut session = session.clone();
    if let Some(root) = sysroot {
        session.repo = Some(root.join("ostree/repo"));
    }
    session
}
