//! `config`: reads and changes single keys of the repository's configuration.

use serde_json::json;

use crate::failure::{Failure, Result};
use crate::session::Session;
use crate::{json, output};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Group name, when KEY is given without it
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Print the value, and after a change the one before, as JSON
    #[arg(long)]
    json: bool,
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
        ("get", [key]) => get(session, split(group, key)?, args.json).await,
        ("set", [key, value]) => change(session, split(group, key)?, Some(value), args.json).await,
        ("unset", [key]) => change(session, split(group, key)?, None, args.json).await,
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

async fn get(session: &Session, (group, key): (&str, &str), as_json: bool) -> Result<()> {
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
    if as_json {
        return json::line(&json!({ "group": group, "key": key, "value": value }));
    }
    Ok(output::line(value)?)
}

/// Sets a key, or removes it.
async fn change(
    session: &Session,
    (group, key): (&str, &str),
    value: Option<&String>,
    as_json: bool,
) -> Result<()> {
    let repo = session.open().await?;
    let before = repo.config().await?.string(group, key)?;
    repo.change_config(|config| {
        match value {
            Some(value) => config.set_string(group, key, value)?,
            None => _ = config.remove_key(group, key),
        }
        Ok(())
    })
    .await?;
    if as_json {
        let told = json!({ "group": group, "key": key, "before": before, "value": value });
        return json::line(&told);
    }
    Ok(())
}
