//! `rev-parse`: from what users write to the checksum of a commit.

use std::io::Write;

use futures::TryStreamExt;
use serde_json::json;
use treeferry_core::format::{Checksum, ObjectType};
use treeferry_core::repo::Repo;

use crate::failure::{Failure, Result};
use crate::session::{Session, resolve};
use crate::{json, output};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print the repository's only commit; fail if there are none or several
    #[arg(short = 'S', long)]
    single: bool,
    /// Print JSON: each name with its commit
    #[arg(long)]
    json: bool,
    /// A ref, a checksum or its beginning, each with any number of ^ for the parent
    #[arg(value_name = "REV")]
    revs: Vec<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let repo = session.open().await?;
    if args.single {
        if !args.revs.is_empty() {
            return Err(Failure::usage("Cannot specify arguments with --single"));
        }
        let commit = single(&repo).await?;
        return match args.json {
            true => json::line(&json!({ "rev": null, "commit": commit.to_string() })),
            false => Ok(output::line(commit)?),
        };
    }
    if args.revs.is_empty() {
        return Err(Failure::usage("REV must be specified"));
    }
    let mut out = output::stdout();
    for rev in &args.revs {
        let commit = resolve(&repo, rev).await?;
        match args.json {
            true => json::write(
                &mut out,
                &json!({ "rev": rev, "commit": commit.to_string() }),
            )?,
            false => writeln!(out, "{commit}")?,
        }
    }
    Ok(out.flush()?)
}

async fn single(repo: &Repo) -> Result<Checksum> {
    let mut commits = repo.objects().list(ObjectType::Commit);
    let Some(first) = commits.try_next().await? else {
        return Err(Failure::new("No commit objects found"));
    };
    while let Some(other) = commits.try_next().await? {
        if other.name != first.name {
            return Err(Failure::new("Multiple commit objects found"));
        }
    }
    Ok(first.name.checksum)
}
