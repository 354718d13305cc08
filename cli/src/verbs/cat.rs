//! `cat`: the contents of files in a commit.

use std::io::Write;

use futures::TryStreamExt;
use treeferry_core::ops::list::cat;
use treeferry_core::repo::TreeEntry;

use super::ls::find;
use crate::failure::{Failure, Result};
use crate::output;
use crate::session::{Name, Session, resolve};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The commit
    #[arg(value_name = "COMMIT")]
    commit: Option<String>,
    /// Paths in it
    #[arg(value_name = "PATH...")]
    paths: Vec<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let repo = session.open().await?;
    let (Some(rev), false) = (&args.commit, args.paths.is_empty()) else {
        let message = "A COMMIT and at least one PATH argument are required";
        return Err(Failure::usage(message));
    };
    let commit = resolve(&repo, rev).await?;
    let root = repo.tree_of(&commit).await?;
    let mut out = output::stdout();
    for path in &args.paths {
        if let TreeEntry::Dir(_) = find(&repo, root, path).await? {
            return Err(Failure::new("Can't open directory"));
        }
        let mut bytes = cat(&repo, root, path).await.map_err(|error| {
            let is_dir =
                session.name == Name::Ostree && error.to_string().ends_with("is a directory");
            match is_dir {
                true => Failure::new("Can't open directory"),
                false => error.into(),
            }
        })?;
        while let Some(bytes) = bytes.try_next().await? {
            out.write_all(&bytes)?;
        }
    }
    Ok(out.flush()?)
}
