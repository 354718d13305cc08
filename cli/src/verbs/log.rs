//! `log`: a commit and those before it.

use std::io::Write;

use treeferry_core::ErrorKind;
use treeferry_core::format::ObjectName;
use treeferry_core::repo::load_metadata;

use super::commit_text::{Form, commit_of, write_commit};
use crate::failure::{Failure, Result};
use crate::session::{Session, no_such_object, resolve};
use crate::{json, output};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print commits as GVariant text
    #[arg(long)]
    raw: bool,
    /// Print JSON, a commit a line
    #[arg(long)]
    json: bool,
    /// Where to start
    #[arg(value_name = "REV")]
    rev: Option<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let repo = session.open().await?;
    let Some(rev) = args.rev else {
        return Err(Failure::usage("A rev argument is required"));
    };
    let form = match args.raw {
        true => Form::Raw,
        false => Form::Text,
    };
    let mut out = output::stdout();
    let mut next = Some(resolve(&repo, &rev).await?);
    let mut first = true;
    while let Some(checksum) = next {
        let name = ObjectName::commit(checksum);
        let bytes = match load_metadata(&**repo.objects(), &name).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) if !first => {
                if !args.json {
                    writeln!(out, "<< History beyond this commit not fetched >>")?;
                }
                break;
            }
            Ok(None) => return Err(no_such_object(&name)),
            // What was printed so far stands; the rest is said to be damaged.
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                out.flush()?;
                return Err(error.into());
            }
            Err(error) => return Err(error.into()),
        };
        let commit = commit_of(&name, &bytes)?;
        match args.json {
            true => json::write(&mut out, &json::of_commit(&checksum, &commit))?,
            false => write_commit(&mut out, &name, &commit, &bytes, form)?,
        }
        next = commit.parent;
        first = false;
    }
    Ok(out.flush()?)
}
