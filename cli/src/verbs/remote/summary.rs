//! `remote summary`.

use std::path::PathBuf;

use super::name_of;
use super::refs::fetch_summary;
use crate::failure::{Failure, Result};
use crate::session::Session;
use crate::verbs::summary_text::{self, Question};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print it as GVariant text
    #[arg(long)]
    raw: bool,
    /// Print only which keys there are
    #[arg(long)]
    list_metadata_keys: bool,
    /// Print what is under KEY
    #[arg(long, value_name = "KEY")]
    print_metadata_key: Option<String>,
    /// Accepted for compatibility: no cache is kept
    #[arg(long, value_name = "PATH", hide = true)]
    cache_dir: Option<PathBuf>,
    /// The name of the remote
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let name = name_of(args.name.as_deref())?;
    let summary = fetch_summary(session, &name).await?;
    let summary = summary.ok_or_else(|| Failure::new("Remote server has no summary file"))?;
    let question = match (&args.print_metadata_key, args.list_metadata_keys, args.raw) {
        (Some(key), ..) => Question::Key(key),
        (None, true, _) => Question::Keys,
        (None, false, true) => Question::Raw,
        (None, false, false) => Question::View,
    };
    summary_text::print(&summary, question)
}
