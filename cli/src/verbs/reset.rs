//! `reset`: sets a ref to another commit.

use treeferry_core::format::Refspec;
use treeferry_core::store::{ExpectedRef, RefName, RefValue};

use super::refs::set_ref;
use crate::failure::{Failure, Result};
use crate::session::{Session, resolve};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The ref to set
    #[arg(value_name = "REF")]
    refspec: Option<String>,
    /// The commit that it is to hold
    #[arg(value_name = "COMMIT")]
    commit: Option<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let (Some(refspec), Some(rev)) = (args.refspec, args.commit) else {
        return Err(Failure::usage("A REF and COMMIT argument is required"));
    };
    let repo = session.open().await?;
    let commit = resolve(&repo, &rev).await?;
    let name: RefName = refspec.parse::<Refspec>()?.into();
    if repo.follow_ref(&name).await?.is_none() {
        return Err(Failure::new(format!("Invalid ref '{refspec}'")));
    }
    let value = Some(RefValue::Commit(commit));
    set_ref(&repo, name, ExpectedRef::Any, value).await
}
