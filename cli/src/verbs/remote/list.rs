//! `remote list`.

use std::collections::BTreeMap;
use std::io::Write;

use treeferry_core::repo::RemoteConfig;

use super::show_url::url_of;
use crate::failure::Result;
use crate::output;
use crate::session::{Session, configs};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print each URL after the name
    #[arg(short = 'u', long)]
    show_urls: bool,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let mut remotes = BTreeMap::new();
    for config in configs(&session.open_place().await?).await? {
        for name in RemoteConfig::list(&config) {
            // The repository's own come first, and count.
            remotes.entry(name).or_insert_with(|| config.clone());
        }
    }
    let width = remotes.keys().map(|name| name.as_str().len()).max();
    let width = width.unwrap_or_default();
    let mut out = output::stdout();
    for (name, config) in &remotes {
        if !args.show_urls {
            writeln!(out, "{name}")?;
            continue;
        }
        match url_of(config, name) {
            Ok(url) => writeln!(out, "{:width$}  {url}", name.as_str())?,
            Err(failure) => {
                out.flush()?;
                return Err(failure);
            }
        }
    }
    Ok(out.flush()?)
}
