//! `refs`: lists, makes and deletes refs.

use std::fmt;
use std::io::Write;

use serde_json::json;
use treeferry_core::format::keyfile::KeyFile;
use treeferry_core::format::{Branch, Checksum, CollectionId, Refspec, RemoteName};
use treeferry_core::repo::{RemoteConfig, Repo};
use treeferry_core::store::{ExpectedRef, RefAnswer, RefName, RefSpace, RefUpdate, RefValue};

use super::summary::{Change, after};
use crate::failure::{Failure, Result, io_failure};
use crate::session::{Name, Session, resolve};
use crate::{json, output};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Delete the refs that are or begin with a PREFIX
    #[arg(long)]
    delete: bool,
    /// Print names whole, with the PREFIX
    #[arg(long)]
    list: bool,
    /// Print the commit of each ref after it
    #[arg(short, long)]
    revision: bool,
    /// Show only aliases; with --create, make NEWREF one
    #[arg(short = 'A', long)]
    alias: bool,
    /// Make a ref for the commit that the argument names
    #[arg(long, value_name = "NEWREF")]
    create: Option<String>,
    /// List refs with the collection that they belong to
    #[arg(short, long)]
    collections: bool,
    /// Print JSON, a ref a line, with its commit
    #[arg(long)]
    json: bool,
    /// Let --create replace a ref that is there
    #[arg(long)]
    force: bool,
    /// Which refs; with --create the commit, with --collections the collection
    #[arg(value_name = "[PREFIX...]")]
    prefixes: Vec<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let repo = session.open().await?;
    match (&args.create, args.delete) {
        (Some(new), _) => create(&repo, &args, new, session.name).await,
        (None, true) => delete(&repo, &args, session).await,
        (None, false) if args.collections => list_collections(&repo, &args).await,
        (None, false) => {
            if session.name == Name::Ostree {
                expect_directories(&repo)?;
            }
            list(&repo, &args).await
        }
    }
}

/// Sets a ref, and says so if somebody else changed it meanwhile.
pub(crate) async fn set_ref(
    repo: &Repo,
    name: RefName,
    expected: ExpectedRef,
    new: Option<RefValue>,
) -> Result<()> {
    let update = RefUpdate {
        name,
        expected,
        new,
    };
    update_all(repo, vec![update]).await
}

async fn update_all(repo: &Repo, updates: Vec<RefUpdate>) -> Result<()> {
    let answers = repo.refs().update_refs(&updates).await?;
    for (update, answer) in updates.iter().zip(answers) {
        if let RefAnswer::Conflict { .. } = answer {
            let name = &update.name;
            let message = format!("{name} was changed by somebody else meanwhile: try again");
            return Err(Failure::new(message));
        }
    }
    after(Change::Ref, repo).await
}

/// Which refs a prefix means: all of a name space, or those at and below a path.
struct Prefix {
    space: RefSpace,
    path: String,
}

impl Prefix {
    fn parse(text: Option<&str>) -> Result<Self> {
        let Some(text) = text else {
            return Ok(Self {
                space: RefSpace::All,
                path: String::new(),
            });
        };
        let (space, path) = match text.split_once(':') {
            Some((remote, path)) => (RefSpace::Remote(remote.parse::<RemoteName>()?), path),
            None => (RefSpace::Local, text),
        };
        let path = match path.trim_end_matches('/') {
            // As flatpak writes "all of them".
            "." => "",
            path => path,
        };
        if !path.is_empty() && Branch::new(path).is_err() {
            return Err(Failure::new(format!("Invalid refspec {text}")));
        }
        Ok(Self {
            space,
            path: path.to_owned(),
        })
    }

    fn matches(&self, branch: &Branch) -> bool {
        self.path.is_empty() || branch.as_str() == self.path || self.below(branch).is_some()
    }

    /// Returns what follows the prefix.
    fn below<'a>(&self, branch: &'a Branch) -> Option<&'a str> {
        branch.as_str().strip_prefix(&self.path)?.strip_prefix('/')
    }

    /// Returns the refs that the prefix means. Mirrored collections have a listing of their own.
    async fn select(&self, repo: &Repo) -> Result<Vec<(RefName, RefValue)>> {
        let mut refs = repo.refs().list_refs(&self.space).await?;
        refs.retain(|(name, _)| {
            !matches!(name, RefName::Mirror(..)) && self.matches(name.branch())
        });
        Ok(refs)
    }
}

/// Fails where OSTree does, which takes a name space that is not there for damage.
fn expect_directories(repo: &Repo) -> Result<()> {
    let Some(local) = repo.objects().local() else {
        return Ok(());
    };
    for space in ["refs/heads", "refs/remotes"] {
        let path = local.directory().join(space);
        if let Err(error) = path.metadata() {
            return Err(io_failure(format!("opendir({space})"), &error).context("Listing refs"));
        }
    }
    Ok(())
}

async fn list(repo: &Repo, args: &Args) -> Result<()> {
    let mut out = output::stdout();
    for prefix in prefixes(args)? {
        list_prefix(&mut out, repo, args, &prefix).await?;
    }
    Ok(out.flush()?)
}

/// Returns the prefixes that were given, or the one that means all.
fn prefixes(args: &Args) -> Result<Vec<Prefix>> {
    match args.prefixes.as_slice() {
        [] => Ok(vec![Prefix::parse(None)?]),
        prefixes => prefixes
            .iter()
            .map(|text| Prefix::parse(Some(text)))
            .collect(),
    }
}

async fn list_prefix(
    out: &mut impl Write,
    repo: &Repo,
    args: &Args,
    prefix: &Prefix,
) -> Result<()> {
    for (name, value) in prefix.select(repo).await? {
        let cut = |name: &RefName| match (name, prefix.below(name.branch())) {
            (RefName::Local(_), Some(rest)) if !args.list => rest.to_owned(),
            (RefName::Remote(remote, _), Some(rest)) if !args.list => format!("{remote}:{rest}"),
            (name, _) => name.to_string(),
        };
        match &value {
            RefValue::Alias(target) if args.alias => writeln!(out, "{} -> {target}", cut(&name))?,
            _ if args.alias => {}
            value if args.json => {
                let commit = repo.follow_ref(&name).await?;
                let alias = match value {
                    RefValue::Alias(target) => Some(target.to_string()),
                    RefValue::Commit(_) => None,
                };
                let object = json!({
                    "ref": name.to_string(),
                    "commit": commit.map(|commit| commit.to_string()),
                    "alias_of": alias,
                });
                json::write(out, &object)?;
            }
            _ if args.revision => {
                let commit = repo.follow_ref(&name).await?;
                writeln!(out, "{}\t{}", cut(&name), Shown(commit))?;
            }
            _ => writeln!(out, "{}", cut(&name))?,
        }
    }
    Ok(())
}

/// A commit, or what is shown of a ref that leads nowhere.
struct Shown(Option<Checksum>);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(commit) => commit.fmt(f),
            None => f.write_str("(none)"),
        }
    }
}

/// Returns all refs that belong to a collection: the repository's own, those of remotes with a
/// collection, and those of mirrored collections.
pub(super) async fn collection_refs(repo: &Repo) -> Result<Vec<(CollectionId, RefName)>> {
    let own = repo.collection_id().await?;
    let config = repo.config().await?;
    let mut found = Vec::new();
    for (name, _) in repo.refs().list_refs(&RefSpace::All).await? {
        let collection = match &name {
            RefName::Local(_) => own.clone(),
            RefName::Remote(remote, _) => collection_of(&config, remote),
            RefName::Mirror(collection, _) => Some(collection.clone()),
        };
        found.extend(collection.map(|collection| (collection, name)));
    }
    found.sort_by(|a, b| (&a.0, a.1.branch()).cmp(&(&b.0, b.1.branch())));
    Ok(found)
}

// A remote that is configured wrongly has no collection; whoever uses it is told why.
fn collection_of(config: &KeyFile, remote: &RemoteName) -> Option<CollectionId> {
    RemoteConfig::read(config, remote).ok()??.collection_id
}

async fn list_collections(repo: &Repo, args: &Args) -> Result<()> {
    let mut out = output::stdout();
    for (collection, name) in collection_refs(repo).await? {
        let wanted = |id: &String| id == collection.as_str();
        if !args.prefixes.is_empty() && !args.prefixes.iter().any(wanted) {
            continue;
        }
        write!(out, "({collection}, {})", name.branch())?;
        if args.revision {
            write!(out, "\t{}", Shown(repo.follow_ref(&name).await?))?;
        }
        writeln!(out)?;
    }
    Ok(out.flush()?)
}

async fn delete(repo: &Repo, args: &Args, session: &Session) -> Result<()> {
    if args.prefixes.is_empty() {
        let message = "At least one PREFIX is required when deleting refs";
        return Err(Failure::new(message));
    }
    let mut doomed: Vec<RefName> = Vec::new();
    if args.collections {
        let of_one = |id: &CollectionId| args.prefixes.iter().any(|wanted| wanted == id.as_str());
        let refs = collection_refs(repo).await?.into_iter();
        doomed.extend(refs.filter(|(id, _)| of_one(id)).map(|(_, name)| name));
    } else {
        for prefix in prefixes(args)? {
            let refs = prefix.select(repo).await?;
            doomed.extend(refs.into_iter().map(|(name, _)| name));
        }
    }
    if doomed.is_empty() && session.name == Name::Treeferry && !session.quiet {
        let prefixes = args.prefixes.join(" or ");
        eprintln!("nothing to delete: no ref is called {prefixes}, or is below that");
    }
    for (alias, value) in repo.refs().list_refs(&RefSpace::All).await? {
        if let RefValue::Alias(target) = &value
            && doomed.contains(target)
        {
            let message = format!("Ref '{target}' has an active alias: '{alias}'");
            return Err(Failure::new(message));
        }
    }
    let updates = doomed.into_iter().map(|name| RefUpdate {
        name,
        expected: ExpectedRef::Any,
        new: None,
    });
    update_all(repo, updates.collect()).await
}

async fn create(repo: &Repo, args: &Args, new: &str, called: Name) -> Result<()> {
    let Some(rev) = args.prefixes.first() else {
        let message = "You must specify a revision when creating a new ref";
        return Err(Failure::new(message));
    };
    let name = new_name(repo, args, new).await?;
    let value = match args.alias {
        true => RefValue::Alias(alias_target(repo, &name, rev).await?),
        false => RefValue::Commit(resolve(repo, rev).await?),
    };
    // OSTree does not look whether there is a ref of a collection, and scripts rely on it.
    let force = args.force || (args.collections && called == Name::Ostree);
    let existing = repo.refs().read_ref(&name).await?;
    // An alias may be pointed elsewhere: that is what it is for.
    let force = force || (args.alias && matches!(existing, Some(RefValue::Alias(_))));
    let expected = match force {
        true => ExpectedRef::Any,
        false => ExpectedRef::Absent,
    };
    if !force && existing.is_some() {
        let message = format!("--create specified but ref {new} already exists");
        return Err(Failure::new(message));
    }
    set_ref(repo, name, expected, Some(value)).await
}

async fn new_name(repo: &Repo, args: &Args, new: &str) -> Result<RefName> {
    let invalid = |_| Failure::new(format!("Invalid refspec {new}"));
    if !args.collections {
        return Ok(new.parse::<Refspec>().map_err(invalid)?.into());
    }
    let Some((collection, branch)) = new.split_once(':') else {
        let message = format!("{new}: with --collections expected COLLECTION-ID:REF");
        return Err(Failure::new(message));
    };
    let collection = CollectionId::new(collection).map_err(|e| {
        Failure::from(e).context(format_args!("Invalid collection ID {collection}"))
    })?;
    let branch = Branch::new(branch)
        .map_err(|e| Failure::from(e).context(format_args!("Invalid ref name {branch}")))?;
    Ok(match repo.collection_id().await? {
        Some(own) if own == collection => RefName::Local(branch),
        _ => RefName::Mirror(collection, branch),
    })
}

async fn alias_target(repo: &Repo, name: &RefName, target: &str) -> Result<RefName> {
    if let RefName::Remote(remote, _) = name {
        return Err(Failure::new(format!(
            "Cannot create alias to remote ref: {remote}"
        )));
    }
    let nothing = || Failure::new(format!("Cannot create alias to non-existent ref: {target}"));
    let refspec: Refspec = target.parse().map_err(|_| nothing())?;
    if let Some(remote) = &refspec.remote {
        return Err(Failure::new(format!(
            "Cannot create alias to remote ref: {remote}"
        )));
    }
    let target = RefName::from(refspec);
    match repo.refs().read_ref(&target).await? {
        Some(_) => Ok(target),
        None => Err(nothing()),
    }
}
