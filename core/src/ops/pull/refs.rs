//! Which commits a pull is about, and moving refs to them at its end.

use std::collections::HashMap;

use super::summary::none_there;
use super::summary_index::IndexedRefs;
use super::{EndOfLife, PullOptions, PullSource, PulledRef, RefsFrom, nothing_there};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::format::{Branch, Checksum, Summary, SummaryRef};
use crate::repo::Repo;
use crate::store::{ExpectedRef, RefAnswer, RefName, RefUpdate, RefValue, SignedSummary};
use crate::transport::retrying;

/// A ref, what it holds, and what it is to hold.
#[derive(Debug, Clone)]
pub(super) struct Planned {
    pub(super) branch: Option<Branch>,
    pub(super) name: Option<RefName>,
    pub(super) before: Option<RefValue>,
    pub(super) commit: Checksum,
}

/// Returns what the refs are to hold that are pulled, and hold now.
pub(super) async fn planned(
    repo: &Repo,
    source: &PullSource,
    options: &PullOptions,
    summary: Option<&SignedSummary>,
) -> Result<Vec<Planned>> {
    let wanted = resolve(repo, source, options, summary).await?;
    let mut planned = Vec::with_capacity(wanted.len());
    for (branch, commit) in wanted {
        let name = branch.as_ref().map(|branch| options.naming.name(branch));
        let before = match &name {
            Some(name) => repo.refs().read_ref(name).await?,
            None => None,
        };
        planned.push(Planned {
            branch,
            name,
            before,
            commit,
        });
    }
    Ok(planned)
}

async fn resolve(
    repo: &Repo,
    source: &PullSource,
    options: &PullOptions,
    summary: Option<&SignedSummary>,
) -> Result<Vec<(Option<Branch>, Checksum)>> {
    if options.refs.is_empty() {
        return match summary {
            Some(summary) => all_of_summary(source, summary),
            None => all_of_index(repo, source, options).await,
        };
    }
    let mut index = Indexed::NotAsked;
    let mut wanted = Vec::with_capacity(options.refs.len());
    for pull_ref in &options.refs {
        let commit = match (&pull_ref.branch, pull_ref.commit) {
            (_, Some(commit)) => commit,
            // Of a signed summary the refs are known to be the owner's: those of files are not.
            (Some(branch), None) if options.verify.summary.is_required() => {
                match in_summary(source, summary, branch)? {
                    Some(commit) => commit,
                    None => {
                        let found = index.find(repo, source, options, branch).await?;
                        found.ok_or_else(|| not_in_signed(source, summary, branch))?
                    }
                }
            }
            (Some(branch), None) => match listed(source, options, summary, branch)? {
                Some(commit) => commit,
                None => match read_branch(source, options, branch).await {
                    // Whoever serves neither refs nor all of them in one summary may have an index.
                    Err(error) if error.kind() == ErrorKind::Missing => {
                        let found = index.find(repo, source, options, branch).await?;
                        found.ok_or(error)?
                    }
                    found => found?,
                },
            },
            (None, None) => return Err(Error::invalid("neither a ref nor a commit was named")),
        };
        wanted.push((pull_ref.branch.clone(), commit));
    }
    Ok(wanted)
}

fn in_summary(
    source: &PullSource,
    summary: Option<&SignedSummary>,
    branch: &Branch,
) -> Result<Option<Checksum>> {
    let Some(summary) = summary else {
        return Ok(None);
    };
    let parsed = parse(source, summary)?;
    Ok(parsed.find(branch.as_str()).map(|found| found.commit))
}

fn not_in_signed(source: &PullSource, summary: Option<&SignedSummary>, branch: &Branch) -> Error {
    if summary.is_none() {
        return none_there(source);
    }
    let problem = format!("No such branch '{branch}' in the repository's signed summary");
    Error::missing(problem).about(Subject::Url(source.repo.describe()))
}

/// The index of summaries of a remote, read when it is first needed.
enum Indexed<'a> {
    NotAsked,
    None,
    Read(IndexedRefs<'a>),
}

impl<'a> Indexed<'a> {
    async fn find(
        &mut self,
        repo: &Repo,
        source: &'a PullSource,
        options: &PullOptions,
        branch: &Branch,
    ) -> Result<Option<Checksum>> {
        if matches!(self, Self::NotAsked) {
            *self = match IndexedRefs::read(repo.pool(), source, options).await? {
                Some(read) => Self::Read(read),
                None => Self::None,
            };
        }
        match self {
            Self::Read(read) => read.find(repo, branch.as_str()).await,
            Self::NotAsked | Self::None => Ok(None),
        }
    }
}

/// Returns what a summary says that `branch` holds, if that is where to look.
fn listed(
    source: &PullSource,
    options: &PullOptions,
    summary: Option<&SignedSummary>,
    branch: &Branch,
) -> Result<Option<Checksum>> {
    let Some(summary) = summary.filter(|_| options.refs_from == RefsFrom::Summary) else {
        return Ok(None);
    };
    let found = parse(source, summary)?.find(branch.as_str()).cloned();
    Ok(found.map(|found| found.commit))
}

fn parse(source: &PullSource, summary: &SignedSummary) -> Result<Summary> {
    Summary::parse(&summary.summary).map_err(|e| {
        Error::corrupt("its summary is not well formed")
            .because(e)
            .about(Subject::Url(source.repo.describe()))
    })
}

async fn all_of_index(
    repo: &Repo,
    source: &PullSource,
    options: &PullOptions,
) -> Result<Vec<(Option<Branch>, Checksum)>> {
    let Some(index) = IndexedRefs::read(repo.pool(), source, options).await? else {
        if options.verify.summary.is_required() {
            return Err(none_there(source));
        }
        let problem = "there is no summary to list its refs: name the refs to pull, or have its \
                       owner write one ('summary --update')";
        return Err(Error::missing(problem).about(Subject::Url(source.repo.describe())));
    };
    named(source, &index.all(repo).await?)
}

fn all_of_summary(
    source: &PullSource,
    summary: &SignedSummary,
) -> Result<Vec<(Option<Branch>, Checksum)>> {
    named(source, &parse(source, summary)?.refs)
}

fn named(source: &PullSource, refs: &[SummaryRef]) -> Result<Vec<(Option<Branch>, Checksum)>> {
    let url = || Subject::Url(source.repo.describe());
    let refs = refs.iter().map(|entry| {
        let branch = Branch::new(&entry.name).map_err(|e| {
            Error::corrupt("its summary names a ref that cannot be")
                .because(e)
                .about(url())
        })?;
        Ok((Some(branch), entry.commit))
    });
    refs.collect()
}

/// Reads the ref itself; the summary may be older, and is asked only where refs are not served.
async fn read_branch(
    source: &PullSource,
    options: &PullOptions,
    branch: &Branch,
) -> Result<Checksum> {
    let retry = &options.replicate.retry;
    let read = || source.repo.read_branch(None, branch);
    if let Some(commit) = retrying(retry, || Box::pin(read())).await? {
        return Ok(commit);
    }
    if let Some(id) = &options.collection_id {
        let read = || source.repo.read_branch(Some(id), branch);
        if let Some(commit) = retrying(retry, || Box::pin(read())).await? {
            return Ok(commit);
        }
    }
    let url = || Subject::Url(source.repo.describe());
    let summary = retrying(retry, || Box::pin(source.repo.read_summary())).await?;
    if let Some(summary) = summary {
        let parsed = parse(source, &summary)?;
        if let Some(found) = parsed.find(branch.as_str()) {
            return Ok(found.commit);
        }
    } else if retrying(retry, || Box::pin(source.repo.read_config()))
        .await?
        .is_none()
    {
        return Err(nothing_there(source));
    }
    Err(Error::missing(format!("No such branch '{branch}' in the repository")).about(url()))
}

/// Moves each ref from what it held when the pull began to what was pulled. `ends` is what the commits
/// said when they were admitted.
pub(super) async fn move_refs(
    repo: &Repo,
    planned: Vec<Planned>,
    ends: &HashMap<Checksum, EndOfLife>,
) -> Result<Vec<PulledRef>> {
    let updates: Vec<_> = planned.iter().filter_map(update).collect();
    let answers = repo.refs().update_refs(&updates).await?;
    for (update, answer) in updates.iter().zip(answers) {
        if let RefAnswer::Conflict { current } = answer
            && current != update.new
        {
            let now = match current {
                Some(RefValue::Commit(commit)) => format!("it is at {commit}"),
                Some(RefValue::Alias(name)) => format!("it is an alias of {name}"),
                None => "it is gone".to_owned(),
            };
            let problem = format!("was moved by another while it was being pulled: {now}");
            let error = Error::new(ErrorKind::Locked, problem);
            return Err(error.about(Subject::Ref(update.name.to_string())));
        }
    }
    let pulled = planned.into_iter().map(|planned| PulledRef {
        name: planned.name,
        before: match planned.before {
            Some(RefValue::Commit(commit)) => Some(commit),
            _ => None,
        },
        now: planned.commit,
        end_of_life: ends.get(&planned.commit).cloned(),
    });
    Ok(pulled.collect())
}

fn update(planned: &Planned) -> Option<RefUpdate> {
    let new = RefValue::Commit(planned.commit);
    let name = planned.name.clone()?;
    if planned.before.as_ref() == Some(&new) {
        return None;
    }
    let expected = planned
        .before
        .clone()
        .map_or(ExpectedRef::Absent, ExpectedRef::Value);
    Some(RefUpdate {
        name,
        expected,
        new: Some(new),
    })
}
