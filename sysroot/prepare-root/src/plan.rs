//! What is done, in order: a pure function of the configuration and of what was found.

use std::path::{Path, PathBuf};

use treeferry_core::error::{Error, Result};

use crate::config::{Access, Composefs, Lifetime, RootConfig, RootOverlay};

/// What was found on the disk and in the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Where the physical root is mounted, such as `/sysroot`.
    pub sysroot: PathBuf,
    /// The deployment below it, such as `ostree/deploy/os/deploy/CHECKSUM.0`.
    pub deployment: PathBuf,
    /// A directory outside the physical root where the new root is put together.
    pub staging: PathBuf,
    /// Where things that live until the next reboot are kept, such as `/run`.
    pub run: PathBuf,
    /// Whether somebody unlocked the deployment: an overlay for `/usr` was prepared.
    pub usr: Usr,
    /// Whether `/boot` is a directory of the physical root that the deployment wants to see.
    pub boot: Boot,
    /// Who mounts `/var`.
    pub var: Var,
    /// What there is to mount a composefs image with.
    pub image: Image,
}

/// How `/usr` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usr {
    /// As it was deployed: mounted read-only.
    Locked,
    /// With an overlay that takes what is written (`admin unlock --hotfix`).
    Unlocked,
}

/// Where `/boot` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boot {
    /// A directory beside `/ostree`: bound into the new root.
    InSysroot,
    /// A filesystem of its own, or nowhere: not our business.
    Elsewhere,
}

/// Who mounts `/var`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Var {
    /// Nobody else: the stateroot's is bound.
    Stateroot,
    /// The deployment's `/etc/fstab`.
    Fstab,
}

/// What there is to mount a composefs image with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Image {
    /// There is no image.
    Missing,
    /// There is one, and the kernel cannot mount it.
    KernelCannot,
    /// There is one, and the kernel can.
    Usable,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Mounts made from here on stay in this mount namespace and can be moved.
    Private(PathBuf),
    /// Make a directory if it is not there.
    MakeDir(PathBuf),
    /// Empty a directory, if it is there: what an earlier boot left.
    Discard(PathBuf),
    /// Show a directory at a second place.
    Bind {
        /// What.
        from: PathBuf,
        /// Where.
        to: PathBuf,
    },
    /// Make what is mounted there read-only, for this mount.
    ReadOnly(PathBuf),
    /// Lay a writable directory over another.
    Overlay {
        /// What is below.
        lower: PathBuf,
        /// Where it is mounted.
        at: PathBuf,
        /// What takes the writes.
        upper: PathBuf,
        /// The kernel's scratch directory, beside it.
        work: PathBuf,
    },
    /// Mount a composefs image.
    Composefs {
        /// The image, erofs.
        image: PathBuf,
        /// Where its metadata is mounted by itself.
        metadata: PathBuf,
        /// Where the files' content is: a repository's objects.
        objects: PathBuf,
        /// Where.
        at: PathBuf,
        /// Whether each file must pass fs-verity.
        verity: Verity,
    },
    /// Move a mount.
    Move {
        /// From where.
        from: PathBuf,
        /// To where.
        to: PathBuf,
    },
}

/// Whether files must pass fs-verity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verity {
    /// They must.
    Required,
    /// They are read as they are.
    Off,
}

/// A plan, and what it comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What to do, in order.
    pub steps: Vec<Step>,
    /// If the tree comes from a composefs image, whether its files must pass fs-verity.
    pub composefs: Option<Verity>,
}

/// Plans how the root is put together.
///
/// # Errors
///
/// [`Unsupported`](treeferry_core::ErrorKind::Unsupported) or
/// [`Missing`](treeferry_core::ErrorKind::Missing) when a composefs image is demanded and cannot be
/// mounted: a machine that demands one does not boot without.
pub fn plan(config: &RootConfig, facts: &Facts) -> Result<Plan> {
    let composefs = wants_image(config.composefs, facts)?;
    let tree = facts.sysroot.join(&facts.deployment);
    let new = &facts.staging;
    let mut steps = vec![Step::Private("/".into()), Step::MakeDir(new.clone())];
    match composefs {
        Some(verity) => image(&mut steps, facts, &tree, verity),
        None => bind(&mut steps, &tree, new),
    }
    root_overlay(&mut steps, config.root, facts);
    etc(&mut steps, config, facts, &tree);
    usr(&mut steps, config, facts, &tree, composefs.is_some());
    if facts.var == Var::Stateroot {
        bind(&mut steps, &stateroot(facts).join("var"), &new.join("var"));
    }
    if facts.boot == Boot::InSysroot {
        bind(&mut steps, &facts.sysroot.join("boot"), &new.join("boot"));
    }
    let inside = new.join("sysroot");
    steps.push(Step::Move {
        from: facts.sysroot.clone(),
        to: inside.clone(),
    });
    if config.sysroot == Access::ReadOnly {
        steps.push(Step::ReadOnly(inside));
    }
    if config.root == RootOverlay::TransientReadOnly {
        steps.push(Step::ReadOnly(new.clone()));
    }
    steps.push(Step::Move {
        from: new.clone(),
        to: facts.sysroot.clone(),
    });
    Ok(Plan { steps, composefs })
}

fn wants_image(wanted: Composefs, facts: &Facts) -> Result<Option<Verity>> {
    let verity = match wanted {
        Composefs::No => return Ok(None),
        Composefs::Maybe if facts.image != Image::Usable => return Ok(None),
        Composefs::Maybe | Composefs::Yes => Verity::Off,
        Composefs::Verity | Composefs::Signed => Verity::Required,
    };
    let path = facts.sysroot.join(&facts.deployment).join(".ostree.cfs");
    match facts.image {
        Image::Usable => Ok(Some(verity)),
        Image::Missing => Err(Error::missing(
            "a composefs image is demanded (composefs.enabled) and the deployment has none",
        )
        .about(path)),
        Image::KernelCannot => Err(Error::unsupported(
            "a composefs image is demanded (composefs.enabled), and this kernel cannot mount one: it \
             needs erofs and overlayfs, and before Linux 6.12 loop devices",
        )
        .about(path)),
    }
}

fn bind(steps: &mut Vec<Step>, from: &Path, to: &Path) {
    steps.push(Step::Bind {
        from: from.into(),
        to: to.into(),
    });
}

fn image(steps: &mut Vec<Step>, facts: &Facts, tree: &Path, verity: Verity) {
    let metadata = facts.run.join("ostree/.private/cfsroot-lower");
    steps.push(Step::MakeDir(metadata.clone()));
    steps.push(Step::Composefs {
        image: tree.join(".ostree.cfs"),
        metadata,
        objects: facts.sysroot.join("ostree/repo/objects"),
        at: facts.staging.clone(),
        verity,
    });
}

/// Returns the stateroot's directory, `ostree/deploy/NAME` below the physical root.
fn stateroot(facts: &Facts) -> PathBuf {
    let below: PathBuf = facts.deployment.components().take(3).collect();
    facts.sysroot.join(below)
}

/// Returns where what a deployment needs beside itself is kept.
fn backing(facts: &Facts) -> PathBuf {
    let name = facts.deployment.file_name().unwrap_or_default();
    stateroot(facts).join("backing").join(name)
}

fn overlay(steps: &mut Vec<Step>, lower: &Path, at: &Path, keep: &Path) {
    let (upper, work) = (keep.join("upper"), keep.join("work"));
    steps.push(Step::Discard(keep.into()));
    steps.push(Step::MakeDir(upper.clone()));
    steps.push(Step::MakeDir(work.clone()));
    steps.push(Step::Overlay {
        lower: lower.into(),
        at: at.into(),
        upper,
        work,
    });
}

fn root_overlay(steps: &mut Vec<Step>, root: RootOverlay, facts: &Facts) {
    if root != RootOverlay::None {
        let keep = backing(facts).join("root-transient");
        overlay(steps, &facts.staging, &facts.staging, &keep);
    }
}

fn etc(steps: &mut Vec<Step>, config: &RootConfig, facts: &Facts, tree: &Path) {
    let at = facts.staging.join("etc");
    match (config.etc, config.root) {
        (Lifetime::Boot, _) => {
            let keep = facts.run.join("ostree/transient-etc");
            overlay(steps, &facts.staging.join("usr/etc"), &at, &keep);
        }
        // What is written to it is forgotten with the rest.
        (Lifetime::Kept, RootOverlay::Transient | RootOverlay::TransientReadOnly) => {}
        (Lifetime::Kept, RootOverlay::None) => bind(steps, &tree.join("etc"), &at),
    }
}

fn usr(steps: &mut Vec<Step>, config: &RootConfig, facts: &Facts, tree: &Path, composefs: bool) {
    let at = facts.staging.join("usr");
    match facts.usr {
        Usr::Unlocked => steps.push(Step::Overlay {
            lower: at.clone(),
            at,
            upper: tree.join(".usr-ovl-upper"),
            work: tree.join(".usr-ovl-work"),
        }),
        // The image is read-only by itself; a transient root is there to be written to.
        Usr::Locked if composefs || config.root != RootOverlay::None => {}
        Usr::Locked => {
            bind(steps, &tree.join("usr"), &at);
            steps.push(Step::ReadOnly(at));
        }
    }
}

#[cfg(test)]
mod tests;
