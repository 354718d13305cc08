//! `remote show-url`.

use treeferry_core::format::RemoteName;
use treeferry_core::format::keyfile::KeyFile;

use super::name_of;
use crate::failure::{Failure, Result};
use crate::output;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The name of the remote
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let name = name_of(args.name.as_deref())?;
    let config = session.open().await?.config().await?;
    Ok(output::line(url_of(&config, &name)?)?)
}

/// Returns the URL of a remote as it is configured. It is the user's own, secrets included.
pub(crate) fn url_of(config: &KeyFile, name: &RemoteName) -> Result<String> {
    let group = format!("remote \"{name}\"");
    if !config.has_group(&group) {
        return Err(Failure::new(format!("Remote \"{name}\" not found")));
    }
    let url = config.string(&group, "url")?;
    url.ok_or_else(|| Failure::new(format!("No \"url\" option in remote \"{name}\"")))
}
