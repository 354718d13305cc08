//! From the command line to a verb, and from its outcome to an exit code.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ArgMatches, Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::failure::{Failure, Result};
use crate::session::{Name, Session};
use crate::{arenas, output, own_mounts, usage, verbs};

/// Record, move and write out whole filesystem trees, in the formats of OSTree
#[derive(Debug, Parser)]
pub(crate) struct App {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Args)]
struct Global {
    /// The repository: a path, sqlite:FILE, usb:PATH or s3://BUCKET/PREFIX (default: the current directory if it is one, else $OSTREE_REPO, else the system's)
    #[arg(long, global = true, display_order = 900, value_name = "WHERE")]
    repo: Option<PathBuf>,
    /// Log what is done to standard error
    #[arg(short, long, global = true, display_order = 900)]
    verbose: bool,
    /// Print only errors and what was asked for, no progress
    #[arg(long, global = true, display_order = 900)]
    quiet: bool,
    /// Show the version and the features, and do nothing else
    #[arg(long, global = true, display_order = 900)]
    version: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Manage the deployments of a machine
    Admin(Box<verbs::admin::Args>),
    /// Make, show and apply bundles: one file that is a whole update
    Bundle(verbs::bundle::Args),
    /// Print files of a commit, one after another
    Cat(verbs::cat::Args),
    /// Write the tree of a commit out to a directory
    Checkout(Box<verbs::checkout::Args>),
    /// Compute the name that a file or directory has as an object
    Checksum(verbs::checksum::Args),
    /// Record a directory as a new commit
    Commit(Box<verbs::commit::Args>),
    /// Print what a shell completes
    Completions(verbs::completions::CompletionsArgs),
    /// Read and set keys of the repository's configuration
    Config(verbs::config::Args),
    /// Bring refs from any place to any other
    Copy(verbs::copy::Args),
    /// Write refs to a USB stick
    CreateUsb(verbs::create_usb::Args),
    /// Show the main job on a directory of this machine
    Demo(verbs::demo::Args),
    /// Show which paths differ between two trees
    Diff(verbs::diff::Args),
    /// Show what each ref costs, and what a prune would free
    Du(verbs::du::Args),
    /// Write the tree of a commit as a tar archive
    Export(verbs::export::Args),
    /// Find remotes and sticks that have refs of a collection
    FindRemotes(verbs::find_remotes::Args),
    /// Read every object again and report damage
    Fsck(verbs::fsck::Args),
    /// Sign a commit with a key of GnuPG, or take such signatures away
    GpgSign(verbs::gpg_sign::Args),
    /// Make an empty repository
    Init(verbs::init::Args),
    /// Show who is writing to a bucket or a stick, and break what was left behind
    Leases(verbs::leases::Args),
    /// Show a commit and its ancestors, newest first
    Log(verbs::log::Args),
    /// Show the files of a commit with mode, owner and size
    Ls(verbs::ls::Args),
    /// Write the manual pages
    Man(verbs::completions::ManArgs),
    /// Delete objects that no ref needs
    Prune(verbs::prune::Args),
    /// Bring commits from a remote
    Pull(Box<verbs::pull::Args>),
    /// Bring commits from another repository on this machine
    PullLocal(verbs::pull_local::Args),
    /// Bring refs of this repository to another place
    Push(verbs::push::Args),
    /// Show, create and delete refs
    Refs(verbs::refs::Args),
    /// Name the places to pull from, and look at them
    Remote(verbs::remote::Args),
    /// Move a ref to another commit
    Reset(verbs::reset::Args),
    /// Print the commit that a name stands for
    RevParse(verbs::rev_parse::Args),
    /// Serve a repository over HTTP
    Serve(verbs::serve::Args),
    /// Show a commit, or another object
    Show(verbs::show::Args),
    /// Sign a commit, or verify its signatures
    Sign(verbs::sign::Args),
    /// Make, show and apply deltas: what turns one commit into another
    StaticDelta(verbs::static_delta::Args),
    /// Write and show the list of refs that clients fetch
    Summary(verbs::summary::Args),
    /// Simple webserver, for tests
    #[command(hide = true)]
    TrivialHttpd(Box<verbs::trivial_httpd::Args>),
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

/// Does what the command line says.
pub(crate) fn main(args: Vec<OsString>) -> ExitCode {
    let name = Name::of(args.first());
    let command = usage::with_manners(App::command(), name);
    let mut args = usage::options_after_verb(args);
    if name == Name::Ostree {
        args = usage::without_values_of_flags(&command, args);
    }
    let matches = match command.clone().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            return finish(print_help(&error), String::new);
        }
        Err(error) => {
            return finish(Err(usage::failure(&error, name)), || {
                usage::help_of(command, &[])
            });
        }
    };
    let path = verb_path(&matches);
    let outcome = App::from_arg_matches(&matches)
        .map_err(|e| usage::failure(&e, name))
        .and_then(|app| dispatch(app, name));
    let outcome = outcome.map_err(|failure| failure.in_words_of(name));
    finish(outcome, || usage::help_of(command, &path))
}

fn print_help(help: &clap::Error) -> Result<()> {
    help.print().map_err(Failure::from)
}

/// Returns the verbs that the command line goes through, such as `remote`, `add`.
fn verb_path(matches: &ArgMatches) -> Vec<String> {
    let mut path = Vec::new();
    let mut here = matches.subcommand();
    while let Some((verb, matches)) = here {
        path.push(verb.to_owned());
        here = matches.subcommand();
    }
    path
}

fn finish(outcome: Result<()>, help: impl FnOnce() -> String) -> ExitCode {
    let failure = match outcome {
        Ok(()) => return ExitCode::SUCCESS,
        Err(failure) => failure,
    };
    let mut err = std::io::stderr().lock();
    // When standard error is closed too, nobody is left to tell.
    let _ = match &failure {
        Failure::Closed => Ok(()),
        Failure::Usage(_) => writeln!(err, "{}\nerror: {failure}", help()),
        _ => writeln!(err, "error: {failure}"),
    };
    ExitCode::FAILURE
}

impl Verb {
    /// Returns whether it may change the repository. `admin` knows for itself.
    fn may_write(&self) -> bool {
        !matches!(
            self,
            Self::Admin(_)
                | Self::Cat(_)
                | Self::Checksum(_)
                | Self::Completions(_)
                | Self::Diff(_)
                | Self::Du(_)
                | Self::Export(_)
                | Self::Init(_)
                | Self::Log(_)
                | Self::Ls(_)
                | Self::Man(_)
                | Self::RevParse(_)
                | Self::TrivialHttpd(_)
                | Self::Serve(_)
                | Self::Show(_)
                | Self::Other(_)
        )
    }
}

fn dispatch(app: App, name: Name) -> Result<()> {
    if app.global.version {
        return Ok(output::line(verbs::version::text(name))?);
    }
    if matches!(app.verb, Some(Verb::Bundle(_) | Verb::StaticDelta(_))) {
        arenas::share_one();
    }
    if app.global.verbose {
        log_to_stderr();
    }
    let session = Session {
        name,
        repo: app.global.repo,
        quiet: app.global.quiet,
    };
    let Some(verb) = app.verb else {
        return Err(Failure::usage("No command specified"));
    };
    if let (true, Ok(repo)) = (verb.may_write(), session.repo_path()) {
        own_mounts::make_repo_writable(&repo)?;
    }
    match verb {
        Verb::Admin(args) => verbs::admin::run(*args, &session),
        Verb::Bundle(args) => verbs::bundle::run(args, &session),
        Verb::Cat(args) => session.wait(verbs::cat::run(args, &session)),
        Verb::Checkout(args) => session.wait(verbs::checkout::run(*args, &session)),
        Verb::Checksum(args) => verbs::checksum::run(&args),
        Verb::Commit(args) => session.wait(verbs::commit::run(*args, &session)),
        Verb::Completions(args) => verbs::completions::completions(&args, full_command()),
        Verb::Config(args) => session.wait(verbs::config::run(args, &session)),
        Verb::Copy(args) => session.wait(verbs::copy::run(args, &session)),
        Verb::CreateUsb(args) => session.wait(verbs::create_usb::run(args, &session)),
        Verb::Demo(args) => session.wait(verbs::demo::run(args, &session)),
        Verb::Diff(args) => session.wait(verbs::diff::run(args, &session)),
        Verb::Du(args) => session.wait(verbs::du::run(args, &session)),
        Verb::Export(args) => session.wait(verbs::export::run(args, &session)),
        Verb::FindRemotes(args) => session.wait(verbs::find_remotes::run(args, &session)),
        Verb::Fsck(args) => session.wait(verbs::fsck::run(args, &session)),
        Verb::GpgSign(args) => session.wait(verbs::gpg_sign::run(args, &session)),
        Verb::Init(args) => session.wait(verbs::init::run(args, &session)),
        Verb::Leases(args) => session.wait(verbs::leases::run(args, &session)),
        Verb::Log(args) => session.wait(verbs::log::run(args, &session)),
        Verb::Ls(args) => session.wait(verbs::ls::run(args, &session)),
        Verb::Man(args) => verbs::completions::man(&args, full_command()),
        Verb::Prune(args) => session.wait(verbs::prune::run(args, &session)),
        Verb::Pull(args) => session.wait(verbs::pull::run(*args, &session)),
        Verb::PullLocal(args) => session.wait(verbs::pull_local::run(args, &session)),
        Verb::Push(args) => session.wait(verbs::push::run(args, &session)),
        Verb::Refs(args) => session.wait(verbs::refs::run(args, &session)),
        Verb::Remote(args) => verbs::remote::run(args, &session),
        Verb::Reset(args) => session.wait(verbs::reset::run(args, &session)),
        Verb::RevParse(args) => session.wait(verbs::rev_parse::run(args, &session)),
        Verb::Serve(args) => session.wait(verbs::serve::run(args, &session)),
        Verb::Show(args) => session.wait(verbs::show::run(args, &session)),
        Verb::Sign(args) => session.wait(verbs::sign::run(args, &session)),
        Verb::StaticDelta(args) => verbs::static_delta::run(args, &session),
        Verb::Summary(args) => session.wait(verbs::summary::run(args, &session)),
        Verb::TrivialHttpd(args) => verbs::trivial_httpd::run(*args, &session),
        Verb::Other(args) => verbs::extension::run(&args, &session, &usage::verbs(&App::command())),
    }
}

/// Returns the command by its own name, as its help shows it.
fn full_command() -> Command {
    usage::with_manners(App::command(), Name::Treeferry)
}

fn log_to_stderr() {
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_writer(std::io::stderr)
        .without_time();
    // Fails only when there is a subscriber already, and this is the only place to set one.
    let _ = subscriber.try_init();
}
