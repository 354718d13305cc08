//! `remote list`.

use std::collections::BTreeMap;
use std::io::Write;

use serde_json::{Value, json};
use treeferry_core::format::RemoteName;
use treeferry_core::format::keyfile::KeyFile;
use treeferry_core::repo::{RemoteConfig, Required};

use super::show_url::url_of;
use crate::failure::Result;
use crate::session::{Session, configs};
use crate::{json, output};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print each URL after the name
    #[arg(short = 'u', long)]
    show_urls: bool,
    /// Print JSON: each remote with its URL, and what must be signed
    #[arg(long)]
    json: bool,
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
        if args.json {
            json::write(&mut out, &described(config, name)?)?;
            continue;
        }
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

fn described(config: &KeyFile, name: &RemoteName) -> Result<Value> {
    let remote = RemoteConfig::read(config, name)?;
    let required = |demand: fn(&RemoteConfig) -> Required| {
        remote
            .as_ref()
            .map(|remote| demand(remote) == Required::Yes)
    };
    Ok(json!({
        "name": name.as_str(),
        "url": url_of(config, name).ok(),
        "collection_id": remote.as_ref().and_then(|r| r.collection_id.as_ref()).map(ToString::to_string),
        "gpg_verify": required(|remote| remote.gpg_verify),
        "gpg_verify_summary": required(|remote| remote.gpg_verify_summary),
        "sign_verify": required(|remote| remote.sign_verify),
        "sign_verify_summary": required(|remote| remote.sign_verify_summary),
    }))
}
