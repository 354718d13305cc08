//! `create-usb`: writes refs to a USB stick.

use std::path::{Path, PathBuf};

use treeferry_core::format::{Branch, Checksum, CollectionId};
use treeferry_core::ops::copy::{CopyOptions, CopyRef, RefOutcome, copy};
use treeferry_core::ops::pull::PullSource;
use treeferry_core::repo::Repo;
use treeferry_core::store::{Durability, RefName};
use treeferry_transport_usb::{DirOptions, OTHER_REPO_PATHS, REPO_PATH, Stick};

use super::refs::collection_refs;
use super::summary::make_now;
use crate::failure::{Failure, Result, io_failure};
use crate::place::Opened;
use crate::session::Session;
use crate::{output, progress, stick};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Do not wait for the disk: a power cut may take what was written
    #[arg(long)]
    disable_fsync: bool,
    /// Write to the repository at DEST on the stick (default: .ostree/repo)
    #[arg(long, value_name = "DEST")]
    destination_repo: Option<PathBuf>,
    /// Write this commit, and not the one that the ref holds; for one ref
    #[arg(long, value_name = "COMMIT")]
    commit: Option<String>,
    /// Where the stick is mounted
    #[arg(value_name = "MOUNT-PATH")]
    mount: Option<PathBuf>,
    /// Which refs, each after the collection that it belongs to
    #[arg(value_name = "COLLECTION-ID REF [COLLECTION-ID REF...]")]
    pairs: Vec<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let Some(mount) = &args.mount else {
        return Err(Failure::usage("A MOUNT-PATH must be specified"));
    };
    let pairs = pairs_of(&args.pairs)?;
    if args.commit.is_some() && pairs.len() != 1 {
        let message = "The --commit option can only be used when a single COLLECTION-ID REF pair \
                       is specified";
        return Err(Failure::usage(message));
    }
    let source = session.open_place().await?;
    let refs = refs_to_write(&source.repo, &pairs, args.commit.as_deref()).await?;
    let root = Stick::open(mount).map_err(|_| cannot_open(mount))?;
    let place = destination(&root, args.destination_repo.as_deref())?;
    if let Some(fs) = &source.fs
        && is_same(fs.path(), &root.root().join(&place))
    {
        let message = "--destination-repo must not be the source repository";
        return Err(Failure::usage(message));
    }
    stick::refuse_long_files(&source.repo, &refs, stick::file_limit(root.root())).await?;
    let target = open_target(&root, &place, args.disable_fsync).await?;
    let known = |path: &str| place == Path::new(path);
    if !known(REPO_PATH) && !OTHER_REPO_PATHS.iter().any(|path| known(path)) {
        root.note_repo(&place)?;
    }
    let mut options = CopyOptions::default();
    if args.disable_fsync {
        options.replicate.durability = Durability::None;
    }
    let (progress, drawing) = progress::draw(session);
    options.replicate.progress = progress;
    let from = PullSource::from(source.repo.clone());
    let report = copy(&from, &target.repo, &refs, &options).await;
    drawing.clear();
    let report = report?;
    let conflict = |outcome: &RefOutcome| matches!(outcome, RefOutcome::Conflict { .. });
    if let Some(copied) = report.refs.iter().find(|copied| conflict(&copied.outcome)) {
        let message = format!("{} was moved by another writer: try again", copied.name);
        return Err(Failure::new(message));
    }
    // It says when the stick was written, which whoever finds it asks for.
    make_now(&target.repo).await?;
    if session.quiet {
        return Ok(());
    }
    let (count, from) = (refs.len(), described(&source, session)?);
    let (to, at) = (shown(&args.destination_repo), mount.display());
    Ok(output::line(format!(
        "Copied {count}/{count} refs successfully from ‘{from}’ to ‘{to}’ repository in ‘{at}’."
    ))?)
}

/// Reads `COLLECTION-ID REF` pairs.
pub(super) fn pairs_of(words: &[String]) -> Result<Vec<(CollectionId, Branch)>> {
    if words.len() < 2 {
        let message = "At least one COLLECTION-ID REF pair must be specified";
        return Err(Failure::usage(message));
    }
    if !words.len().is_multiple_of(2) {
        let message = "Only complete COLLECTION-ID REF pairs may be specified";
        return Err(Failure::usage(message));
    }
    let pairs = words.chunks(2).map(|pair| {
        let (id, name) = (&pair[0], &pair[1]);
        let invalid = |what: &str, text: &str| Failure::new(format!("Invalid {what} {text}"));
        let id = CollectionId::new(id).map_err(|_| invalid("collection ID", id))?;
        let branch = Branch::new(name).map_err(|_| invalid("ref name", name))?;
        Ok((id, branch))
    });
    pairs.collect()
}

async fn refs_to_write(
    repo: &Repo,
    pairs: &[(CollectionId, Branch)],
    commit: Option<&str>,
) -> Result<Vec<CopyRef>> {
    let known = collection_refs(repo).await?;
    let mut refs = Vec::with_capacity(pairs.len());
    for (id, branch) in pairs {
        let held = known
            .iter()
            .find(|(collection, name)| collection == id && name.branch() == branch);
        let found = match (commit, held) {
            (Some(commit), _) => {
                let commit: Checksum = commit.parse()?;
                repo.load_commit(&commit).await?;
                Some(commit)
            }
            (None, Some((_, name))) => repo.follow_ref(name).await?,
            (None, None) => None,
        };
        let Some(found) = found else {
            let message = match repo.state().read_summary().await? {
                Some(_) => format!("No such branch ({id}, {branch}) in repository summary"),
                None => format!("Collection–ref ({id}, {branch}) not found"),
            };
            return Err(Failure::new(message));
        };
        let name = RefName::Mirror(id.clone(), branch.clone());
        let wanted = CopyRef::commit(name, found);
        if !refs.contains(&wanted) {
            refs.push(wanted);
        }
    }
    Ok(refs)
}

/// Returns where the repository is, below the stick.
fn destination(stick: &Stick, given: Option<&Path>) -> Result<PathBuf> {
    let Some(given) = given else {
        return Ok(REPO_PATH.into());
    };
    let outside = || Failure::usage("--destination-repo must be a descendent of MOUNT-PATH");
    let below = match given.is_absolute() {
        true => given.strip_prefix(stick.root()).map_err(|_| outside())?,
        false => given,
    };
    let plain = |part: std::path::Component<'_>| matches!(part, std::path::Component::Normal(_));
    let parts = below
        .components()
        .filter(|part| !matches!(part, std::path::Component::CurDir));
    let below: PathBuf = parts.collect();
    if below.as_os_str().is_empty() || !below.components().all(plain) {
        return Err(outside());
    }
    Ok(below)
}

async fn open_target(stick: &Stick, place: &Path, disable_fsync: bool) -> Result<Opened> {
    // One that the C implementation made, of another mode, is written as what it is.
    if let Some(path) = stick.inside(place)?
        && path.join("config").exists()
        && !disable_fsync
    {
        return stick::open_repo(path).await;
    }
    let options = match disable_fsync {
        true => DirOptions::unsynced(),
        false => DirOptions::repository(),
    };
    stick::create_at(stick.root(), place, None, options).await
}

fn cannot_open(mount: &Path) -> Failure {
    match std::fs::read_dir(mount) {
        Err(error) => io_failure(format!("opendir({})", mount.display()), &error),
        Ok(_) => Failure::new(format!("{}: cannot be used as a stick", mount.display())),
    }
}

fn is_same(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

fn described(source: &Opened, session: &Session) -> Result<String> {
    match &source.fs {
        Some(fs) => Ok(absolute(fs.path())),
        None => Ok(session.place()?.to_string()),
    }
}

fn absolute(path: &Path) -> String {
    let found = path.canonicalize();
    found.map_or_else(
        |_| path.display().to_string(),
        |path| path.display().to_string(),
    )
}

fn shown(given: &Option<PathBuf>) -> String {
    match given {
        Some(path) => path.display().to_string(),
        None => REPO_PATH.to_owned(),
    }
}
