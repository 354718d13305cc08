//! `treeferry-prepare-root [SYSROOT]`, also by the names `ostree-prepare-root` and `ostree-remount`.
//!
//! Linked statically it runs in any initramfs.

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use treeferry_core::error::{Error, Result};
use treeferry_prepare_root::cmdline::KernelCmdline;
use treeferry_prepare_root::find::Places;
use treeferry_prepare_root::remount::{Remounted, remount};
use treeferry_prepare_root::{Prepared, prepare_root};

const USAGE: &str = "\
usage: treeferry-prepare-root [SYSROOT]

Makes the deployment that the kernel was told of (ostree=) the root, at SYSROOT, where the physical
root filesystem is mounted (default: /sysroot). To be run in the initramfs, before the root is switched.

Called by the name ostree-remount: makes /etc, /var and a /boot on the same filesystem writable once the root
is, and /sysroot as configured.
";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let name = arguments.next().map(PathBuf::from).unwrap_or_default();
    let first = arguments.next();
    if first.as_deref().is_some_and(|a| a == "--help" || a == "-h") {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    if arguments.next().is_some() || first.as_ref().is_some_and(|a| is_option(Path::new(a))) {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    }
    let outcome = match name
        .file_name()
        .is_some_and(|name| name == "ostree-remount")
    {
        true => again(),
        false => prepare(first.map_or_else(|| PathBuf::from("/sysroot"), PathBuf::from)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!(
                "{}: {}",
                name.file_name().unwrap_or_default().display(),
                chain(&e)
            );
            ExitCode::FAILURE
        }
    }
}

/// Returns an error with what caused it.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn is_option(argument: &Path) -> bool {
    argument.as_os_str().as_encoded_bytes().starts_with(b"-")
}

fn prepare(sysroot: PathBuf) -> Result<()> {
    let path = "/proc/cmdline";
    let text = std::fs::read_to_string(path)
        .map_err(|e| Error::io("cannot be read", e).about(PathBuf::from(path)))?;
    let places = Places::in_initramfs(sysroot);
    let Prepared { deployment, .. } = prepare_root(&places, &KernelCmdline::parse(&text))?;
    eprintln!(
        "treeferry-prepare-root: {} is the root",
        deployment.display()
    );
    Ok(())
}

fn again() -> Result<()> {
    if let Remounted::Writable(mounts) = remount(Path::new("/"))? {
        for mount in mounts {
            eprintln!("ostree-remount: {mount} is writable");
        }
    }
    Ok(())
}
