//! Early boot: turns the physical root filesystem into the deployment that the kernel was told to boot.
//!
//! Runs in the initramfs, after the physical root is mounted (say at `/sysroot`) and before it becomes
//! the root. What it does is OSTree's contract with the systems it boots: the deployment named by
//! `ostree=` becomes the root, with `/usr` read-only, its own `/etc`, the stateroot's `/var`, and the
//! physical root below `/sysroot`.
//!
//! [`plan`](mod@plan) decides and does nothing, [`act`] does and decides nothing. Everything blocks: there is nobody
//! else to wait for.

pub mod act;
pub mod again;
pub mod booted;
pub mod cmdline;
pub mod config;
pub mod find;
mod loop_device;
pub mod plan;
pub mod remount;
pub mod signed;

use std::fs;
use std::path::PathBuf;

use treeferry_core::error::{Error, Result};

use crate::booted::Booted;
use crate::cmdline::KernelCmdline;
use crate::config::{Composefs, RootConfig};
use crate::find::Places;
use crate::plan::Verity;

/// What was made the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// The deployment, relative to the physical root.
    pub deployment: PathBuf,
    /// How the root was put together.
    pub config: RootConfig,
    /// If the tree comes from a composefs image, whether its files must pass fs-verity.
    pub composefs: Option<Verity>,
}

/// Makes the deployment that `kernel` names the root, at the place where the physical root was.
///
/// # Errors
///
/// Whatever stops it is fatal to the boot; the error says what to do. Nothing on the disk is changed
/// before the plan stands.
pub fn prepare_root(places: &Places, kernel: &KernelCmdline) -> Result<Prepared> {
    let deployment = find::deployment(places, kernel)?;
    let file = find::configuration(places, &deployment)?;
    let config = RootConfig::read(&file, &find::repository(places)?, kernel)?;
    let plan = plan::plan(&config, &find::facts(places, &deployment)?)?;
    let tree = places.sysroot.join(&deployment);
    let mut booted = Booted::look(&tree, plan.composefs, config)?;
    if config.composefs == Composefs::Signed {
        let (repo, keys) = (places.sysroot.join("ostree/repo"), signed::key_path(&file)?);
        signed::verify(&repo, &tree, &keys)?;
        booted.signed_by = Some(keys);
    }
    for step in &plan.steps {
        act::act(step)?;
    }
    let mark = places.run.join("ostree-booted");
    fs::create_dir_all(&places.run)
        .and_then(|()| fs::write(&mark, booted.to_bytes()))
        .map_err(|e| Error::io("cannot be written", e).about(mark))?;
    Ok(Prepared {
        deployment,
        config,
        composefs: plan.composefs,
    })
}
