//! `admin overlay`: packages on top.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use treeferry_core::format::Branch;
use treeferry_sysroot::order::{Placement, Retain};
use treeferry_sysroot::{Cleanup, LayerOptions, NewDeployment, Origin};

use super::machine::{Machine, stateroot_option};
use super::{cleanup, deploy, told};
use crate::failure::{Failure, Result, io_failure};
use crate::session::resolve;
use crate::{dates, output};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The stateroot (default: the one that runs)
    #[arg(long, value_name = "STATEROOT")]
    os: Option<String>,
    /// The commit to lay them over (default: the one that is deployed)
    #[arg(long, value_name = "REV")]
    base: Option<String>,
    /// The branch to record the result on (default: overlay/STATEROOT)
    #[arg(short, long, value_name = "BRANCH")]
    branch: Option<String>,
    /// The version of the result
    #[arg(long, value_name = "TEXT")]
    version_text: Option<String>,
    /// Record the result, and do not deploy it
    #[arg(long)]
    no_deploy: bool,
    /// Directories, and tar archives of any compression that tar knows, as they are to be at /
    #[arg(value_name = "LAYER...")]
    layers: Vec<PathBuf>,
}

pub(super) async fn run(args: Args, machine: &Machine) -> Result<()> {
    if args.layers.is_empty() {
        return Err(Failure::usage("LAYER must be specified"));
    }
    let (_lock, state) = machine.locked().await?;
    let stateroot = state.stateroot(stateroot_option(args.os.as_deref())?.as_ref())?;
    let merge = state.merge_source(&stateroot).cloned();
    let sysroot = &machine.sysroot;
    let base = match (&args.base, &merge) {
        (Some(rev), _) => resolve(sysroot.repo(), rev).await?,
        (None, Some(merge)) => merge.id.checksum,
        (None, None) => {
            return Err(Failure::usage(
                "nothing is deployed: --base must be specified",
            ));
        }
    };
    let branch = args
        .branch
        .clone()
        .unwrap_or_else(|| format!("overlay/{stateroot}"));
    let branch = Branch::new(&branch)?;
    let mut unpacked: Vec<TempDir> = Vec::new();
    let mut layers = Vec::new();
    for layer in &args.layers {
        if layer.is_dir() {
            layers.push(layer.clone());
            continue;
        }
        let dir = unpack(layer)?;
        layers.push(dir.path().to_owned());
        unpacked.push(dir);
    }
    let mut options = LayerOptions::new(base, layers, branch.clone(), dates::now());
    options.version = args.version_text;
    let report = sysroot.commit_layers(&options).await?;
    output::line(report.commit)?;
    if args.no_deploy {
        return Ok(());
    }
    let origin = Origin::from_refspec(branch.as_str())?;
    let mut new = NewDeployment::new(stateroot, report.commit, origin);
    new.merge = merge;
    cleanup::clean(machine, Cleanup::Deployments).await?;
    deploy::check_room(machine, &state, &new, &report.commit).await?;
    let deployed = sysroot.deploy(&new).await?;
    told::deployed(&deployed, machine)?;
    let merge = new.merge.as_ref().map(|merge| &merge.id);
    let (placement, retain) = (Placement::Default, Retain::default());
    let written = sysroot.add_deployment(&state, deployed.deployment, merge, placement, retain);
    told::written(written.await?.as_ref())?;
    cleanup::clean(machine, Cleanup::AndRepo).await
}

/// Unpacks an archive with the system's `tar`, which knows all compressions, and keeps owners.
fn unpack(archive: &Path) -> Result<TempDir> {
    let dir = tempfile::tempdir().map_err(|e| io_failure(std::env::temp_dir(), &e))?;
    let output = Command::new("tar")
        .args([
            "--extract",
            "--numeric-owner",
            "--xattrs",
            "--xattrs-include=*",
            "--file",
        ])
        .arg(archive)
        .arg("--directory")
        .arg(dir.path())
        .output()
        .map_err(|e| io_failure("tar", &e))?;
    if output.status.success() {
        return Ok(dir);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let message = format!("{}: cannot be unpacked: {}", archive.display(), said.trim());
    Err(Failure::new(message))
}
