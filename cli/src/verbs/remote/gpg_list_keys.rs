//! `remote gpg-list-keys`.

use std::io::Write;

use treeferry_core_openpgp::read_keyrings;

use super::name_of;
use crate::failure::{Failure, Result};
use crate::gpg::keyring_text;
use crate::session::{Session, has_remote};
use crate::{output, trust};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The name of the remote (default: the keys that count for all remotes)
    #[arg(value_name = "[NAME]")]
    name: Option<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let opened = session.open_place().await?;
    let keyring = match &args.name {
        None => Some(read_keyrings(&trust::global_places())?),
        Some(name) => {
            let name = name_of(Some(name))?;
            if !has_remote(&opened, &name).await? {
                return Err(Failure::new(format!("Remote \"{name}\" not found")));
            }
            trust::own_keyring(&opened, &name).await?
        }
    };
    let mut out = output::stdout();
    write!(out, "{}", keyring_text(&keyring.unwrap_or_default()))?;
    Ok(out.flush()?)
}
