//! `find-remotes`: finds remotes that have refs of a collection, and pulls from them.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use serde_json::json;
use treeferry_core::ops::pull::{AgeCheck, Naming, PullOptions, PullRef, pull};
use treeferry_core::repo::Repo;
use treeferry_core::store::Durability;

use super::create_usb::pairs_of;
use super::summary::{Change, after};
use crate::failure::{Failure, Result};
use crate::finders::{Finder, Found, Pair, find};
use crate::session::Session;
use crate::{dates, json, output, progress, trust};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Accepted for compatibility: no cache is kept
    #[arg(long, value_name = "PATH", hide = true)]
    cache_dir: Option<PathBuf>,
    /// Do not wait for the disk: a power cut may take what was written
    #[arg(long)]
    disable_fsync: bool,
    /// Where to look: config (configured remotes), mount (sticks); default: both
    #[arg(long, value_name = "FINDERS")]
    finders: Option<String>,
    /// Pull the newest commit of each ref
    #[arg(long)]
    pull: bool,
    /// Keep refs by the names that their collection has for them
    #[arg(long)]
    mirror: bool,
    /// Print what was found, which refs were not, and what was pulled, as JSON
    #[arg(long)]
    json: bool,
    /// Which refs, each after the collection that it belongs to
    #[arg(value_name = "COLLECTION-ID REF [COLLECTION-ID REF...]")]
    pairs: Vec<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let pairs = pairs_of(&args.pairs)?;
    if args.mirror && !args.pull {
        let message = "When --mirror is specified, --pull must also be";
        return Err(Failure::usage(message));
    }
    let finders = finders_of(args.finders.as_deref())?;
    let opened = session.open_place().await?;
    let found = find(session, &opened, &finders, &pairs).await?;
    match args.json {
        true => print_json(&found, &pairs)?,
        false if found.is_empty() => return Ok(output::line("No results.")?),
        false => print(&found, &pairs)?,
    }
    match args.pull {
        true => pull_all(&args, session, &opened.repo, &found).await,
        false => Ok(()),
    }
}

fn finders_of(list: Option<&str>) -> Result<Vec<Finder>> {
    let Some(list) = list else {
        return Ok(vec![Finder::Mount, Finder::Config]);
    };
    if list.is_empty() {
        let message = "List of finders in --finders option must not be empty";
        return Err(Failure::usage(message));
    }
    let mut finders = Vec::new();
    for word in list.split(',') {
        let finder = match word {
            "config" => Some(Finder::Config),
            "lan" => Some(Finder::Lan),
            "mount" => Some(Finder::Mount),
            _ => None,
        };
        match finder.filter(|finder| !finders.contains(finder)) {
            Some(finder) => finders.push(finder),
            None => {
                let message = "Unknown or duplicate finder type given in --finders option";
                return Err(Failure::usage(format!("{message}: ‘{word}’")));
            }
        }
    }
    if finders.contains(&Finder::Lan) {
        eprintln!("warning: other machines of this network are not looked for yet");
    }
    Ok(finders)
}

/// Returns which refs were asked for, each once, and those that nobody has.
fn asked_for(found: &[Found], pairs: &[Pair]) -> (Vec<Pair>, Vec<Pair>) {
    let mut sorted = pairs.to_vec();
    sorted.sort();
    sorted.dedup();
    let has = |pair: &&Pair| found.iter().any(|one| one.refs.contains_key(*pair));
    let missing = sorted.iter().filter(|pair| !has(pair)).cloned().collect();
    (sorted, missing)
}

/// Prints an object for each place, and one for each ref that was found nowhere.
fn print_json(found: &[Found], pairs: &[Pair]) -> Result<()> {
    let mut out = output::stdout();
    for one in found {
        let refs = one.refs.iter().map(|((id, branch), newest)| {
            json!({
                "collection": id.as_str(),
                "ref": branch.as_str(),
                "commit": newest.commit.to_string(),
                "timestamp": newest.timestamp,
            })
        });
        let told = json!({
            "uri": one.uri,
            "finder": one.finder.type_name(),
            "remote": one.remote.name.as_str(),
            "priority": one.finder.priority(),
            "summary_last_modified": one.summary_secs,
            "refs": refs.collect::<Vec<_>>(),
        });
        json::write(&mut out, &told)?;
    }
    for (id, branch) in asked_for(found, pairs).1 {
        let told = json!({ "collection": id.as_str(), "ref": branch.as_str(), "commit": null });
        json::write(&mut out, &told)?;
    }
    Ok(out.flush()?)
}

fn print(found: &[Found], pairs: &[Pair]) -> Result<()> {
    let mut out = output::stdout();
    let (sorted, missing) = asked_for(found, pairs);
    for (number, one) in found.iter().enumerate() {
        writeln!(out, "Result {number}: {}", one.uri)?;
        writeln!(out, " - Finder: {}", one.finder.type_name())?;
        writeln!(out, " - Keyring: {}.trustedkeys.gpg", one.remote.name)?;
        writeln!(out, " - Priority: {}", one.finder.priority())?;
        if let Some(secs) = one.summary_secs {
            let time = dates::iso(secs);
            writeln!(out, " - Summary last modified: {time}")?;
        }
        writeln!(out, " - Refs:")?;
        for pair in &sorted {
            let (id, branch) = pair;
            match one.refs.get(pair) {
                Some(newest) => writeln!(out, "    - ({id}, {branch}) = {}", newest.commit)?,
                None => writeln!(out, "    - ({id}, {branch}) = (not found)")?,
            }
        }
        writeln!(out)?;
    }
    let total = sorted.len();
    writeln!(out, "{}/{total} refs were found.", total - missing.len())?;
    if !missing.is_empty() {
        writeln!(out, "Refs not found in any remote:")?;
        for (id, branch) in missing {
            writeln!(out, " - ({id}, {branch})")?;
        }
    }
    Ok(out.flush()?)
}

/// Pulls each ref from the first remote that turns out to have what it said.
async fn pull_all(args: &Args, session: &Session, repo: &Repo, found: &[Found]) -> Result<()> {
    let mut refs: BTreeMap<&Pair, Vec<&Found>> = BTreeMap::new();
    for one in found {
        for pair in one.refs.keys() {
            refs.entry(pair).or_default().push(one);
        }
    }
    let (total, mut failed) = (refs.len(), Vec::new());
    for (pair, candidates) in refs {
        let mut pulled = false;
        for one in candidates {
            match pull_from(args, session, repo, one, pair).await {
                Ok(()) => {
                    pulled = true;
                    break;
                }
                Err(error) => eprintln!("warning: {}: {error}", one.uri),
            }
        }
        if !pulled {
            failed.push(format!("({}, {})", pair.0, pair.1));
        }
    }
    if !failed.is_empty() {
        let message = "Failed to pull some refs from the remotes";
        return Err(Failure::new(format!("{message}: {}", failed.join(", "))));
    }
    after(Change::Ref, repo).await?;
    if args.json {
        return Ok(());
    }
    Ok(output::line(format!(
        "Pulled {total}/{total} refs successfully."
    ))?)
}

async fn pull_from(
    args: &Args,
    session: &Session,
    repo: &Repo,
    one: &Found,
    pair: &Pair,
) -> Result<()> {
    let (id, branch) = pair;
    let Some(newest) = one.refs.get(pair) else {
        return Ok(());
    };
    let mut options = PullOptions::default();
    options.refs = vec![PullRef {
        branch: Some(branch.clone()),
        commit: Some(newest.commit),
    }];
    options.naming = match (args.mirror, repo.collection_id().await?) {
        (false, _) => Naming::Remote(one.remote.name.clone()),
        (true, Some(own)) if own == *id => Naming::Own,
        (true, _) => Naming::Collection(id.clone()),
    };
    options.collection_id = Some(id.clone());
    // What is offered as new must not take a device back.
    options.age = AgeCheck::NotOlderThanRef;
    options.verify = trust::at_hand(session, &one.remote).await?;
    // The summary was verified when it was read, and lists refs of all collections.
    options.verify.summary = treeferry_core::sign::Trust::Anyone;
    if args.disable_fsync {
        options.replicate.durability = Durability::None;
    }
    let (progress, drawing) = progress::draw(session);
    options.replicate.progress = progress;
    let report = pull(repo, &one.source, &options).await;
    drawing.clear();
    let report = report?;
    if args.json {
        let mut told = json::of_pull(&report);
        told["uri"] = one.uri.as_str().into();
        json::line(&told)?;
    }
    Ok(())
}
