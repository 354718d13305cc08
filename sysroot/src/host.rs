//! What reaches beyond the files of the sysroot, behind traits: tests and embedders bring their own.

use std::ffi::OsString;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustix::mount::MountFlags;
use treeferry_core::error::{Error, ErrorKind, Result};

use crate::files;

/// A program to run, such as a boot loader's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Call {
    /// The program, looked up in the search path if it is a bare name.
    pub program: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// What is set in its environment, beyond what it inherits.
    pub env: Vec<(OsString, OsString)>,
    /// Where it runs.
    pub dir: Option<PathBuf>,
    /// Whose `/` it sees; `None` for the machine's.
    pub root: Option<PathBuf>,
}

/// Runs programs. **Blocking.**
pub trait Programs: Debug + Send + Sync {
    /// Runs a program to its end.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be run, or says that it failed.
    fn run(&self, call: &Call) -> Result<()>;
}

/// Mounts filesystems. **Blocking.**
pub trait Mounts: Debug + Send + Sync {
    /// Lays a writable directory over another, at `target`.
    fn overlay(&self, overlay: &Overlay) -> Result<()>;
}

/// An overlay filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// What is seen where nothing was changed.
    pub lower: PathBuf,
    /// Where changes go.
    pub upper: PathBuf,
    /// A directory of the kernel's own, on the filesystem of `upper`.
    pub work: PathBuf,
    /// Where it is mounted.
    pub target: PathBuf,
    /// Whether it can be changed through `target`.
    pub access: Access,
}

/// Whether something can be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It can.
    ReadWrite,
    /// It cannot.
    ReadOnly,
}

/// Makes what was written durable, and what is in `/boot` visible to boot loaders, which replay no
/// journal. **Blocking.**
pub trait BootSync: Debug + Send + Sync {
    /// Returns when everything written to the filesystem of the repository and the deployments is
    /// durable.
    fn sync_deployments(&self, repo: &Path) -> Result<()>;

    /// Returns when everything written below `boot` is where a boot loader reads it.
    fn sync_boot(&self, boot: &Path) -> Result<()>;
}

/// Turns the machine off and on. **Blocking.**
pub trait Power: Debug + Send + Sync {
    /// Starts a reboot, and returns.
    fn reboot(&self) -> Result<()>;
}

/// The machine around a sysroot.
#[derive(Debug, Clone)]
pub struct Host {
    /// Runs programs.
    pub programs: Arc<dyn Programs>,
    /// Mounts filesystems.
    pub mounts: Arc<dyn Mounts>,
    /// Syncs `/boot`.
    pub boot_sync: Arc<dyn BootSync>,
    /// Reboots.
    pub power: Arc<dyn Power>,
}

impl Default for Host {
    /// Returns the machine that this runs on.
    fn default() -> Self {
        let machine = Arc::new(ThisMachine);
        Self {
            programs: machine.clone(),
            mounts: machine.clone(),
            boot_sync: machine.clone(),
            power: machine,
        }
    }
}

/// The machine that this runs on.
#[derive(Debug, Clone, Copy)]
pub struct ThisMachine;

impl Programs for ThisMachine {
    fn run(&self, call: &Call) -> Result<()> {
        let mut command = match &call.root {
            None => Command::new(&call.program),
            Some(root) => {
                let mut command = Command::new("chroot");
                command.arg(root).arg(&call.program);
                command
            }
        };
        command.args(&call.args).envs(call.env.iter().cloned());
        if let Some(dir) = &call.dir {
            command.current_dir(dir);
        }
        let name = call.program.to_string_lossy().into_owned();
        let output = command
            .stdin(Stdio::null())
            .output()
            .map_err(|e| Error::io(format!("{name} cannot be run"), e))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let problem = format!("{name} failed ({}): {}", output.status, said.trim());
        Err(Error::new(ErrorKind::Denied, problem))
    }
}

impl Mounts for ThisMachine {
    fn overlay(&self, overlay: &Overlay) -> Result<()> {
        let Overlay {
            lower,
            upper,
            work,
            target,
            access,
        } = overlay;
        for path in [lower, upper, work] {
            if path.to_string_lossy().contains([',', ':', '\\']) {
                let problem =
                    "cannot be part of an overlay: its name has a comma, colon or backslash";
                return Err(Error::invalid(problem).about(path.as_path()));
            }
        }
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.display(),
            upper.display(),
            work.display()
        );
        let options = std::ffi::CString::new(options)
            .map_err(|_| Error::invalid("a path with NUL cannot be mounted"))?;
        let flags = match access {
            Access::ReadWrite => MountFlags::empty(),
            Access::ReadOnly => MountFlags::RDONLY,
        };
        rustix::mount::mount(
            "overlay",
            target,
            "overlay",
            flags,
            Some(options.as_c_str()),
        )
        .map_err(|e| files::failed(target, "no overlay can be mounted there")(e.into()))
    }
}

impl BootSync for ThisMachine {
    fn sync_deployments(&self, repo: &Path) -> Result<()> {
        files::sync_filesystem(repo)
    }

    /// Syncs the filesystem, and, where `/boot` is one of its own, freezes and thaws it: that writes
    /// out the journal, which boot loaders do not read.
    fn sync_boot(&self, boot: &Path) -> Result<()> {
        files::sync_filesystem(boot)?;
        let Some(above) = boot.parent() else {
            return Ok(());
        };
        // Where the root is an image, the directory above is on none of the disk's filesystems.
        let repo_above = above.join("ostree");
        let beside = match repo_above.exists() {
            true => &*repo_above,
            false => above,
        };
        if files::device(boot)? == files::device(beside)? {
            return Ok(());
        }
        let script = "fsfreeze --freeze \"$1\" || exit 0; fsfreeze --unfreeze \"$1\"";
        match guarded(script, boot) {
            Ok(output) if output.status.success() => Ok(()),
            // Without these programs the sync above is all that can be had.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            _ => {
                let _ = Command::new("fsfreeze")
                    .arg("--unfreeze")
                    .arg(boot)
                    .output();
                let problem = "could not be frozen and thawed, so a boot loader may not see it";
                Err(Error::new(ErrorKind::Indeterminate, problem).about(boot))
            }
        }
    }
}

/// Runs `script` on a filesystem in a process of its own.
///
/// A frozen filesystem with nobody left to thaw it would hang the machine: that process outlives this
/// one, the shell outlives a failure of its first command, and the timer outlives the shell.
fn guarded(script: &str, boot: &Path) -> std::io::Result<std::process::Output> {
    Command::new("timeout")
        .args(["--kill-after=5", "30", "sh", "-c", script, "sh"])
        .arg(boot)
        .stdin(Stdio::null())
        .output()
}

/// Rehearses the freeze of `/boot`, wherever it is: starts the process that would freeze and thaw it,
/// which says that it ran, and fails then. Nothing is frozen.
#[derive(Debug, Clone, Copy)]
pub struct RehearsedFreeze;

impl BootSync for RehearsedFreeze {
    fn sync_deployments(&self, repo: &Path) -> Result<()> {
        files::sync_filesystem(repo)
    }

    fn sync_boot(&self, boot: &Path) -> Result<()> {
        let script = "test -d \"$1\" && echo fifreeze watchdog was run";
        let about = |problem, e| Error::io(problem, e).about(boot);
        let run = guarded(script, boot);
        let run = run.map_err(|e| about("the process that thaws it cannot be started", e))?;
        let said = String::from_utf8_lossy(&run.stdout);
        let problem = format!(
            "During fsfreeze-thaw: aborting due to test-fifreeze ({})",
            said.trim()
        );
        Err(Error::new(ErrorKind::Cancelled, problem))
    }
}

impl Power for ThisMachine {
    fn reboot(&self) -> Result<()> {
        self.run(&Call {
            program: "systemctl".into(),
            args: vec!["reboot".into()],
            ..Call::default()
        })
    }
}
