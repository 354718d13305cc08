//! What a deployment boots from: kernel, initramfs, device trees.
//!
//! ```text
//! usr/lib/modules/VERSION/{vmlinuz,initramfs.img,devicetree,dtb/,.vmlinuz.hmac,aboot.img}
//! usr/lib/ostree-boot/, boot/     of old: {vmlinuz,initramfs,devicetree}-…-CHECKSUM
//! ```

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use treeferry_core::error::{Error, Result};
use treeferry_core::format::{Checksum, Hasher};

use crate::files::{self, failed};
use crate::sysroot::DeviceTrees;

/// What a deployment boots from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Kernel {
    /// The directory that all of it is in.
    pub dir: PathBuf,
    /// The checksum of kernel, initramfs and device trees.
    pub bootcsum: Checksum,
    /// The kernel.
    pub kernel: BootFile,
    /// The initramfs.
    pub initramfs: Option<BootFile>,
    /// The device tree, or trees.
    pub device_tree: Option<DeviceTree>,
    /// The kernel's checksum for FIPS.
    pub hmac: Option<BootFile>,
    /// An Android boot image.
    pub aboot: Option<BootFile>,
}

/// A file to boot from, and what it is called in `/boot`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootFile {
    /// Its name in the tree.
    pub source: String,
    /// Its name in `/boot`.
    pub name: String,
}

/// Device trees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceTree {
    /// The one to use.
    File(BootFile),
    /// A directory of them: the boot loader chooses.
    Dir,
}

/// The directory of device trees, in the tree and in `/boot`.
pub(crate) const DTB_DIR: &str = "dtb";

impl BootFile {
    fn new(source: &str, name: String) -> Self {
        Self {
            source: source.to_owned(),
            name,
        }
    }
}

impl Kernel {
    /// Finds what the tree at `root` boots from. **Blocking.**
    ///
    /// # Errors
    /// [`treeferry_core::ErrorKind::Missing`] when there is no kernel.
    pub fn find(root: &Path, device_trees: DeviceTrees) -> Result<Self> {
        let modules = Self::in_modules(root, device_trees)?;
        let legacy = Self::in_legacy(root)?;
        match (modules, legacy) {
            // The old place counts if only it has an initramfs.
            (Some(modules), Some(legacy)) => {
                let old = legacy.initramfs.is_some() && modules.initramfs.is_none();
                Ok(if old { legacy } else { modules })
            }
            (Some(kernel), None) | (None, Some(kernel)) => Ok(kernel),
            (None, None) => {
                let problem =
                    "Failed to find kernel in /usr/lib/modules, /usr/lib/ostree-boot or /boot";
                Err(Error::missing(problem))
            }
        }
    }

    fn in_modules(root: &Path, device_trees: DeviceTrees) -> Result<Option<Self>> {
        let modules = root.join("usr/lib/modules");
        for version in files::names(&modules)? {
            let dir = modules.join(&version);
            if !files::look(&dir)?.is_some_and(|meta| meta.is_dir())
                || !is_file(&dir.join("vmlinuz"))?
            {
                continue;
            }
            let version = version.to_string_lossy();
            return Self::of_version(dir, &version, device_trees).map(Some);
        }
        Ok(None)
    }

    fn of_version(dir: PathBuf, version: &str, device_trees: DeviceTrees) -> Result<Self> {
        let mut hasher = Hasher::new();
        hash_file(&dir.join("vmlinuz"), &mut hasher)?;
        let mut initramfs = None;
        for source in ["initramfs.img", "initramfs"] {
            if is_file(&dir.join(source))? {
                hash_file(&dir.join(source), &mut hasher)?;
                initramfs = Some(BootFile::new(source, format!("initramfs-{version}.img")));
                break;
            }
        }
        let optional = |source: &str, name: String| -> Result<Option<BootFile>> {
            let there = is_file(&dir.join(source))?;
            Ok(there.then(|| BootFile::new(source, name)))
        };
        let device_tree = match device_trees {
            DeviceTrees::Ignore => None,
            DeviceTrees::Use => match optional("devicetree", format!("devicetree-{version}"))? {
                Some(file) => {
                    hash_file(&dir.join("devicetree"), &mut hasher)?;
                    Some(DeviceTree::File(file))
                }
                None if dir.join(DTB_DIR).is_dir() => {
                    hash_dir(&dir.join(DTB_DIR), &mut hasher)?;
                    Some(DeviceTree::Dir)
                }
                None => None,
            },
        };
        let hmac = optional(".vmlinuz.hmac", format!(".vmlinuz-{version}.hmac"))?;
        let aboot = optional("aboot.img", format!("aboot-{version}.img"))?;
        Ok(Self {
            bootcsum: hasher.finish(),
            kernel: BootFile::new("vmlinuz", format!("vmlinuz-{version}")),
            initramfs,
            device_tree,
            hmac,
            aboot,
            dir,
        })
    }

    /// Looks where kernels were kept before, with a checksum at the end of their names.
    fn in_legacy(root: &Path) -> Result<Option<Self>> {
        let places = ["usr/lib/ostree-boot", "boot"].map(|place| root.join(place));
        let Some(dir) = places.into_iter().find(|dir| dir.is_dir()) else {
            return Ok(None);
        };
        let names = files::names(&dir)?;
        let find = |prefix: &str| {
            names.iter().find_map(|name| {
                let source = name.to_str().filter(|name| name.starts_with(prefix))?;
                let (name, csum) = source.rsplit_once('-')?;
                let csum: Checksum = csum.parse().ok()?;
                Some((BootFile::new(source, name.to_owned()), csum))
            })
        };
        let Some((kernel, bootcsum)) = find("vmlinuz-") else {
            return Ok(None);
        };
        let same = |found: Option<(BootFile, Checksum)>, problem: &'static str| match found {
            Some((_, csum)) if csum != bootcsum => {
                Err(Error::invalid(problem).about(dir.as_path()))
            }
            found => Ok(found.map(|(file, _)| file)),
        };
        let initramfs = same(find("initramfs-"), "Mismatched kernel checksum vs initrd")?;
        let device_tree = "Mismatched kernel checksum vs device tree in tree";
        let device_tree = same(find("devicetree-"), device_tree)?.map(DeviceTree::File);
        Ok(Some(Self {
            bootcsum,
            kernel,
            initramfs,
            device_tree,
            hmac: None,
            aboot: None,
            dir,
        }))
    }

    /// Returns the files that are copied to `/boot` one by one.
    pub fn files(&self) -> Vec<&BootFile> {
        let tree = match &self.device_tree {
            Some(DeviceTree::File(file)) => Some(file),
            _ => None,
        };
        let all = [
            Some(&self.kernel),
            self.initramfs.as_ref(),
            tree,
            self.hmac.as_ref(),
            self.aboot.as_ref(),
        ];
        all.into_iter().flatten().collect()
    }

    /// Returns the path of a file in the tree.
    pub fn source(&self, file: &BootFile) -> PathBuf {
        self.dir.join(&file.source)
    }

    /// Returns how much room it takes in `/boot`, in blocks of `block_bytes`. **Blocking.**
    pub fn boot_bytes(&self, block_bytes: u64) -> Result<u64> {
        let rounded = |bytes: u64| bytes.div_ceil(block_bytes.max(1)) * block_bytes.max(1);
        let mut total = 0;
        let mut add = |path: &Path| -> Result<()> {
            let meta = std::fs::metadata(path).map_err(failed(path, "cannot be looked at"))?;
            total += rounded(meta.len());
            Ok(())
        };
        for file in self.files() {
            add(&self.source(file))?;
        }
        if self.device_tree == Some(DeviceTree::Dir) {
            for path in walk(&self.dir.join(DTB_DIR))? {
                add(&path)?;
            }
        }
        // Its directories.
        Ok(total + 2 * block_bytes)
    }
}

fn is_file(path: &Path) -> Result<bool> {
    match std::fs::metadata(path) {
        Ok(meta) => Ok(meta.is_file()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(failed(path, "cannot be looked at")(e)),
    }
}

fn hash_file(path: &Path, hasher: &mut Hasher) -> Result<()> {
    let mut file = File::open(path).map_err(failed(path, "cannot be opened"))?;
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match file
            .read(&mut buffer)
            .map_err(failed(path, "cannot be read"))?
        {
            0 => return Ok(()),
            length => hasher.update(&buffer[..length]),
        }
    }
}

/// Returns the files below a directory in OSTree's order: each directory's names sorted, and
/// directories entered where they stand.
fn walk(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(path) = todo.pop() {
        let is_dir = files::look(&path)?.is_some_and(|meta| meta.is_dir());
        match is_dir {
            false => found.push(path),
            true => todo.extend(
                files::names(&path)?
                    .iter()
                    .rev()
                    .map(|name| path.join(name)),
            ),
        }
    }
    Ok(found)
}

fn hash_dir(dir: &Path, hasher: &mut Hasher) -> Result<()> {
    walk(dir)?
        .iter()
        .try_for_each(|path| hash_file(path, hasher))
}
