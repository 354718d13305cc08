//! Staged deployments: made now, put into the menu when the machine goes down.

use treeferry_core::error::{Error, Result};
use treeferry_core::ops::checkout::CheckoutReport;

use crate::cleanup::Cleanup;
use crate::deploy::{Deployed, NewDeployment};
use crate::deployment::{Deployment, Staging};
use crate::etc_merge::Strategies;
use crate::files::{self, Seal};
use crate::finish::write_origin;
use crate::layout::FAILURE_STAMP;
use crate::load::State;
use crate::order::{Placement, Retain};
use crate::staged_file::{Locked, StagedFile};
use crate::sysroot::Sysroot;
use crate::transition::{Phase, Transition};
use crate::write::Written;

/// What is staged, below `/run/ostree`; OSTree's names.
const STAGED: &str = "staged-deployment";
const LOCKED: &str = "staged-deployment-locked";

/// What came of finalizing.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Finalized {
    /// Nothing was staged.
    NothingStaged,
    /// Somebody holds it back.
    Locked,
    /// It is the default now.
    Done {
        /// What became of it.
        deployed: Box<Deployed>,
        /// What changed.
        written: Option<Written>,
    },
}

impl Sysroot {
    /// Makes a deployment that is put into the menu when the machine goes down, with the `/etc` of
    /// then. One that was staged before goes. The sysroot must be locked.
    pub async fn stage(
        &self,
        state: &State,
        new: &NewDeployment,
        locked: Locked,
    ) -> Result<(Deployment, CheckoutReport)> {
        state.require_booted().map_err(|e| {
            // What scripts look for.
            Error::invalid(format!("Cannot stage deployment: {e}"))
        })?;
        crate::soft_reboot::clear(self).await?;
        let (mut deployment, report) = self.check_out(new).await?;
        let bootcsum = deployment.bootcsum.unwrap_or(deployment.id.checksum);
        let mut staged = StagedFile::new(deployment.id.clone(), bootcsum);
        staged.merge = new
            .merge
            .as_ref()
            .map(|merge| (merge.id.clone(), merge.bootcsum));
        staged.kargs.clone_from(&new.kargs);
        staged.overlay_initrds.clone_from(&new.overlay_initrds);
        let extensions = new.merge.iter().flat_map(|merge| merge.entry.extensions());
        let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        staged.extensions = extensions.map(owned).collect();
        staged.locked = locked;
        let before = state.staged.as_ref().map(|staged| staged.target.clone());
        let origin = new.origin.clone();
        self.run(move |sysroot| {
            write_origin(sysroot, &staged.target, &origin)?;
            let boot_id = &sysroot.options().running.boot_id;
            let sync = &sysroot.options().host.boot_sync;
            sync.sync_deployments(&sysroot.layout().repo())?;
            Transition::staged(&staged, boot_id).write(sysroot)?;
            write_staged(sysroot, &staged)?;
            if let Some(before) = before.filter(|before| *before != staged.target) {
                crate::cleanup::remove_deployment(sysroot, &before)?;
            }
            sysroot.touch()
        })
        .await?;
        self.cleanup(Cleanup::Deployments).await?;
        deployment.staging = match locked {
            Locked::Yes => Staging::Locked,
            Locked::No => Staging::Staged,
        };
        Ok((deployment, report))
    }

    /// Holds the staged deployment back, or lets it go. The sysroot must be locked.
    pub async fn lock_finalization(&self, state: &State, locked: Locked) -> Result<()> {
        let staged = state.staged.clone();
        let mut staged = staged.ok_or_else(|| Error::missing("No staged deployment"))?;
        staged.locked = locked;
        self.run(move |sysroot| {
            write_staged(sysroot, &staged)?;
            sysroot.touch()
        })
        .await
    }

    /// Puts the staged deployment into the menu, as its default. Called when the machine goes down;
    /// the sysroot must be locked.
    ///
    /// # Errors
    /// The reason is kept where the next boot tells it: in `/boot` as OSTree does, and in the record
    /// of what is under way. What is staged stays so, and can be finalized again.
    pub async fn finalize_staged(&self, state: &State) -> Result<Finalized> {
        let Some(staged) = state.staged.clone() else {
            return Ok(Finalized::NothingStaged);
        };
        let first = state.deployments.first();
        if first.is_some_and(|d| d.staging == Staging::Locked) {
            return Ok(Finalized::Locked);
        }
        let begun = self.begin_finalization(&staged).await?;
        match self.finalize(state, &staged, begun.attempts > 1).await {
            Ok(done) => {
                self.run(move |sysroot| {
                    let done = Transition {
                        phase: Phase::Finalized,
                        reason: None,
                        ..begun
                    };
                    done.write(sysroot)?;
                    files::remove_file(&sysroot.layout().boot().join(FAILURE_STAMP))
                })
                .await?;
                Ok(done)
            }
            Err(error) => {
                self.keep_reason(begun, &error).await;
                Err(error)
            }
        }
    }

    async fn begin_finalization(&self, staged: &StagedFile) -> Result<Transition> {
        let staged = staged.clone();
        self.run(move |sysroot| {
            let boot_id = &sysroot.options().running.boot_id;
            let known = Transition::read(sysroot)?.filter(|t| t.target == staged.target);
            let mut transition = known.unwrap_or_else(|| Transition::staged(&staged, boot_id));
            transition.phase = Phase::Finalizing;
            transition.boot_id.clone_from(boot_id);
            transition.attempts += 1;
            transition.write(sysroot)?;
            Ok(transition)
        })
        .await
    }

    async fn finalize(&self, state: &State, staged: &StagedFile, again: bool) -> Result<Finalized> {
        let find = |staged: &StagedFile| {
            let Some((id, _)) = &staged.merge else {
                return Ok(None);
            };
            state.find(id).cloned().map(Some).ok_or_else(|| {
                let problem = format!(
                    "Failed to find merge deployment {} for staged",
                    id.dir_name()
                );
                Error::missing(problem)
            })
        };
        let merge = find(staged)?;
        let mut deployment = state.at(0)?.clone();
        let root = self.layout().deployment(&deployment.id);
        if again {
            // The last attempt may have merged a part.
            let path = root.clone();
            let labels = self
                .run(move |_| {
                    files::set_seal(&path, Seal::Off)?;
                    treeferry_core::ops::labels::Labels::read_directory(&path)
                })
                .await?;
            self.fill_etc(&deployment.id, labels).await?;
        }
        deployment.staging = Staging::Final;
        let merge_id = merge.as_ref().map(|merge| merge.id.clone());
        let deployed = self
            .finish(deployment, merge, Strategies::default())
            .await?;
        let final_state = state.without_staged();
        let order = self.order(
            &final_state,
            deployed.deployment.clone(),
            merge_id.as_ref(),
            Placement::Default,
            Retain::default(),
        );
        let written = self.write_deployments(&final_state, order).await?;
        self.run(forget).await?;
        // What may be in the way in /boot; the repository is pruned when there is time.
        self.cleanup(Cleanup::Deployments).await?;
        Ok(Finalized::Done {
            deployed: Box::new(deployed),
            written,
        })
    }

    /// Keeps why finalization failed. That may fail too, on a full disk: then the log has it.
    async fn keep_reason(&self, begun: Transition, error: &Error) {
        let reason = format!("{error:?}");
        let kept = self
            .run(move |sysroot| {
                let stamp = sysroot.layout().boot().join(FAILURE_STAMP);
                let in_boot = files::make_dirs(stamp.parent().unwrap_or(&stamp), 0o755)
                    .and_then(|()| files::replace(&stamp, reason.as_bytes(), 0o644));
                let failed = Transition {
                    phase: Phase::Failed,
                    reason: Some(reason),
                    ..begun
                };
                failed.write(sysroot).and(in_boot)
            })
            .await;
        if let Err(error) = kept {
            tracing::error!(%error, "why finalization failed could not be kept");
        }
    }
}

impl State {
    /// Returns this without its staged deployment, as if it had never been.
    pub(crate) fn without_staged(&self) -> Self {
        let mut state = self.clone();
        let staged = state.deployments.first().is_some_and(Deployment::is_staged);
        if staged {
            state.deployments.remove(0);
            state.booted = state.booted.map(|index| index - 1);
        }
        state.staged = None;
        state
    }
}

/// Writes what is staged to `/run`. **Blocking.**
pub(crate) fn write_staged(sysroot: &Sysroot, staged: &StagedFile) -> Result<()> {
    let path = sysroot.run_path(STAGED);
    files::make_dirs(&sysroot.run_path(""), 0o755)?;
    files::replace(&path, &staged.to_bytes(), 0o644)?;
    let lock = sysroot.run_path(LOCKED);
    match staged.locked {
        Locked::Yes => files::replace(&lock, b"", 0o640),
        Locked::No => files::remove_file(&lock),
    }
}

/// Forgets what is staged; its deployment stays where it is. **Blocking.**
pub(crate) fn forget(sysroot: &Sysroot) -> Result<()> {
    files::remove_file(&sysroot.run_path(STAGED))?;
    files::remove_file(&sysroot.run_path(LOCKED))?;
    let transition = Transition::read(sysroot)?;
    if transition.is_some_and(|t| t.phase == Phase::Staged) {
        Transition::forget(sysroot)?;
    }
    Ok(())
}
