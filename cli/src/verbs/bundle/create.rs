//! `bundle create`: makes a bundle of a commit.

use std::path::PathBuf;

use treeferry_core::format::Branch;
use treeferry_core::format::delta::DeltaName;
use treeferry_core::ops::delta::{BundleInfo, Destination, make};

use crate::failure::{Failure, Result};
use crate::output;
use crate::session::{Session, resolve};
use crate::verbs::static_delta::{Making, inside, print_report};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What is there already where it is applied: only what has changed since goes in
    #[arg(long, value_name = "REV")]
    from: Option<String>,
    /// What it is for, for people: such as a kind of device
    #[arg(long, value_name = "TEXT")]
    target: Option<String>,
    /// A further ref that is set; can be repeated
    #[arg(long = "ref", value_name = "NAME")]
    refs: Vec<String>,
    #[command(flatten)]
    making: Making,
    /// The file to write
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// The ref, or commit
    #[arg(value_name = "REV")]
    rev: Option<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let rev = args
        .rev
        .ok_or_else(|| Failure::usage("REV must be specified"))?;
    let path = args
        .output
        .ok_or_else(|| Failure::usage("--output=PATH must be specified"))?;
    if args.making.min_fallback_size.is_some_and(|size| size > 0) {
        let message = "a bundle has all files in it: --min-fallback-size is of no use";
        return Err(Failure::new(message));
    }
    let opened = session.open_place().await?;
    let repo = &opened.repo;
    let to = resolve(repo, &rev).await?;
    let from = match &args.from {
        Some(rev) => Some(resolve(repo, rev).await?),
        None => None,
    };
    let mut refs = Vec::new();
    // A ref keeps its name; a commit has none.
    let branch = rev.rsplit_once(':').map_or(&*rev, |(_, branch)| branch);
    let local = treeferry_core::store::RefName::Local;
    if let Ok(branch) = Branch::new(branch)
        && (rev.contains(':') || repo.follow_ref(&local(branch.clone())).await? == Some(to))
    {
        refs.push(branch);
    }
    for name in &args.refs {
        refs.push(Branch::new(name)?);
    }
    let info = BundleInfo {
        refs,
        collection_id: repo.collection_id().await?,
        target: args.target,
    };
    let mut options = args.making.options()?;
    options.generate.fallback_bytes_min = None;
    options.to = Destination::File(path.clone());
    options.parts = inside(&opened);
    options.metadata = info.to_metadata();
    let report = make(repo, &DeltaName::new(from, to), &options).await?;
    if options.signers.is_empty() && !session.quiet {
        output::line("It is not signed: 'bundle apply' takes it only with --no-verify")?;
    }
    print_report(session, &report)
}
