//! `fsck`: checks a repository.

use std::ffi::OsStr;
use std::io::Write;

use serde_json::json;
use treeferry_core::format::{CollectionId, ObjectType};
use treeferry_core::ops::fsck::{
    Finding, FsckBindings, FsckExtent, FsckOptions, FsckRepair, FsckReport, FsckTombstones,
    Problem, Unbound, fsck, repair_from,
};
use treeferry_core::ops::pull::PullSource;
use treeferry_core::ops::replicate::ReplicateOptions;
use treeferry_core::repo::RemoteConfig;
use treeferry_core::store::RefName;

use crate::failure::{Failure, Result};
use crate::place::{Opened, open_origin};
use crate::session::{Name, Session, configs};
use crate::{json, output, progress, words};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Mark parents that are missing as deleted on purpose
    #[arg(long)]
    add_tombstones: bool,
    /// Say nothing unless something is wrong
    #[arg(short, long)]
    quiet: bool,
    /// Go on after damage, to report all of it
    #[arg(short, long)]
    all: bool,
    /// Delete damaged objects, so that a pull brings them again
    #[arg(long)]
    delete: bool,
    /// Fetch what is damaged or missing, and nothing else, from a remote, and check again
    #[arg(long, conflicts_with = "delete")]
    repair: bool,
    /// From which remote, or address; can be repeated (default: all remotes of the repository)
    #[arg(long, value_name = "REMOTE", requires = "repair")]
    remote: Vec<String>,
    /// Check that each ref is one that its commit says it is for
    #[arg(long)]
    verify_bindings: bool,
    /// Check also that each ref that a commit names is there
    #[arg(long)]
    verify_back_refs: bool,
    /// Print JSON: each thing that is wrong, and at the end how much was looked at
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let mut args = args;
    // Nothing else is printed among it.
    args.quiet |= args.json;
    let opened = session.open_place().await?;
    let repo = opened.repo.clone();
    let mut options = FsckOptions::default();
    // Deleting goes on after each object that it deletes.
    if args.all || args.delete || args.json {
        options.extent = FsckExtent::All;
    }
    options.repair = match args.delete {
        true => FsckRepair::DeleteDamaged,
        false => FsckRepair::MarkPartial,
    };
    options.bindings = match (args.verify_back_refs, args.verify_bindings) {
        (true, _) => FsckBindings::VerifyBackRefs,
        (false, true) => FsckBindings::Verify,
        (false, false) => FsckBindings::Ignore,
    };
    if args.add_tombstones {
        options.tombstones = FsckTombstones::Add;
    }
    if !args.quiet {
        output::line("Validating refs...")?;
    }
    let mut quiet = session.clone();
    quiet.quiet |= args.quiet;
    let (reporter, drawing) = progress::draw(&quiet);
    options.progress = reporter;
    let report = match args.repair {
        false => fsck(&repo, &options).await.map_err(Failure::from),
        true => repair(&args, &opened, &options, session).await,
    };
    drawing.clear();
    let report = report?;
    if args.json {
        return print_json(&report);
    }
    if !args.quiet {
        print_stages(&report)?;
    }
    let collection = repo.collection_id().await?;
    let told = Told {
        name: session.name,
        collection,
        goes_on: args.all || args.delete,
    };
    told.tell(&report)?;
    if session.name == Name::Ostree || !args.quiet {
        let whole = report.commits - report.commits_partial;
        output::line(format!(
            "object fsck of {whole} commits completed successfully - no errors found."
        ))?;
    }
    Ok(())
}

/// Prints what was found; that something is wrong is a failure too.
fn print_json(report: &FsckReport) -> Result<()> {
    let mut out = output::stdout();
    for finding in &report.findings {
        let problem = match &finding.problem {
            Problem::Missing => "missing",
            Problem::Damaged(_) => "damaged",
            Problem::NoCommit => "no-commit",
            Problem::Unbound(_) => "unbound",
            _ => "other",
        };
        let commits = finding.commits.iter().map(ToString::to_string);
        let finding = json!({
            "problem": problem,
            "object": finding.object.map(|object| object.to_string()),
            "ref": finding.reference.as_ref().map(ToString::to_string),
            "commits": commits.collect::<Vec<_>>(),
            "path": finding.path,
            "text": finding.to_string(),
        });
        json::write(&mut out, &finding)?;
    }
    let deleted = report.deleted.iter().map(ToString::to_string);
    let totals = json!({
        "sound": report.is_sound(),
        "refs": report.refs,
        "commits": report.commits,
        "partial_commits": report.commits_partial,
        "metadata_objects": report.metadata_objects,
        "content_objects": report.content_objects,
        "content_bytes": report.content_bytes,
        "deleted": deleted.collect::<Vec<_>>(),
    });
    json::write(&mut out, &totals)?;
    out.flush()?;
    match report.is_sound() {
        true => Ok(()),
        false => Err(Failure::new("the repository is damaged: see above")),
    }
}

/// Fetches what is damaged or missing, and returns what is wrong then.
async fn repair(
    args: &Args,
    opened: &Opened,
    options: &FsckOptions,
    session: &Session,
) -> Result<FsckReport> {
    let mut names = args.remote.clone();
    if names.is_empty() {
        for config in configs(opened).await? {
            names.extend(RemoteConfig::list(&config).iter().map(ToString::to_string));
        }
    }
    if names.is_empty() {
        let message = "--repair: the repository has no remotes; --remote=ADDRESS names a place";
        return Err(Failure::new(message));
    }
    let mut sources = Vec::new();
    for name in &names {
        // Objects are named by their hash: who serves them need not be trusted.
        let (origin, _) = open_origin(session, OsStr::new(name)).await?;
        sources.push(PullSource::from(origin).objects);
    }
    let moving = ReplicateOptions::default();
    let report = repair_from(&opened.repo, &sources, options, &moving).await?;
    for finding in &report.before.findings {
        eprintln!("{finding}");
    }
    for commit in &report.repaired {
        output::line(format!("Repaired commit: {commit}"))?;
    }
    let fetched = &report.fetched;
    let objects = fetched.metadata_fetched + fetched.content_fetched;
    output::line(format!("{objects} objects fetched"))?;
    Ok(report.after)
}

/// Where a check stopped: what is wrong with refs is found before commits are read, and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Refs,
    Mirrors,
    Commits,
    Objects,
}

fn stage_of(finding: &Finding) -> Stage {
    match (&finding.reference, &finding.object) {
        (Some(RefName::Mirror(..)), _) => Stage::Mirrors,
        (Some(_), _) => Stage::Refs,
        (None, Some(name)) if name.object_type == ObjectType::Commit => Stage::Commits,
        _ => Stage::Objects,
    }
}

fn print_stages(report: &FsckReport) -> Result<()> {
    let last = report.findings.iter().map(stage_of).max();
    let last = match last {
        Some(stage) if report.content_objects + report.metadata_objects == 0 => stage,
        _ => Stage::Objects,
    };
    let mut out = output::stdout();
    if last >= Stage::Mirrors {
        writeln!(out, "Validating refs in collections...")?;
    }
    if last >= Stage::Commits {
        writeln!(out, "Enumerating commits...")?;
    }
    if last >= Stage::Objects {
        let whole = report.commits - report.commits_partial;
        writeln!(
            out,
            "Verifying content integrity of {whole} commit objects..."
        )?;
        let objects = whole + report.metadata_objects + report.content_objects;
        if objects > 0 {
            writeln!(out, "fsck objects ({objects}/{objects}) 100%")?;
        }
    }
    for commit in &report.tombstones {
        writeln!(out, "Adding tombstone for commit {commit}")?;
    }
    if report.commits_partial > 0 {
        writeln!(
            out,
            "{} partial commits not verified",
            report.commits_partial
        )?;
    }
    Ok(out.flush()?)
}

/// How findings are told.
struct Told {
    name: Name,
    collection: Option<CollectionId>,
    goes_on: bool,
}

impl Told {
    /// Prints what was found, and fails if anything is wrong.
    fn tell(&self, report: &FsckReport) -> Result<()> {
        let mut err = std::io::stderr().lock();
        let mut fatal = None;
        for finding in &report.findings {
            let text = self.text(finding);
            // What is merely missing never stops a check; the first that does is the error.
            let stops = !self.goes_on && !matches!(finding.problem, Problem::Missing);
            match stops && fatal.is_none() {
                true => fatal = Some(text),
                false => writeln!(err, "{text}")?,
            }
        }
        for commit in &report.marked_partial {
            writeln!(err, "Marking commit as partial: {commit}")?;
        }
        if let Some(text) = fatal {
            return Err(Failure::new(text));
        }
        if !report.findings.is_empty() {
            return Err(Failure::new("Repository corruption encountered"));
        }
        match report.commits_damaged_before {
            0 => Ok(()),
            damaged => Err(Failure::new(format!(
                "{damaged} partial commits from fsck-detected corruption"
            ))),
        }
    }

    fn text(&self, finding: &Finding) -> String {
        match self.name {
            Name::Treeferry => finding.to_string(),
            Name::Ostree => self.text_as_ostree(finding),
        }
    }

    /// Returns a finding in the words that scripts look for.
    fn text_as_ostree(&self, finding: &Finding) -> String {
        let commits: Vec<_> = finding.commits.iter().map(ToString::to_string).collect();
        let commits = commits.join(", ");
        match (&finding.problem, &finding.object, &finding.reference) {
            (Problem::Missing, Some(object), _) if commits.is_empty() => {
                format!("Object missing: {object}")
            }
            (Problem::Missing, Some(object), _) => {
                format!("Object missing in commits {commits}: {object}")
            }
            (Problem::Damaged(error), Some(object), _) => {
                let (kind, checksum) = (object.object_type, object.checksum);
                let what = match kind {
                    ObjectType::File => format!("content object {checksum}"),
                    _ => object.to_string(),
                };
                let within = match commits.is_empty() || kind == ObjectType::Commit {
                    true => String::new(),
                    false => format!("In commits {commits}: "),
                };
                format!("{within}fsck {what}: {}", words::damage(object, error))
            }
            (Problem::NoCommit, _, Some(name)) => {
                let name = name.branch();
                format!("Loading commit for ref {name}: No such metadata object {commits}.commit")
            }
            (Problem::Unbound(unbound), object, reference) => {
                let commit = object.map_or(commits, |object| object.checksum.to_string());
                self.unbound_text(unbound, &commit, reference.as_ref())
            }
            _ => finding.to_string(),
        }
    }

    fn unbound_text(&self, unbound: &Unbound, commit: &str, name: Option<&RefName>) -> String {
        let wanted = name.map(|name| name.branch().to_string());
        let wanted = wanted.unwrap_or_default();
        match unbound {
            Unbound::OtherRefs(refs) => {
                let quoted: Vec<_> = refs.iter().map(|name| format!("‘{name}’")).collect();
                let refs = quoted.join(", ");
                format!(
                    "Commit {commit}: Commit has no requested ref ‘{wanted}’ \
                     in ref binding metadata ({refs})"
                )
            }
            Unbound::OtherCollection(id) => {
                let of_ref = match name {
                    Some(RefName::Mirror(id, _)) => Some(id),
                    _ => self.collection.as_ref(),
                };
                let of_ref = of_ref.map(ToString::to_string).unwrap_or_default();
                format!(
                    "Commit {commit}: Commit has collection ID ‘{id}’ in collection binding \
                     metadata, while the remote it came from has collection ID ‘{of_ref}’"
                )
            }
            Unbound::NoSuchRef(name) => {
                let name = bound_name(name);
                format!("{name} in bindings for commit {commit} does not exist")
            }
            Unbound::RefElsewhere(name, _) => {
                let name = bound_name(name);
                format!("{name} in bindings for commit {commit} does not resolve to that commit")
            }
            other => format!("Commit {commit}: {other}"),
        }
    }
}

/// Returns a ref that a commit is bound to: plain, or `(COLLECTION, REF)`.
fn bound_name(name: &str) -> String {
    match name.starts_with('(') {
        true => format!("Collection–ref {name}"),
        false => format!("Ref ‘{name}’"),
    }
}
