//! Changes to the list of deployments, and to single ones.

use treeferry_core::error::{Error, Result};

use crate::deployment::Deployment;
use crate::kargs::KernelArgs;
use crate::load::State;
use crate::names::DeploymentId;
use crate::order::{Candidate, Placement, Retain, Role, Slot, order};
use crate::origin::Pinned;
use crate::sysroot::Sysroot;
use crate::write::Written;

impl Sysroot {
    /// Puts a new deployment into the menu, and drops those that nothing keeps. `merge` is the one
    /// that its `/etc` came from. The sysroot must be locked.
    pub async fn add_deployment(
        &self,
        state: &State,
        new: Deployment,
        merge: Option<&DeploymentId>,
        placement: Placement,
        retain: Retain,
    ) -> Result<Option<Written>> {
        let order = self.order(state, new, merge, placement, retain);
        self.write_deployments(state, order).await
    }

    /// Returns the deployments there are with a new one, in order.
    pub(crate) fn order(
        &self,
        state: &State,
        new: Deployment,
        merge: Option<&DeploymentId>,
        placement: Placement,
        retain: Retain,
    ) -> Vec<Deployment> {
        let candidate = |(index, deployment): (usize, &Deployment)| Candidate {
            stateroot: deployment.id.stateroot.clone(),
            pinned: deployment.pinned(),
            role: Role {
                booted: state.booted == Some(index),
                merge: merge == Some(&deployment.id),
            },
        };
        let candidates: Vec<_> = state
            .deployments
            .iter()
            .enumerate()
            .map(candidate)
            .collect();
        let slots = order(&candidates, &new.id.stateroot, placement, retain);
        let mut new = Some(new);
        let fill = |slot| match slot {
            Slot::New => new.take(),
            Slot::Old(index) => state.deployments.get(index).cloned(),
        };
        slots.into_iter().filter_map(fill).collect()
    }

    /// Removes a deployment from the menu; [`cleanup`](Self::cleanup) removes the rest of it.
    pub async fn undeploy(&self, state: &State, index: usize) -> Result<Option<Written>> {
        let target = state.at(index)?;
        if state.booted == Some(index) {
            let problem = format!("Cannot undeploy currently booted deployment {index}");
            return Err(Error::invalid(problem));
        }
        let others = state.deployments.iter().filter(|d| d.id != target.id);
        self.write_deployments(state, others.cloned().collect())
            .await
    }

    /// Makes the deployment at `index` the default: a rollback, if it is an older one.
    pub async fn set_default(&self, state: &State, index: usize) -> Result<Option<Written>> {
        let target = state.at(index)?.clone();
        let others = state.deployments.iter().filter(|d| d.id != target.id);
        let order = std::iter::once(target.clone())
            .chain(others.cloned())
            .collect();
        self.write_deployments(state, order).await
    }

    /// Makes the deployment before the booted one the default, or, if that is not the default, the
    /// booted one.
    pub async fn roll_back(&self, state: &State) -> Result<(usize, Option<Written>)> {
        let booted = state.booted;
        let index = match booted {
            Some(0) | None => {
                let stateroot = &state.at(0)?.id.stateroot;
                let mut older = state.deployments.iter().skip(1);
                let older = older
                    .position(|d| d.id.stateroot == *stateroot)
                    .map(|at| at + 1);
                older.ok_or_else(|| Error::missing("there is no deployment to roll back to"))?
            }
            Some(booted) => booted,
        };
        Ok((index, self.set_default(state, index).await?))
    }

    /// Keeps the deployment at `index` whatever is deployed later, or does not. Returns whether that
    /// was new.
    pub async fn pin(&self, state: &State, index: usize, pinned: Pinned) -> Result<bool> {
        let deployment = state.at(index)?;
        if deployment.is_staged() {
            let problem = "Cannot pin staged deployment: it may still be replaced before it boots";
            return Err(Error::invalid(problem));
        }
        if deployment.pinned() == pinned {
            return Ok(false);
        }
        let mut origin = deployment.origin.clone().unwrap_or_default();
        origin.set_pinned(pinned)?;
        self.write_origin(&deployment.id, &origin).await?;
        Ok(true)
    }

    /// Makes a deployment like `base` with other kernel arguments, and puts it first.
    pub async fn redeploy_with_args(
        &self,
        state: &State,
        base: &Deployment,
        args: KernelArgs,
    ) -> Result<Option<Written>> {
        let mut new = crate::deploy::NewDeployment::new(
            base.id.stateroot.clone(),
            base.id.checksum,
            base.origin.clone().unwrap_or_default().without_transient(),
        );
        new.merge = Some(base.clone());
        new.kargs = Some(args);
        let deployed = self.deploy(&new).await?;
        let (merge, retain) = (Some(&base.id), Retain::default());
        let placement = Placement::Default;
        self.add_deployment(state, deployed.deployment, merge, placement, retain)
            .await
    }

    /// Gives a deployment other kernel arguments where it stands. Its `ostree=` stays.
    pub async fn set_args_in_place(
        &self,
        state: &State,
        id: &DeploymentId,
        args: &KernelArgs,
    ) -> Result<Option<Written>> {
        let mut deployments = state.deployments.clone();
        let target = deployments.iter_mut().find(|d| d.id == *id);
        let target =
            target.ok_or_else(|| Error::missing(format!("there is no deployment {id}")))?;
        if target.is_staged() {
            let mut staged = state.staged.clone();
            if let Some(staged) = &mut staged {
                staged.kargs = Some(args.clone());
            }
            return self
                .run(move |sysroot| {
                    staged
                        .iter()
                        .try_for_each(|staged| crate::staging::write_staged(sysroot, staged))
                })
                .await
                .map(|()| None);
        }
        target.entry.set("options", &args.to_string());
        self.write_deployments(state, deployments).await
    }
}
