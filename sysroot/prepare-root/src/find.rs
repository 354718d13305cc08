//! What there is: on the disk, and in the kernel.

use std::fs;
use std::io::ErrorKind as IoErrorKind;
use std::path::{Component, Path, PathBuf};

use rustix::mount::FsOpenFlags;
use treeferry_core::error::{Error, Result};
use treeferry_core::format::keyfile::KeyFile;

use crate::cmdline::KernelCmdline;
use crate::plan::{Boot, Facts, Image, Usr, Var};

/// The places that early boot works with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Where the physical root is mounted.
    pub sysroot: PathBuf,
    /// A directory, made if need be, where the new root is put together.
    pub staging: PathBuf,
    /// Where things that live until the next reboot are kept.
    pub run: PathBuf,
    /// Directories that may hold `prepare-root.conf`, the first that does counts: those of the
    /// initramfs, which whoever signed the kernel may have signed as well.
    pub configuration: Vec<PathBuf>,
}

impl Places {
    /// The places in an initramfs whose physical root is mounted at `sysroot`.
    pub fn in_initramfs(sysroot: impl Into<PathBuf>) -> Self {
        let sysroot = sysroot.into();
        let mut staging = sysroot.clone().into_os_string();
        staging.push(".tmp");
        Self {
            sysroot,
            staging: staging.into(),
            run: "/run".into(),
            configuration: vec!["/etc/ostree".into(), "/usr/lib/ostree".into()],
        }
    }
}

/// Finds the deployment that the kernel was told of.
///
/// # Errors
///
/// Names what is not there, and what was looked for.
pub fn deployment(places: &Places, kernel: &KernelCmdline) -> Result<PathBuf> {
    let named = kernel.deployment().ok_or_else(|| {
        Error::missing(
            "the kernel was not told what to boot: its command line has no ostree= argument; choose \
             an entry of the boot menu that has one",
        )
        .about(PathBuf::from("/proc/cmdline"))
    })?;
    let link = places.sysroot.join(&named);
    let fail = |e| Error::io("what ostree= names cannot be found", e).about(link.clone());
    let root = fs::canonicalize(&places.sysroot).map_err(fail)?;
    let found = fs::canonicalize(&link).map_err(fail)?;
    match found.strip_prefix(&root) {
        Ok(below) if is_deployment(below) && found.is_dir() => Ok(below.to_owned()),
        _ => Err(Error::invalid(format!(
            "what ostree= names leads to {}, which is no deployment (ostree/deploy/STATEROOT/deploy/…)",
            found.display()
        ))
        .about(link)),
    }
}

fn is_deployment(path: &Path) -> bool {
    let parts: Vec<_> = path.components().collect();
    let normal = |part: &Component<'_>, name: &str| part.as_os_str() == name;
    parts.len() == 5
        && normal(&parts[0], "ostree")
        && normal(&parts[1], "deploy")
        && normal(&parts[3], "deploy")
}

/// Looks at the deployment and the kernel.
pub fn facts(places: &Places, deployment: &Path) -> Result<Facts> {
    let tree = places.sysroot.join(deployment);
    let boot = places.sysroot.join("boot");
    let is_link = |path: PathBuf| fs::symlink_metadata(path).is_ok_and(|m| m.is_symlink());
    let image = match tree.join(".ostree.cfs").exists() {
        false => Image::Missing,
        true if kernel_mounts_images() => Image::Usable,
        true => Image::KernelCannot,
    };
    Ok(Facts {
        sysroot: places.sysroot.clone(),
        deployment: deployment.to_owned(),
        staging: places.staging.clone(),
        run: places.run.clone(),
        usr: match tree.join(".usr-ovl-work").is_dir() {
            true => Usr::Unlocked,
            false => Usr::Locked,
        },
        boot: match is_link(boot.join("loader")) && tree.join("boot").is_dir() {
            true => Boot::InSysroot,
            false => Boot::Elsewhere,
        },
        var: match mounts_var(&read_text(&tree.join("etc/fstab"))?) {
            true => Var::Fstab,
            false => Var::Stateroot,
        },
        image,
    })
}

/// Reads the first `prepare-root.conf`: the initramfs's, else the deployment's own.
pub fn configuration(places: &Places, deployment: &Path) -> Result<KeyFile> {
    let tree = places.sysroot.join(deployment);
    let own = [tree.join("etc/ostree"), tree.join("usr/lib/ostree")];
    for directory in places.configuration.iter().chain(&own) {
        let path = directory.join("prepare-root.conf");
        if path.exists() {
            return key_file(&path);
        }
    }
    Ok(KeyFile::new())
}

/// Reads the configuration of the repository; an empty one when there is none.
pub fn repository(places: &Places) -> Result<KeyFile> {
    key_file(&places.sysroot.join("ostree/repo/config"))
}

fn key_file(path: &Path) -> Result<KeyFile> {
    KeyFile::parse(read_text(path)?).map_err(|e| Error::from(e).about(path.to_owned()))
}

/// Reads a text file; empty when it is not there.
fn read_text(path: &Path) -> Result<String> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(e) if e.kind() == IoErrorKind::NotFound => Ok(String::new()),
        Err(e) => Err(Error::io("cannot be read", e).about(path.to_owned())),
    }
}

fn mounts_var(fstab: &str) -> bool {
    let second = |line: &str| line.split_ascii_whitespace().nth(1).map(str::to_owned);
    fstab
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .filter_map(second)
        .any(|at| at.trim_end_matches('/') == "/var")
}

/// Returns whether the kernel mounts erofs images, from files (since Linux 6.12) or from loop devices, and
/// overlays. Asking it loads modules that are there.
fn kernel_mounts_images() -> bool {
    let knows = |name: &str| rustix::mount::fsopen(name, FsOpenFlags::FSOPEN_CLOEXEC).is_ok();
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let has_loop = || Path::new("/dev/loop-control").exists();
    knows("erofs") && knows("overlay") && (version(&release) >= (6, 12) || has_loop())
}

fn version(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_fstab_that_counts() {
        assert!(mounts_var("# x\nLABEL=v /var ext4 defaults 0 0\n"));
        assert!(mounts_var("/dev/sda3\t/var/\txfs\tdefaults"));
        assert!(!mounts_var(
            "#LABEL=v /var ext4\n/dev/a /var/log ext4\n/var\n"
        ));
        assert!(!mounts_var(""));
    }

    #[test]
    fn versions_of_kernels() {
        assert_eq!(version("6.12.117+deb12-cloud-amd64\n"), (6, 12));
        assert_eq!(version("6.1.0-56"), (6, 1));
        assert_eq!(version(""), (0, 0));
    }

    fn places(dir: &Path) -> Places {
        Places {
            staging: dir.join("new"),
            run: dir.join("run"),
            configuration: vec![dir.join("initramfs")],
            ..Places::in_initramfs(dir.join("disk"))
        }
    }

    #[test]
    fn what_is_no_deployment_is_not_booted() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(dir.path());
        let tree = places.sysroot.join("ostree/deploy/os/deploy/abc.0");
        fs::create_dir_all(&tree).unwrap();
        let link = |name: &str, to: &str| {
            std::os::unix::fs::symlink(to, places.sysroot.join("ostree").join(name)).unwrap();
        };
        link("good", "deploy/os/deploy/abc.0");
        link("short", "deploy/os");
        link("out", "../../..");
        link("gone", "deploy/os/deploy/abd.0");
        let find = |name: &str| {
            deployment(
                &places,
                &KernelCmdline::parse(&format!("ostree=/ostree/{name}")),
            )
        };
        assert_eq!(
            find("good").unwrap(),
            Path::new("ostree/deploy/os/deploy/abc.0")
        );
        for wrong in ["short", "out", "gone", "none"] {
            let error = find(wrong).unwrap_err().to_string();
            assert!(error.contains(wrong), "{error}");
        }
        let none = deployment(&places, &KernelCmdline::parse("quiet")).unwrap_err();
        assert!(none.to_string().contains("ostree="), "{none}");
    }

    #[test]
    fn the_configuration_of_the_initramfs_comes_first() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(dir.path());
        let deployment = Path::new("ostree/deploy/os/deploy/abc.0");
        let own = places.sysroot.join(deployment).join("usr/lib/ostree");
        fs::create_dir_all(&own).unwrap();
        assert!(
            configuration(&places, deployment)
                .unwrap()
                .groups()
                .is_empty()
        );
        fs::write(own.join("prepare-root.conf"), "[etc]\ntransient=true\n").unwrap();
        assert_eq!(
            configuration(&places, deployment).unwrap().groups(),
            ["etc"]
        );
        fs::create_dir_all(&places.configuration[0]).unwrap();
        fs::write(
            places.configuration[0].join("prepare-root.conf"),
            "[root]\n",
        )
        .unwrap();
        assert_eq!(
            configuration(&places, deployment).unwrap().groups(),
            ["root"]
        );
    }
}
