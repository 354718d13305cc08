//! `config`: reads and changes single keys of the repository's configuration.

use crate::failure::{Failure, Result};
use crate::output;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Group name, when KEY is given without it
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// get KEY, set KEY VALUE, or unset KEY
    #[arg(value_name = "(get KEY|set KEY VALUE|unset KEY)")]
    words: Vec<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let Some((operation, words)) = args.words.split_first() else {
        return Err(Failure::usage("OPERATION must be specified"));
    };
    let most = match operation.as_str() {
        "set" => 2,
        _ => 1,
    };
    if words.len() > most {
        return Err(Failure::usage("Too many arguments given"));
    }
    let group = args.group.as_deref();
    match (operation.as_str(), words) {
        ("get", [key]) => get(session, split(group, key)?).await,
        ("set", [key, value]) => set(session, split(group, key)?, value).await,
        ("unset", [key]) => unset(session, split(group, key)?).await,
        ("get" | "unset", _) => Err(Failure::new(match group {
            Some(_) => "Group name and key must be specified",
            None => "KEY must be specified",
        })),
        ("set", _) => Err(Failure::new(match group {
            Some(_) => "GROUP name, KEY and VALUE must be specified",
            None => "KEY and VALUE must be specified",
        })),
        (operation, _) => Err(Failure::new(format!("Unknown operation {operation}"))),
    }
}

/// Returns group and key; of `a.b.c` the group is what stands before the first dot.
fn split<'a>(group: Option<&'a str>, key: &'a str) -> Result<(&'a str, &'a str)> {
    match group {
        Some(group) => Ok((group, key)),
        None => key
            .split_once('.')
            .ok_or_else(|| Failure::new("Key must be of the form \"sectionname.keyname\"")),
    }
}

async fn get(session: &Session, (group, key): (&str, &str)) -> Result<()> {
    let config = session.open().await?.config().await?;
    if !config.has_group(group) {
        let message = format!("Key file does not have group “{group}”");
        return Err(Failure::new(message));
    }
    let value = config.string(group, key)?.ok_or_else(|| {
        Failure::new(format!(
            "Key file does not have key “{key}” in group “{group}”"
        ))
    })?;
    Ok(output::line(value)?)
}

async fn set(session: &Session, (group, key): (&str, &str), value: &str) -> Result<()> {
    let repo = session.open().await?;
    let change = |config: &mut treeferry_core::format::keyfile::KeyFile| {
        Ok(config.set_string(group, key, value)?)
    };
    Ok(repo.change_config(change).await?)
}

async fn unset(session: &Session, (group, key): (&str, &str)) -> Result<()> {
    let repo = session.open().await?;
    let change = |config: &mut treeferry_core::format::keyfile::KeyFile| {
        config.remove_key(group, key);
        Ok(())
    };
    Ok(repo.change_config(change).await?)
}
