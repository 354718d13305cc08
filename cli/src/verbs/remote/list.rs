//! `remote list`.

use std::io::Write;

use treeferry_core::repo::RemoteConfig;

use super::show_url::url_of;
use crate::failure::Result;
use crate::output;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show remote URLs in list
    #[arg(short = 'u', long)]
    show_urls: bool,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let config = session.open().await?.config().await?;
    let names = RemoteConfig::list(&config);
    let width = names.iter().map(|name| name.as_str().len()).max();
    let width = width.unwrap_or_default();
    let mut out = output::stdout();
    for name in &names {
        if !args.show_urls {
            writeln!(out, "{name}")?;
            continue;
        }
        match url_of(&config, name) {
            Ok(url) => writeln!(out, "{:width$}  {url}", name.as_str())?,
            Err(failure) => {
                out.flush()?;
                return Err(failure);
            }
        }
    }
    Ok(out.flush()?)
}
