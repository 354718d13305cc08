//! `remote summary`.

use std::path::PathBuf;

use treeferry_core::format::RemoteName;
use treeferry_core::format::gvariant::Dict;
use treeferry_core::repo::Required;
use treeferry_core::store::SignedSummary;

use super::name_of;
use super::refs::fetch_summary;
use crate::failure::{Failure, Result};
use crate::gpg::{self, signatures_text};
use crate::session::{Session, remote_config};
use crate::verbs::summary_text::{self, Question};
use crate::{output, trust};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print it as GVariant text
    #[arg(long)]
    raw: bool,
    /// Print it as JSON: each ref, and then the rest
    #[arg(long)]
    json: bool,
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
        (None, false, false) if args.json => Question::Json,
        (None, false, false) => Question::View,
    };
    summary_text::print(&summary, question)?;
    match question {
        Question::View => print_signatures(session, &name, &summary).await,
        _ => Ok(()),
    }
}

/// Says who signed the summary, where the remote must sign it with OpenPGP.
async fn print_signatures(
    session: &Session,
    name: &RemoteName,
    summary: &SignedSummary,
) -> Result<()> {
    let opened = session.open_place().await?;
    let remote = remote_config(&opened, name).await?;
    let (Required::Yes, Some(signature)) = (remote.gpg_verify_summary, &summary.signature) else {
        return Ok(());
    };
    let keyring = trust::keyring_of(&opened, &remote).await?;
    let verdict = gpg::verify_now(keyring, &summary.summary, &Dict::decode(signature)?);
    let text = signatures_text(&verdict);
    Ok(output::line(format!(
        "\nGPG: Verification enabled, found {text}"
    ))?)
}
