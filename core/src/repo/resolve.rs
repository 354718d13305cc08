//! From what users write for a commit to its checksum.

use std::str::FromStr;

use super::Repo;
use crate::error::{Error, Result};
use crate::format::{Checksum, FormatError, ObjectType, Refspec};
use crate::store::{RefName, RefValue};

/// How many aliases are followed before a ring is assumed.
const ALIASES_MAX: usize = 16;

/// A commit as users write it: a checksum or its beginning, `BRANCH`, `REMOTE:BRANCH`, each with
/// any number of `^` for the parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rev {
    base: Base,
    parents: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Base {
    Checksum(Checksum),
    /// A ref; or, if there is no such ref, the beginning of a checksum.
    Name {
        refspec: Option<Refspec>,
        prefix: Option<String>,
    },
}

impl FromStr for Rev {
    type Err = FormatError;

    fn from_str(text: &str) -> std::result::Result<Self, FormatError> {
        let base = text.trim_end_matches('^');
        let parents = text.len() - base.len();
        if let Ok(checksum) = base.parse() {
            return Ok(Self {
                base: Base::Checksum(checksum),
                parents,
            });
        }
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let prefix = !base.is_empty() && base.len() < 64 && base.bytes().all(hex);
        let prefix = prefix.then(|| base.to_owned());
        let refspec = match base.parse() {
            Ok(refspec) => Some(refspec),
            Err(_) if prefix.is_some() => None,
            Err(error) => return Err(error),
        };
        Ok(Self {
            base: Base::Name { refspec, prefix },
            parents,
        })
    }
}

impl Repo {
    /// Finds the commit that `rev` means; it must exist.
    pub async fn resolve(&self, rev: &str) -> Result<Checksum> {
        let missing = || Error::missing("not found").about(crate::Subject::Ref(rev.to_owned()));
        self.resolve_optional(rev).await?.ok_or_else(missing)
    }

    /// Finds the commit that `rev` means; `None` when there is no such ref or beginning.
    pub async fn resolve_optional(&self, rev: &str) -> Result<Option<Checksum>> {
        let invalid = |e: FormatError| {
            Error::invalid("is not a valid revision")
                .because(e)
                .about(crate::Subject::Ref(rev.to_owned()))
        };
        let parsed: Rev = rev.parse().map_err(invalid)?;
        let mut checksum = match parsed.base {
            Base::Checksum(checksum) => checksum,
            Base::Name { refspec, prefix } => {
                let found = match refspec {
                    Some(refspec) => self.resolve_refspec(&refspec).await?,
                    None => None,
                };
                let found = match (found, prefix) {
                    (None, Some(prefix)) => self.resolve_prefix(&prefix).await?,
                    (found, _) => found,
                };
                let Some(found) = found else { return Ok(None) };
                found
            }
        };
        for _ in 0..parsed.parents {
            let commit = self.load_commit(&checksum).await?;
            checksum = commit.parent.ok_or_else(|| {
                Error::missing(format!("commit {checksum} has no parent"))
                    .about(crate::Subject::Ref(rev.to_owned()))
            })?;
        }
        Ok(Some(checksum))
    }

    /// Finds the commit of a ref. A plain branch that is not a ref here is taken for
    /// `REMOTE/BRANCH`, and else looked for among the branches of all remotes, as OSTree does.
    pub async fn resolve_refspec(&self, refspec: &Refspec) -> Result<Option<Checksum>> {
        if let Some(checksum) = self.follow_ref(&refspec.clone().into()).await? {
            return Ok(Some(checksum));
        }
        if refspec.remote.is_some() {
            return Ok(None);
        }
        if let Some(name) = as_remote_branch(refspec)
            && let Some(checksum) = self.follow_ref(&name).await?
        {
            return Ok(Some(checksum));
        }
        let all = self.refs.list_refs(&crate::store::RefSpace::All).await?;
        for (name, _) in all {
            if matches!(&name, RefName::Remote(_, branch) if *branch == refspec.branch) {
                return self.follow_ref(&name).await;
            }
        }
        Ok(None)
    }

    /// Reads a ref, following aliases.
    pub async fn follow_ref(&self, name: &RefName) -> Result<Option<Checksum>> {
        let mut name = name.clone();
        for _ in 0..ALIASES_MAX {
            match self.refs.read_ref(&name).await? {
                None => return Ok(None),
                Some(RefValue::Commit(checksum)) => return Ok(Some(checksum)),
                Some(RefValue::Alias(target)) => name = target,
            }
        }
        let problem = format!("more than {ALIASES_MAX} aliases lead from one to the next");
        Err(Error::corrupt(problem).about(crate::Subject::Ref(name.to_string())))
    }

    async fn resolve_prefix(&self, prefix: &str) -> Result<Option<Checksum>> {
        use futures::TryStreamExt;
        let commits = self.objects.list(ObjectType::Commit);
        let matching = commits.try_filter_map(|listed| {
            let hex = listed.name.checksum.hex();
            let found = hex
                .starts_with(prefix.as_bytes())
                .then_some(listed.name.checksum);
            futures::future::ready(Ok(found))
        });
        let mut found: Vec<Checksum> = matching.try_collect().await?;
        found.sort_unstable();
        found.dedup();
        match found.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(*one)),
            many => {
                let problem = format!("matches {} commits: give more digits", many.len());
                Err(Error::invalid(problem).about(crate::Subject::Ref(prefix.to_owned())))
            }
        }
    }
}

/// Reads a branch `a/b` as the branch `b` of a remote `a`.
fn as_remote_branch(refspec: &Refspec) -> Option<RefName> {
    let (remote, branch) = refspec.branch.as_str().split_once('/')?;
    Some(RefName::Remote(remote.parse().ok()?, branch.parse().ok()?))
}
