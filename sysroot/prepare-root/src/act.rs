//! The steps of a plan, done. Blocking: early boot has nothing else to do.

use std::ffi::{CString, OsStr};
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
};
use treeferry_core::error::{Error, Result};

use crate::loop_device::LoopDevice;
use crate::plan::{Step, Verity};

/// Does one step.
///
/// # Errors
///
/// Names the directory that it was about.
pub fn act(step: &Step) -> Result<()> {
    match step {
        Step::Private(at) => {
            let how = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            let done = rustix::mount::mount_change(at, how);
            told(done, "mounts cannot be kept to this boot", at)
        }
        Step::MakeDir(path) => told(fs::create_dir_all(path), "directory cannot be made", path),
        Step::Discard(path) => discard(path),
        Step::Bind { from, to } => {
            let done = rustix::mount::mount_bind(from, to);
            told(done, "cannot be shown in the new root", from)
        }
        Step::ReadOnly(at) => {
            let how = MountFlags::BIND | MountFlags::RDONLY;
            let done = rustix::mount::mount_remount(at, how, "");
            told(done, "cannot be made read-only", at)
        }
        Step::Overlay {
            lower,
            at,
            upper,
            work,
        } => overlay(lower, at, upper, work),
        Step::Composefs {
            image,
            metadata,
            objects,
            at,
            verity,
        } => composefs(image, metadata, objects, at, *verity),
        Step::Move { from, to } => told(
            rustix::mount::mount_move(from, to),
            "cannot be moved into place",
            from,
        ),
    }
}

pub(crate) fn told<E: Into<io::Error>>(
    done: std::result::Result<(), E>,
    problem: &'static str,
    path: &Path,
) -> Result<()> {
    done.map_err(|e| Error::io(problem, e).about(path.to_owned()))
}

fn discard(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            told(Err(e), "what an earlier boot left cannot be removed", path)
        }
        _ => Ok(()),
    }
}

fn overlay(lower: &Path, at: &Path, upper: &Path, work: &Path) -> Result<()> {
    const PROBLEM: &str = "cannot be made writable by an overlay";
    // Over the mount API, options are not split at commas and colons that paths may hold.
    let mount = || -> rustix::io::Result<()> {
        let fs = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        for (key, path) in [("lowerdir", lower), ("upperdir", upper), ("workdir", work)] {
            rustix::mount::fsconfig_set_string(fs.as_fd(), key, &*path_string(path)?)?;
        }
        attach(&fs, MountAttrFlags::empty(), at)
    };
    told(mount(), PROBLEM, at)
}

fn composefs(
    image: &Path,
    metadata: &Path,
    objects: &Path,
    at: &Path,
    verity: Verity,
) -> Result<()> {
    let failed = "the composefs image cannot be mounted";
    match erofs(image, metadata) {
        // A kernel that mounts from devices alone.
        Err(Errno::NOTBLK) => {
            let device = LoopDevice::of(image)?;
            told(erofs(device.path(), metadata), failed, image)?;
        }
        done => told(done, failed, image)?,
    }
    // Newer kernels show nothing but content of a layer of data. Older ones show its directories, too, unless
    // the image covers them, and cannot have files pass fs-verity.
    let (metadata, objects) = (metadata.as_os_str(), objects.as_os_str());
    let layers = |between: &str| {
        let mut layers = metadata.to_owned();
        layers.push(between);
        layers.push(objects);
        layers
    };
    let (data_layer, layer) = (layers("::"), layers(":"));
    let mut ways: Vec<&[(&str, &OsStr)]> = Vec::new();
    let newest = [("lowerdir+", metadata), ("datadir+", objects)];
    let newer = [("lowerdir", data_layer.as_os_str())];
    let old = [("lowerdir", layer.as_os_str())];
    ways.extend([&newest[..], &newer[..]]);
    if verity == Verity::Off {
        ways.push(&old);
    }
    let mut done = Err(Errno::INVAL);
    for way in ways {
        done = lay(way, verity, at);
        if done != Err(Errno::INVAL) {
            break;
        }
    }
    let problem = match verity {
        Verity::Off => "the composefs image cannot be laid over the repository's objects",
        Verity::Required => {
            "the composefs image cannot be laid over the repository's objects so that they must pass \
             fs-verity, which takes Linux 6.6"
        }
    };
    told(done, problem, image)
}

/// Mounts an image that is a file or a device.
fn erofs(image: &Path, at: &Path) -> rustix::io::Result<()> {
    let fs = rustix::mount::fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_flag(fs.as_fd(), "ro")?;
    rustix::mount::fsconfig_set_string(fs.as_fd(), "source", &*path_string(image)?)?;
    attach(&fs, MountAttrFlags::MOUNT_ATTR_RDONLY, at)
}

/// Lays the metadata of an image over the content of its files.
fn lay(layers: &[(&str, &OsStr)], verity: Verity, at: &Path) -> rustix::io::Result<()> {
    let fs = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    // The source is a name for whoever reads the list of mounts.
    let mut options = vec![
        ("source", "composefs"),
        ("metacopy", "on"),
        ("redirect_dir", "on"),
    ];
    if verity == Verity::Required {
        options.push(("verity", "require"));
    }
    for (key, value) in options {
        rustix::mount::fsconfig_set_string(fs.as_fd(), key, value)?;
    }
    for (key, value) in layers {
        rustix::mount::fsconfig_set_string(fs.as_fd(), *key, &*path_string(value.as_ref())?)?;
    }
    attach(&fs, MountAttrFlags::MOUNT_ATTR_RDONLY, at)
}

fn attach(fs: impl AsFd, attributes: MountAttrFlags, at: &Path) -> rustix::io::Result<()> {
    rustix::mount::fsconfig_create(fs.as_fd())?;
    let flags = FsMountFlags::FSMOUNT_CLOEXEC;
    let mounted = rustix::mount::fsmount(fs.as_fd(), flags, attributes)?;
    let from_here = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(mounted.as_fd(), "", CWD, at, from_here)
}

fn path_string(path: &Path) -> rustix::io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::INVAL)
}
