//! What is done once a boot has succeeded: the deployment is marked good, a change that was cut off is
//! continued, and what failed is told.

use treeferry_core::error::{Error, Result};

use crate::boot_entry::{EntryName, Tries};
use crate::cleanup::Cleanup;
use crate::files;
use crate::layout::FAILURE_STAMP;
use crate::load::State;
use crate::menu;
use crate::names::DeploymentId;
use crate::soft_reboot;
use crate::sysroot::Sysroot;
use crate::transition::{Facts, Next, Phase, Presence, Running, Transition, WhichBoot, next};

/// What a boot showed, and what was done about it.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct BootReport {
    /// The deployment that came up for the first time, or was counted.
    pub marked_good: Option<DeploymentId>,
    /// The deployment that was cut off on its way, and waits again for the machine to go down.
    pub staged_again: Option<DeploymentId>,
    /// The deployment that did not come up; what runs is the default again.
    pub fell_back_from: Option<DeploymentId>,
    /// Why the last finalization failed.
    pub failure: Option<String>,
}

impl Sysroot {
    /// Looks at how the machine came up. The sysroot must be locked.
    pub async fn boot_complete(&self, state: &State) -> Result<BootReport> {
        let failure = self
            .run(|sysroot| {
                soft_reboot::complete(sysroot)?;
                let stamp = sysroot.layout().boot().join(FAILURE_STAMP);
                let reason = files::read_text(&stamp)?;
                files::remove_file(&stamp)?;
                Ok(reason)
            })
            .await?;
        let mut report = BootReport {
            failure,
            ..BootReport::default()
        };
        let transition = self.transition().await?;
        let decided = transition.as_ref().map(|t| self.decide(state, t));
        if decided.is_some_and(|decided| decided != Next::Wait) {
            // A change of the menu may have been cut off between its renames.
            let menu = state.menu;
            self.run(move |sysroot| menu::settle(sysroot, menu)).await?;
        }
        match (decided, transition) {
            (Some(Next::Wait), _) => return Ok(report),
            (Some(Next::StageAgain), Some(transition)) => {
                report.staged_again = Some(transition.target.clone());
                self.stage_again(transition).await?;
            }
            (Some(Next::FallBack), Some(transition)) => {
                report.fell_back_from = Some(transition.target);
                self.fall_back(state).await?;
                self.run(Transition::forget).await?;
            }
            (Some(Next::Report), Some(transition)) => {
                let reason = transition.reason.unwrap_or_else(|| {
                    format!(
                        "{} was {} and is gone",
                        transition.target,
                        transition.phase.as_str()
                    )
                });
                report.failure = report.failure.or(Some(reason));
                self.run(Transition::forget).await?;
            }
            (Some(Next::MarkGood), Some(transition)) => {
                report.marked_good = Some(transition.target);
                self.run(Transition::forget).await?;
            }
            _ => {}
        }
        if report.fell_back_from.is_none() && out_of_tries(state) {
            report.fell_back_from = state.in_menu().first().map(|d| d.id.clone());
            self.fall_back(state).await?;
        }
        if self.mark_good(state).await? {
            report.marked_good = state.booted().map(|d| d.id.clone());
        }
        Ok(report)
    }

    fn decide(&self, state: &State, transition: &Transition) -> Next {
        let id = &transition.target;
        let presence = |there: bool| {
            if there {
                Presence::There
            } else {
                Presence::Gone
            }
        };
        let same_boot = transition.boot_id == self.options().running.boot_id;
        let facts = Facts {
            boot: if same_boot {
                WhichBoot::This
            } else {
                WhichBoot::Earlier
            },
            target: presence(
                files::look(&self.layout().deployment(id)).is_ok_and(|meta| meta.is_some()),
            ),
            booted: match state.booted() {
                Some(booted) if booted.id == *id => Running::Target,
                _ => Running::Other,
            },
            in_menu: presence(state.in_menu().iter().any(|d| d.id == *id)),
        };
        next(transition.phase, transition.attempts, facts)
    }

    async fn stage_again(&self, transition: Transition) -> Result<()> {
        self.run(move |sysroot| {
            let staged = transition.staged_file()?;
            crate::staging::write_staged(sysroot, &staged)?;
            let again = Transition {
                phase: Phase::Staged,
                boot_id: sysroot.options().running.boot_id.clone(),
                ..transition
            };
            again.write(sysroot)?;
            sysroot.touch()
        })
        .await
    }

    /// Makes what runs the default, so that the next boot does not try the other one again.
    async fn fall_back(&self, state: &State) -> Result<()> {
        let booted = state
            .booted
            .ok_or_else(|| Error::invalid("the running system is in no menu"))?;
        self.set_default(state, booted).await?;
        self.cleanup(Cleanup::Deployments).await.map(drop)
    }

    /// Stops counting how often the running deployment is tried. Returns whether it was counted.
    async fn mark_good(&self, state: &State) -> Result<bool> {
        let Some(booted) = state.booted().map(|d| d.id.clone()) else {
            return Ok(false);
        };
        self.run(move |sysroot| {
            // A fallback may have written another menu meanwhile.
            let state = sysroot.load_blocking()?;
            let entry = state.find(&booted).and_then(|d| d.entry.name.clone());
            let Some(name) = entry.filter(|name| name.tries.is_some()) else {
                return Ok(false);
            };
            let good = EntryName {
                tries: None,
                ..name.clone()
            };
            menu::rename_entry(sysroot, state.menu, &name, &good)?;
            Ok(true)
        })
        .await
    }
}

/// Returns whether the default was tried as often as it may be, and something else runs. Pure.
fn out_of_tries(state: &State) -> bool {
    let Some((default, booted)) = state
        .deployments
        .iter()
        .find(|d| !d.is_staged())
        .zip(state.booted())
    else {
        return false;
    };
    let tries = default.entry.name.as_ref().and_then(|name| name.tries);
    let spent = |tries: Tries| tries.left == 0 && tries.done.unwrap_or(0) > 0;
    default.id != booted.id && tries.is_some_and(spent)
}
