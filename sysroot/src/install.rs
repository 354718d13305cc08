//! Puts what a deployment boots from into `/boot`, and writes its menu entry.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use treeferry_core::error::{Error, ErrorKind, Result};
use treeferry_core::format::Checksum;

use crate::boot_entry::BootEntry;
use crate::deployment::Deployment;
use crate::files::{self, failed};
use crate::kernel::{DTB_DIR, DeviceTree, Kernel};
use crate::layout::{INITRD_OVERLAYS, boot_dir, relative_path};
use crate::names::{BootLink, Turn};
use crate::settings::Settings;
use crate::switch::{os_name, title};
use crate::sysroot::Sysroot;

/// What an entry says beyond what its deployment is.
pub(crate) struct EntryContext<'a> {
    pub(crate) index: usize,
    pub(crate) rank: u64,
    pub(crate) links: Turn,
    pub(crate) several_stateroots: bool,
    pub(crate) version: Option<&'a str>,
    pub(crate) settings: &'a Settings,
}

/// Where staged overlay initramfs images wait, below `/run/ostree`.
pub(crate) const STAGED_INITRDS: &str = "staged-initrds";

/// Installs what a deployment boots from, and returns its menu entry. **Blocking.**
pub(crate) fn install(
    sysroot: &Sysroot,
    deployment: &Deployment,
    context: &EntryContext<'_>,
) -> Result<BootEntry> {
    let root = sysroot.layout().deployment(&deployment.id);
    let kernel = Kernel::find(&root, sysroot.options().device_trees)?;
    // What is deployed already keeps the checksum that it is known by.
    let bootcsum = deployment.bootcsum.unwrap_or(kernel.bootcsum);
    let relative = boot_dir(&deployment.id.stateroot, &bootcsum);
    let dir = sysroot.layout().boot().join(&relative);
    files::make_dirs(&dir, 0o755)?;
    for file in kernel.files() {
        into_boot(&kernel.source(file), &dir.join(&file.name))?;
    }
    if kernel.device_tree == Some(DeviceTree::Dir) {
        copy_device_trees(&kernel.dir.join(DTB_DIR), &dir.join(DTB_DIR))?;
    }
    for overlay in &deployment.overlay_initrds {
        install_overlay(sysroot, overlay)?;
    }
    entry(&root, deployment, &kernel, &bootcsum, context)
}

/// Links or copies a file to `/boot`, whole or not at all.
fn into_boot(from: &Path, to: &Path) -> Result<()> {
    if files::look(to)?.is_some() {
        return Ok(());
    }
    if fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    let meta = fs::metadata(from).map_err(failed(from, "cannot be looked at"))?;
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    let temporary = to.with_file_name(format!(".{name}.tmp"));
    let copied = copy_to_boot(from, &meta, &temporary)
        .and_then(|()| fs::rename(&temporary, to).map_err(failed(to, "cannot be put in place")));
    copied.inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })
}

fn copy_to_boot(from: &Path, meta: &fs::Metadata, to: &Path) -> Result<()> {
    let mut source = fs::File::open(from).map_err(failed(from, "cannot be opened"))?;
    let mut file = fs::File::create(to).map_err(failed(to, "cannot be made"))?;
    std::io::copy(&mut source, &mut file).map_err(|e| {
        let full = matches!(e.kind(), std::io::ErrorKind::StorageFull);
        let error = failed(to, "cannot be written")(e);
        if !full {
            return error;
        }
        let kind = ErrorKind::NoSpace {
            needed_bytes: Some(meta.len()),
            available_bytes: None,
        };
        Error::new(kind, "has no room in /boot")
            .because(error)
            .about(to)
    })?;
    // FAT has neither owners nor modes.
    let _ = std::os::unix::fs::fchown(&file, Some(meta.uid()), Some(meta.gid()));
    let _ = file.set_permissions(meta.permissions());
    file.sync_all().map_err(failed(to, "cannot be synced"))
}

fn copy_device_trees(from: &Path, to: &Path) -> Result<()> {
    let temporary = to.with_extension("tmp");
    files::remove_all(&temporary)?;
    if files::look(to)?.is_some() {
        return Ok(());
    }
    let mut todo = vec![(from.to_owned(), temporary.clone())];
    while let Some((from, to)) = todo.pop() {
        files::make_dirs(&to, 0o755)?;
        for name in files::names(&from)? {
            let (from, to) = (from.join(&name), to.join(&name));
            match fs::metadata(&from).map_err(failed(&from, "cannot be looked at"))? {
                meta if meta.is_dir() => todo.push((from, to)),
                meta => copy_to_boot(&from, &meta, &to)?,
            }
        }
    }
    fs::rename(&temporary, to).map_err(failed(to, "cannot be put in place"))
}

fn install_overlay(sysroot: &Sysroot, overlay: &Checksum) -> Result<()> {
    let dir = sysroot.layout().boot().join(INITRD_OVERLAYS);
    files::make_dirs(&dir, 0o755)?;
    let staged = sysroot.run_path(STAGED_INITRDS).join(overlay.to_string());
    into_boot(&staged, &dir.join(format!("{overlay}.img")))
}

fn entry(
    root: &Path,
    deployment: &Deployment,
    kernel: &Kernel,
    bootcsum: &Checksum,
    context: &EntryContext<'_>,
) -> Result<BootEntry> {
    let id = &deployment.id;
    let prefix = context.settings.entry_paths.prefix();
    let path = |name: &str| format!("{prefix}{}/{name}", boot_dir(&id.stateroot, bootcsum));
    let mut entry = deployment.entry.clone();
    let name = read_os_name(root)?;
    let stateroot = context.several_stateroots.then_some(&id.stateroot);
    entry.set(
        "title",
        &title(&name, context.version, stateroot, context.index),
    );
    entry.set("version", &context.rank.to_string());
    entry.set("linux", &path(&kernel.kernel.name));
    for key in ["devicetree", "fdtdir", "aboot", "abootcfg"] {
        entry.remove(key);
    }
    match &kernel.device_tree {
        Some(DeviceTree::File(file)) => entry.set("devicetree", &path(&file.name)),
        Some(DeviceTree::Dir) => entry.set("fdtdir", &path(DTB_DIR)),
        None => {}
    }
    if let Some(aboot) = &kernel.aboot {
        let relative = boot_dir(&id.stateroot, bootcsum);
        entry.set("aboot", &format!("/{relative}/{}", aboot.name));
        let config = format!("/{}/usr/lib/ostree-boot/aboot.cfg", relative_path(id));
        entry.set("abootcfg", &config);
    }
    let link = BootLink {
        turn: context.links,
        stateroot: id.stateroot.clone(),
        bootcsum: *bootcsum,
        serial: deployment.boot_serial,
    };
    let mut args = entry.args();
    let mut initrds = Vec::new();
    const STATIC_INIT: &str = "usr/lib/ostree/ostree-prepare-root";
    match &kernel.initramfs {
        Some(initramfs) => {
            initrds.push(path(&initramfs.name));
            let overlay = |csum: &Checksum| format!("{prefix}{INITRD_OVERLAYS}/{csum}.img");
            initrds.extend(deployment.overlay_initrds.iter().map(overlay));
            // What an earlier deployment without initramfs needed.
            let init = args.last_value("init");
            if init.is_some_and(|init| {
                init.starts_with("/ostree/boot.") && init.ends_with(STATIC_INIT)
            }) {
                args.remove_key("init");
            }
        }
        None => args.replace(&format!("init={link}/{STATIC_INIT}")),
    }
    entry.set_initrds(initrds);
    args.replace(&format!("ostree={link}"));
    entry.set("options", &args.to_string());
    if context.index > 0 {
        for (key, value) in &context.settings.except_default {
            entry.set(key, value);
        }
    }
    Ok(entry)
}

fn read_os_name(root: &Path) -> Result<String> {
    for place in ["usr/lib/os-release", "etc/os-release", "usr/etc/os-release"] {
        if let Some(text) = files::read_text(&root.join(place))? {
            let missing = || Error::invalid("No PRETTY_NAME or ID in /etc/os-release");
            return os_name(&text).ok_or_else(missing);
        }
    }
    let problem = "is neither in /usr/lib nor in /etc: the boot menu needs the name of the system";
    Err(Error::missing(problem).about(Path::new("os-release")))
}
