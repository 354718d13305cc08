//! `static-delta delete`: deletes a delta.

use treeferry_core::ops::delta::delete_kept;

use super::name_of;
use crate::failure::{Failure, Result};
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// FROM-TO, or TO alone
    #[arg(value_name = "DELTA")]
    delta: Option<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let name = name_of(args.delta.as_deref())?;
    let repo = session.open().await?;
    match delete_kept(&repo, &name).await? {
        true => Ok(()),
        false => Err(Failure::new(format!("Can't find delta {name}"))),
    }
}
