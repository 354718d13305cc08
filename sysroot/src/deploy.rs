//! Makes a deployment: checks a commit out, and gives it `/etc` and `/var`.

use std::path::Path;
use std::sync::Arc;

use treeferry_core::error::{Error, Result};
use treeferry_core::format::Checksum;
use treeferry_core::ops::checkout::{
    CheckoutItem, CheckoutOptions, CheckoutReport, Destination, IfMissing, Overwrite,
    PassthroughWhiteouts, Sharing, checkout,
};
use treeferry_core::ops::labels::Labels;

use crate::boot_entry::BootEntry;
use crate::deployment::Deployment;
use crate::etc_merge::Strategies;
use crate::files;
use crate::install::STAGED_INITRDS;
use crate::kargs::KernelArgs;
use crate::kernel::Kernel;
use crate::labels::Prefixed;
use crate::names::{DeploymentId, Stateroot};
use crate::origin::Origin;
use crate::sysroot::{Sysroot, fill_var};

/// A deployment to make.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NewDeployment {
    /// The stateroot.
    pub stateroot: Stateroot,
    /// The commit, which must be in the repository as a whole.
    pub commit: Checksum,
    /// Where it comes from.
    pub origin: Origin,
    /// What its `/etc` and kernel arguments come from; `None` for those that the tree ships.
    pub merge: Option<Deployment>,
    /// Its kernel arguments, if not those of `merge`.
    pub kargs: Option<KernelArgs>,
    /// What is laid over its initramfs: see [`Sysroot::stage_overlay_initrd`].
    pub overlay_initrds: Vec<Checksum>,
    /// What happens in `/etc` where both sides changed something.
    pub strategies: Strategies,
}

impl NewDeployment {
    /// Names a commit to deploy, with all else as it comes.
    pub fn new(stateroot: Stateroot, commit: Checksum, origin: Origin) -> Self {
        Self {
            stateroot,
            commit,
            origin,
            merge: None,
            kargs: None,
            overlay_initrds: Vec::new(),
            strategies: Strategies::default(),
        }
    }
}

/// A deployment that was made, and what it took.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Deployed {
    /// The deployment. It is in no menu yet.
    pub deployment: Deployment,
    /// What was linked and copied.
    pub checkout: CheckoutReport,
    /// What became of `/etc`, if it was merged.
    pub etc: Option<crate::etc_merge::MergeReport>,
    /// How many paths of `/etc` were changed, removed and added by the administrator.
    pub etc_counts: Option<(usize, usize, usize)>,
    /// Whether `/var` was labelled, or would have been: it had not been before.
    pub var: VarLabels,
}

/// Whether `/var` was labelled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum VarLabels {
    /// It was, or there is no policy that says how.
    Done,
    /// It had been before.
    #[default]
    There,
}

impl Sysroot {
    /// Makes a deployment, with its `/etc` merged. The sysroot must be locked, and
    /// [`write_deployments`](Self::write_deployments) puts it into the menu.
    pub async fn deploy(&self, new: &NewDeployment) -> Result<Deployed> {
        let (deployment, checkout) = self.check_out(new).await?;
        let strategies = new.strategies.clone();
        let merge = new.merge.clone();
        let done = self.finish(deployment, merge, strategies).await?;
        Ok(Deployed { checkout, ..done })
    }

    /// Checks a commit out, and gives it the `/etc` that it ships, and `/var` if that is empty.
    pub(crate) async fn check_out(
        &self,
        new: &NewDeployment,
    ) -> Result<(Deployment, CheckoutReport)> {
        let (stateroot, commit) = (new.stateroot.clone(), new.commit);
        let id = self
            .run(move |sysroot| {
                sysroot.require_stateroot(&stateroot)?;
                let dir = sysroot.layout().stateroot(&stateroot);
                files::make_dirs(&dir.join("deploy"), 0o755)?;
                let serial = next_serial(&dir.join("deploy"), &commit)?;
                Ok(DeploymentId {
                    stateroot,
                    checksum: commit,
                    serial,
                })
            })
            .await?;
        let root = self.layout().deployment(&id);
        tracing::info!(deployment = %id, "step: checking out");
        let mut options = CheckoutOptions::default();
        options.passthrough_whiteouts = PassthroughWhiteouts::Process;
        let item = CheckoutItem::commit(commit);
        let report = checkout(self.repo(), &item, &Destination::path(&root), &options).await?;
        let (path, trees) = (root.clone(), self.options().device_trees);
        let (bootcsum, labels) = self
            .run(move |_| {
                let kernel = Kernel::find(&path, trees)?;
                prepare_etc(&path)?;
                Ok((kernel.bootcsum, Labels::read_directory(&path)?))
            })
            .await?;
        self.write_image(&id, new).await?;
        self.fill_etc(&id, labels).await?;
        self.fill_var(&id).await?;
        let entry = match &new.kargs {
            Some(args) => BootEntry::with_args(args),
            None => BootEntry::default(),
        };
        let deployment = Deployment {
            bootcsum: Some(bootcsum),
            entry,
            origin: Some(new.origin.clone()),
            overlay_initrds: new.overlay_initrds.clone(),
            ..Deployment::new(id)
        };
        Ok((deployment, report))
    }

    /// Copies `/usr/etc` to `/etc`. What was there goes.
    pub(crate) async fn fill_etc(&self, id: &DeploymentId, labels: Option<Labels>) -> Result<()> {
        let root = self.layout().deployment(id);
        let etc = root.join("etc");
        let shipped = self
            .run(move |_| {
                if files::look(&root.join("usr/etc"))?.is_none() {
                    return Ok(false);
                }
                files::remove_all(&root.join("etc"))?;
                Ok(true)
            })
            .await?;
        if !shipped {
            return Ok(());
        }
        let mut options = CheckoutOptions::default();
        options.sharing = Sharing::Copies;
        options.labels = labels.map(|labels| -> Arc<dyn treeferry_core::ops::checkout::Labels> {
            Arc::new(Prefixed {
                labels: Arc::new(labels),
                prefix: "/etc",
            })
        });
        // A tree that ships /etc alone has it in /usr/etc only once it is checked out.
        let from = ["/usr/etc", "/etc"].map(|path| CheckoutItem {
            if_missing: IfMissing::Ignore,
            ..CheckoutItem::subpath(id.checksum, path)
        });
        for item in from {
            checkout(self.repo(), &item, &Destination::path(&etc), &options).await?;
            let path = etc.clone();
            if self.run(move |_| Ok(files::look(&path)?.is_some())).await? {
                break;
            }
        }
        Ok(())
    }

    /// Fills `/var` with what the image ships there, if nothing is in it yet.
    async fn fill_var(&self, id: &DeploymentId) -> Result<()> {
        let var = self.layout().stateroot(&id.stateroot).join("var");
        let (path, root) = (var.clone(), self.layout().deployment(id));
        let wanted = self
            .run(move |_| {
                files::make_dirs(&path, 0o755)?;
                let shipped = files::look(&root.join("var"))?.is_some_and(|meta| meta.is_dir());
                Ok(shipped && files::names(&path)?.is_empty())
            })
            .await?;
        if !wanted {
            return Ok(());
        }
        let mut options = CheckoutOptions::default();
        options.sharing = Sharing::Copies;
        options.overwrite = Overwrite::UnionFiles;
        let item = CheckoutItem {
            if_missing: IfMissing::Ignore,
            ..CheckoutItem::subpath(id.checksum, "/var")
        };
        checkout(self.repo(), &item, &Destination::path(&var), &options).await?;
        let root = self.layout().deployment(id);
        self.run(
            move |_| match files::look(&root.join("usr/lib/tmpfiles.d"))? {
                Some(_) => Ok(()),
                None => fill_var(&var),
            },
        )
        .await
    }

    /// Takes an initramfs that deployments can lay over their own, and returns its name.
    pub async fn stage_overlay_initrd(&self, path: &Path) -> Result<Checksum> {
        let path = path.to_owned();
        self.run(move |sysroot| {
            let bytes = files::read(&path)?;
            let bytes = bytes.ok_or_else(|| Error::missing("is not there").about(path))?;
            let checksum = Checksum::of(&bytes);
            let dir = sysroot.run_path(STAGED_INITRDS);
            files::make_dirs(&dir, 0o755)?;
            files::replace(&dir.join(checksum.to_string()), &bytes, 0o644)?;
            Ok(checksum)
        })
        .await
    }
}

/// Returns the number of the next deployment of a commit.
fn next_serial(dir: &Path, commit: &Checksum) -> Result<u32> {
    let prefix = format!("{commit}.");
    let number = |name: &std::ffi::OsString| -> Option<u32> {
        name.to_str()?.strip_prefix(&prefix)?.parse().ok()
    };
    let names = files::names(dir)?;
    let last = names.iter().filter_map(number).max();
    Ok(last.map_or(0, |last| last + 1))
}

/// Makes sure that the configuration that a tree ships is in `/usr/etc`, and `/etc` not there yet.
fn prepare_etc(root: &Path) -> Result<()> {
    let (etc, shipped) = (root.join("etc"), root.join("usr/etc"));
    if files::look(&etc)?.is_none() {
        return Ok(());
    }
    let is_empty = files::names(&etc)?.is_empty();
    match (is_empty, files::look(&shipped)?.is_some()) {
        (false, true) => Err(Error::invalid("Tree contains both /etc and /usr/etc")),
        (false, false) => std::fs::rename(&etc, &shipped)
            .map_err(files::failed(&shipped, "cannot be made of /etc")),
        (true, true) => files::remove_all(&etc),
        (true, false) => Ok(()),
    }
}
