//! What an upgrade brings: from the origin of a deployment to the commit to deploy.
//!
//! Pulling is not done here. Whoever upgrades asks what is [wanted](Upgrade::wanted), pulls it, and
//! asks what [came](Upgrade::find): that may want another ref, if the one that was pulled has ended.

use treeferry_core::error::{Error, Result};
use treeferry_core::format::{Branch, Checksum, RemoteName};
use treeferry_core::ops::pull::PullRef;
use treeferry_core::store::{ExpectedRef, RefName, RefUpdate, RefValue};

use crate::deploy::NewDeployment;
use crate::deployment::Deployment;
use crate::load::State;
use crate::names::Stateroot;
use crate::origin::Origin;
use crate::sysroot::Sysroot;

/// An upgrade, as far as it is.
#[derive(Debug, Clone)]
pub struct Upgrade {
    stateroot: Stateroot,
    merge: Deployment,
    origin: Origin,
}

/// Whether an origin that says that something has to be set up first is obeyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unconfigured {
    /// It is: the upgrade fails with what it says.
    Refuse,
    /// It is not: another origin is about to be set.
    Ignore,
}

/// Whether an older commit is deployed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Downgrade {
    /// It is.
    Allow,
    /// It is not.
    Refuse,
}

/// What came of a pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// What is deployed already.
    Unchanged,
    /// This commit.
    New(Checksum),
    /// The ref has ended, and names another: ask again what is wanted.
    Moved,
}

impl Upgrade {
    /// Begins an upgrade of what is deployed in a stateroot.
    pub fn new(
        state: &State,
        stateroot: Option<&Stateroot>,
        unconfigured: Unconfigured,
    ) -> Result<Self> {
        let stateroot = state.stateroot(stateroot)?;
        let missing = || Error::missing(format!("No previous deployment for OS '{stateroot}'"));
        let merge = state.merge_source(&stateroot).ok_or_else(missing)?.clone();
        let origin = merge.origin.clone().ok_or_else(|| {
            Error::missing(format!(
                "No origin known for deployment {}",
                merge.id.dir_name()
            ))
        })?;
        if let (Unconfigured::Refuse, Some(text)) = (unconfigured, origin.unconfigured_state()) {
            return Err(Error::invalid(format!("origin unconfigured-state: {text}")));
        }
        origin.require_refspec()?;
        Ok(Self {
            stateroot,
            merge,
            origin: origin.without_transient(),
        })
    }

    /// Returns where it comes from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Has it come from somewhere else.
    pub fn set_origin(&mut self, origin: Origin) -> Result<()> {
        origin.require_refspec()?;
        self.origin = origin;
        Ok(())
    }

    /// Returns what is deployed now.
    pub fn deployed(&self) -> &Deployment {
        &self.merge
    }

    /// Returns what is to be pulled from which remote; `None` if the ref is the repository's own.
    pub fn wanted(&self) -> Result<Option<(RemoteName, PullRef)>> {
        let refspec = self.origin.require_refspec()?;
        let Some(remote) = refspec.remote else {
            return Ok(None);
        };
        let wanted = match self.origin.override_commit()? {
            Some(commit) => PullRef {
                branch: None,
                commit: Some(commit),
            },
            None => PullRef {
                branch: Some(refspec.branch),
                commit: None,
            },
        };
        Ok(Some((remote, wanted)))
    }

    /// Looks at what came.
    ///
    /// # Errors
    /// Fails if it is older than what is deployed, unless that is allowed.
    pub async fn find(&mut self, sysroot: &Sysroot, downgrade: Downgrade) -> Result<Found> {
        let repo = sysroot.repo();
        let refspec = self.origin.require_refspec()?;
        let override_commit = self.origin.override_commit()?;
        let held = repo.resolve_refspec(&refspec).await?;
        let missing = || Error::missing(format!("Refspec '{refspec}' not found"));
        let commit = match override_commit {
            Some(commit) => commit,
            None => held.ok_or_else(missing)?,
        };
        let loaded = repo.load_commit(&held.unwrap_or(commit)).await?;
        let ended = loaded
            .metadata
            .get("ostree.endoflife-rebase")
            .and_then(|value| value.as_str());
        if let Some(branch) = ended.filter(|branch| *branch != refspec.branch.as_str()) {
            let branch = Branch::new(branch)?;
            let moved = match &refspec.remote {
                Some(remote) => format!("{remote}:{branch}"),
                None => branch.to_string(),
            };
            self.origin.set("refspec", &moved)?;
            return Ok(Found::Moved);
        }
        if let Some(commit) = override_commit {
            let update = RefUpdate {
                name: RefName::from(refspec),
                expected: ExpectedRef::Any,
                new: Some(RefValue::Commit(commit)),
            };
            repo.refs().update_refs(&[update]).await?;
        }
        let from = self.merge.id.checksum;
        if commit == from {
            return Ok(Found::Unchanged);
        }
        if downgrade == Downgrade::Refuse {
            self.refuse_older(sysroot, &commit).await?;
        }
        Ok(Found::New(commit))
    }

    async fn refuse_older(&self, sysroot: &Sysroot, commit: &Checksum) -> Result<()> {
        let from = self.merge.id.checksum;
        let old = sysroot.repo().load_commit(&from).await?.timestamp;
        let new = sysroot.repo().load_commit(commit).await?.timestamp;
        if new >= old {
            return Ok(());
        }
        let problem = format!(
            "Upgrade target revision '{commit}' with timestamp '{new}' is chronologically older than \
             current revision '{from}' with timestamp '{old}'; use --allow-downgrade to permit"
        );
        Err(Error::invalid(problem))
    }

    /// Returns the deployment to make of what came.
    pub fn deployment(&self, commit: Checksum) -> NewDeployment {
        let mut new = NewDeployment::new(self.stateroot.clone(), commit, self.origin.clone());
        new.merge = Some(self.merge.clone());
        new
    }
}
