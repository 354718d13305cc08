//! Reads what is deployed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use treeferry_core::error::{Error, ErrorKind, Result};
use treeferry_core::format::Checksum;

use crate::boot_entry::{BootEntry, EntryName};
use crate::deployment::{Deployment, SoftRebootTarget, Staging, Unlocked};
use crate::files;
use crate::kargs::KernelArgs;
use crate::menu::{self, Menu};
use crate::names::{BootLink, DeploymentId, Stateroot, Turn};
use crate::origin::Origin;
use crate::staged_file::{Locked, StagedFile};
use crate::switch::BootVersion;
use crate::sysroot::{RootInode, Sysroot};

/// What is deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct State {
    /// Which of the menus and sets of links count.
    pub version: BootVersion,
    /// The deployments, the next default first; a staged one before all others.
    pub deployments: Vec<Deployment>,
    /// The index of the one that the system runs from.
    pub booted: Option<usize>,
    /// What is to be done with the staged one.
    pub staged: Option<StagedFile>,
    /// How the menu is kept.
    pub(crate) menu: Menu,
}

impl State {
    /// Returns the deployment that the system runs from.
    pub fn booted(&self) -> Option<&Deployment> {
        self.booted.and_then(|index| self.deployments.get(index))
    }

    /// Returns the deployment that the system runs from, which must be one.
    pub fn require_booted(&self) -> Result<&Deployment> {
        self.booted()
            .ok_or_else(|| Error::invalid("Not currently booted into an OSTree system"))
    }

    /// Returns the deployments that are in the menu.
    pub fn in_menu(&self) -> Vec<Deployment> {
        let final_ones = self.deployments.iter().filter(|d| !d.is_staged());
        final_ones.cloned().collect()
    }

    /// Returns the deployment `id`.
    pub fn find(&self, id: &DeploymentId) -> Option<&Deployment> {
        self.deployments.iter().find(|d| d.id == *id)
    }

    /// Returns the deployment at `index`, as `status` counts them.
    pub fn at(&self, index: usize) -> Result<&Deployment> {
        self.deployments.get(index).ok_or_else(|| {
            let count = self.deployments.len();
            let problem = format!("Out of range deployment index {index}, expected < {count}");
            Error::missing(problem)
        })
    }

    /// Returns the stateroot to work on: the one that is asked for, or that the system runs from.
    pub fn stateroot(&self, asked: Option<&Stateroot>) -> Result<Stateroot> {
        if let Some(stateroot) = asked {
            return Ok(stateroot.clone());
        }
        let booted = self.booted().map(|d| d.id.stateroot.clone());
        booted.ok_or_else(|| {
            let problem = "Not currently booted into an OSTree system and no --os= argument given";
            Error::invalid(problem)
        })
    }

    /// Returns what a new deployment in `stateroot` takes its `/etc` and kernel arguments from: the
    /// booted one if it belongs there, else the first one before it.
    pub fn merge_source(&self, stateroot: &Stateroot) -> Option<&Deployment> {
        match self.booted() {
            Some(booted) if booted.id.stateroot == *stateroot => Some(booted),
            _ => self.pending_and_rollback(stateroot).0,
        }
    }

    /// Returns the first deployment of a stateroot before the booted one, and the first after it.
    pub fn pending_and_rollback(
        &self,
        stateroot: &Stateroot,
    ) -> (Option<&Deployment>, Option<&Deployment>) {
        let (mut pending, mut rollback, mut passed) = (None, None, false);
        for (index, deployment) in self.deployments.iter().enumerate() {
            if deployment.id.stateroot != *stateroot {
                continue;
            }
            if self.booted == Some(index) {
                passed = true;
            } else if !passed {
                pending = pending.or(Some(deployment));
            } else {
                rollback = rollback.or(Some(deployment));
            }
        }
        (pending, rollback)
    }
}

impl Sysroot {
    /// Reads what is deployed.
    ///
    /// # Errors
    /// Names the entry of the boot menu that cannot be followed.
    pub async fn load(&self) -> Result<State> {
        self.run(Sysroot::load_blocking).await
    }

    /// Returns the entries of the menu of a turn, or of the one that counts, the default first.
    pub async fn menu_entries(&self, turn: Option<Turn>) -> Result<Vec<BootEntry>> {
        self.run(move |sysroot| {
            let menu = match turn {
                Some(turn) => Menu::Linked(turn),
                None => menu::find(sysroot)?,
            };
            menu::read_entries(sysroot, &menu)
        })
        .await
    }

    /// Reads what is deployed. **Blocking.**
    pub(crate) fn load_blocking(&self) -> Result<State> {
        let menu = menu::find(self)?;
        let loader = menu.turn();
        let version = BootVersion {
            loader,
            links: self.read_links(loader)?,
        };
        let mut deployments = Vec::new();
        for entry in menu::read_entries(self, &menu)? {
            let link = entry.link().map_err(|e| bad_entry(&entry).because(e))?;
            let link = link.ok_or_else(|| bad_entry(&entry))?;
            deployments.push(self.load_deployment(&link, entry)?);
        }
        deployments.sort_by_key(|d: &Deployment| std::cmp::Reverse(d.entry.sort_key()));
        // What is in the menu already waits no more, whatever the record had no time to say.
        let waits = |staged: &StagedFile| deployments.iter().all(|d| d.id != staged.target);
        let staged = self.read_staged()?.filter(waits);
        if let Some(staged) = &staged {
            deployments.insert(0, self.load_staged(staged)?);
        }
        let booted = match self.options().running.root {
            None => None,
            Some(root) => self.find_booted(&deployments, root)?,
        };
        self.find_soft_reboot_target(&mut deployments)?;
        Ok(State {
            version,
            deployments,
            booted,
            staged,
            menu,
        })
    }

    fn read_links(&self, loader: Turn) -> Result<Turn> {
        let path = self.layout().links(loader);
        let Some(target) = files::read_link(&path)? else {
            return Ok(Turn::Zero);
        };
        let target = target.to_string_lossy();
        let turn = target.strip_prefix(&format!("boot.{loader}."));
        turn.and_then(Turn::parse).ok_or_else(|| {
            let problem = format!("leads to {target}, which is no set of boot links");
            Error::corrupt(problem).about(path)
        })
    }

    fn load_deployment(&self, link: &BootLink, entry: BootEntry) -> Result<Deployment> {
        let path = self.layout().boot_link(link);
        let target = files::read_link(&path)?.ok_or_else(|| {
            Error::missing("the boot menu names it, but it is not there").about(path.as_path())
        })?;
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let bad = |e| {
            Error::corrupt("leads to no deployment")
                .because(e)
                .about(path.as_path())
        };
        let id = DeploymentId::parse(link.stateroot.clone(), &name).map_err(bad)?;
        let dir = self.layout().deployment(&id);
        if files::look(&dir)?.is_none() {
            let problem = "is a deployment that the boot menu names, but it is not there";
            return Err(Error::missing(problem).about(dir));
        }
        let overlay_initrds = overlays(&entry)?;
        Ok(Deployment {
            bootcsum: Some(link.bootcsum),
            boot_serial: link.serial,
            overlay_initrds,
            entry,
            ..self.load_by_id(id)?
        })
    }

    /// Reads what stands beside a deployment.
    fn load_by_id(&self, id: DeploymentId) -> Result<Deployment> {
        let origin_path = self.layout().origin(&id);
        let origin = files::read(&origin_path)?;
        let origin = origin.map(|bytes| {
            let bad = |e| {
                Error::corrupt("cannot be read")
                    .because(e)
                    .about(origin_path.as_path())
            };
            Origin::parse(bytes).map_err(bad)
        });
        let origin = origin.transpose()?;
        let flag = |name: &str| -> Result<bool> {
            let dir = self.run_path(&format!("deployment-state/{}", id.dir_name()));
            Ok(files::look(&dir.join(name))?.is_some())
        };
        let unlocked = match origin.as_ref().and_then(Origin::unlocked) {
            Some(word) => Unlocked::parse(word).unwrap_or(Unlocked::No),
            None if flag("unlocked-development")? => Unlocked::Development,
            None if flag("unlocked-transient")? => Unlocked::Transient,
            None => Unlocked::No,
        };
        Ok(Deployment {
            origin,
            unlocked,
            ..Deployment::new(id)
        })
    }

    /// Reads what waits for the machine to go down. A system that runs from no deployment of this
    /// sysroot has none: the record is the running system's.
    fn read_staged(&self) -> Result<Option<StagedFile>> {
        if self.options().running.root.is_none() {
            return Ok(None);
        }
        let path = self.run_path("staged-deployment");
        let Some(bytes) = files::read(&path)? else {
            return Ok(None);
        };
        let staged = StagedFile::parse(&bytes).map_err(|e| e.about(path))?;
        // A record whose deployment somebody removed is one of nothing.
        match staged {
            Some(staged) if files::look(&self.layout().deployment(&staged.target))?.is_none() => {
                Ok(None)
            }
            staged => Ok(staged),
        }
    }

    fn load_staged(&self, staged: &StagedFile) -> Result<Deployment> {
        let mut entry = match &staged.kargs {
            Some(args) => BootEntry::with_args(args),
            None => BootEntry::default(),
        };
        for (key, value) in &staged.extensions {
            entry.set(key, value);
        }
        let locked_by_file = files::look(&self.run_path("staged-deployment-locked"))?.is_some();
        let staging = match staged.locked == Locked::Yes || locked_by_file {
            true => Staging::Locked,
            false => Staging::Staged,
        };
        Ok(Deployment {
            bootcsum: Some(staged.bootcsum),
            entry,
            overlay_initrds: staged.overlay_initrds.clone(),
            staging,
            ..self.load_by_id(staged.target.clone())?
        })
    }

    fn find_booted(&self, deployments: &[Deployment], root: RootInode) -> Result<Option<usize>> {
        for (index, deployment) in deployments.iter().enumerate() {
            let path = self.layout().deployment(&deployment.id);
            if files::look(&path)?.is_some_and(|meta| same_inode(&meta, root)) {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    fn find_soft_reboot_target(&self, deployments: &mut [Deployment]) -> Result<()> {
        let Some(root) = crate::soft_reboot::read_target(self)? else {
            return Ok(());
        };
        for deployment in deployments {
            let path = self.layout().deployment(&deployment.id);
            if files::look(&path)?.is_some_and(|meta| same_inode(&meta, root)) {
                deployment.soft_reboot_target = SoftRebootTarget::Yes;
            }
        }
        Ok(())
    }
}

pub(crate) fn same_inode(meta: &fs::Metadata, root: RootInode) -> bool {
    (meta.dev(), meta.ino()) == (root.device, root.inode)
}

fn bad_entry(entry: &BootEntry) -> Error {
    let name = entry
        .name
        .as_ref()
        .map(EntryName::to_string)
        .unwrap_or_default();
    let problem = "has no ostree= kernel argument that leads anywhere: remove the file if it is not \
                   one of OSTree's";
    Error::new(ErrorKind::Corrupt, problem).about(Path::new(&name))
}

fn overlays(entry: &BootEntry) -> Result<Vec<Checksum>> {
    let overlay = |path: &String| {
        let name = path.rsplit('/').next().unwrap_or_default();
        let csum = name.strip_suffix(".img").unwrap_or(name).parse();
        csum.map_err(|e| {
            Error::corrupt("is not the name of an overlay initramfs")
                .because(e)
                .about(Path::new(path))
        })
    };
    entry.initrds().iter().skip(1).map(overlay).collect()
}

/// Returns the kernel arguments that a new deployment inherits from another. Its `ostree=` is among
/// them, and keeps its place when it is written anew.
pub(crate) fn inherited_args(from: &Deployment) -> KernelArgs {
    from.entry.args()
}
