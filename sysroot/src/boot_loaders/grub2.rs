//! GRUB 2: `grub.cfg`, made by `grub2-mkconfig` or a script that is called like it.
//!
//! Where GRUB reads the menu itself, as `bootupd` sets it up, nothing is to be done.

use std::ffi::OsString;
use std::path::PathBuf;

use treeferry_core::error::{Error, Result};

use super::{Atomicity, BootLoader, Booted, Change, Step};
use crate::boot_entry::BootEntry;
use crate::files;
use crate::host::Call;
use crate::layout::Layout;

const BIOS: [&str; 2] = ["boot/grub/grub.cfg", "boot/grub2/grub.cfg"];
const EFI: &str = "boot/efi/EFI";
const BOOTUPD: &str = "boot/bootupd-state.json";

/// How GRUB's configuration is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GrubOptions {
    /// The program.
    pub script: GrubScript,
}

/// The program that makes GRUB's configuration. It is called with `-o FILE`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum GrubScript {
    /// `grub2-mkconfig` of the system, or of the new deployment if none runs.
    #[default]
    System,
    /// Another one, which needs no system around it.
    Other(OsString),
}

/// GRUB 2.
#[derive(Debug, Clone, Default)]
pub struct Grub2 {
    options: GrubOptions,
}

/// Where GRUB finds its configuration.
enum Place {
    Bios,
    Efi(PathBuf),
    /// Nowhere: it reads the menu.
    Menu,
}

impl Grub2 {
    /// Returns it with these options.
    pub fn new(options: GrubOptions) -> Self {
        Self { options }
    }

    fn place(layout: &Layout) -> Result<Option<Place>> {
        let root = layout.root();
        if let Some(text) = files::read_text(&root.join(BOOTUPD))? {
            let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            if json
                .get("static-configs")
                .is_some_and(|configs| !configs.is_null())
            {
                return Ok(Some(Place::Menu));
            }
        }
        for path in BIOS {
            // A dangling link counts: the configuration that it leads to is about to be written.
            if files::look(&root.join(path))?.is_some() {
                return Ok(Some(Place::Bios));
            }
        }
        for name in files::names(&root.join(EFI))? {
            let path = root.join(EFI).join(&name).join("grub.cfg");
            if name != "BOOT" && files::look(&path)?.is_some() {
                return Ok(Some(Place::Efi(path)));
            }
        }
        Ok(None)
    }

    fn call(&self, change: &Change<'_>, output: &std::path::Path, is_efi: bool) -> Call {
        let turn = change.new_dir.extension().unwrap_or_default();
        let mut call = Call {
            args: vec!["-o".into(), output.into()],
            env: vec![("_OSTREE_GRUB2_BOOTVERSION".into(), turn.into())],
            ..Call::default()
        };
        if is_efi {
            call.env.push(("_OSTREE_GRUB2_IS_EFI".into(), "1".into()));
        }
        match &self.options.script {
            GrubScript::Other(program) => call.program.clone_from(program),
            GrubScript::System => {
                call.program = "grub2-mkconfig".into();
                if let (Booted::No, Some(deployment)) = (change.booted, change.default_deployment) {
                    call.root = Some(change.layout.root().join(deployment));
                }
            }
        }
        call
    }
}

impl BootLoader for Grub2 {
    fn name(&self) -> &'static str {
        "grub2"
    }

    fn is_active(&self, layout: &Layout) -> Result<bool> {
        let place = Self::place(layout)?;
        Ok(matches!(place, Some(Place::Bios | Place::Efi(_))))
    }

    fn atomicity(&self, layout: &Layout) -> Result<Atomicity> {
        Ok(match Self::place(layout)? {
            Some(Place::Efi(_)) => Atomicity::Steps,
            _ => Atomicity::Atomic,
        })
    }

    fn before(&self, change: &Change<'_>) -> Result<Vec<Step>> {
        match Self::place(change.layout)? {
            Some(Place::Menu) => Ok(Vec::new()),
            Some(Place::Efi(config)) => {
                // FAT cannot exchange it together with the menu: the old one is kept beside it.
                let new = config.with_extension("cfg.new");
                let old = files::read(&config)?.unwrap_or_default();
                Ok(vec![
                    Step::Remove(new.clone()),
                    Step::Call(self.call(change, &new, true)),
                    Step::Sync(new.clone()),
                    Step::Write {
                        path: config.with_extension("cfg.old"),
                        bytes: old,
                    },
                    Step::Rename {
                        from: new,
                        to: config,
                    },
                ])
            }
            Some(Place::Bios) | None => {
                let output = change.new_dir.join("grub.cfg");
                Ok(vec![
                    Step::Call(self.call(change, &output, false)),
                    Step::Sync(output),
                ])
            }
        }
    }

    fn after(&self, _: &Change<'_>) -> Result<Vec<Step>> {
        Ok(Vec::new())
    }
}

/// What `grub2-mkconfig` tells the script that it calls for a part of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrubContext {
    /// Tells menu entries of several disks apart.
    pub boot_device_id: String,
    /// Commands that make `/boot` readable.
    pub prepare_root: String,
    /// Whether GRUB was started by UEFI firmware.
    pub firmware: Firmware,
}

/// Which firmware starts GRUB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// UEFI.
    Efi,
    /// Anything else.
    Other,
}

/// Returns the part of GRUB's configuration that boots these entries.
pub fn grub_menu(entries: &[BootEntry], context: &GrubContext) -> Result<String> {
    let suffix = match (context.firmware, std::env::consts::ARCH) {
        (Firmware::Efi, "x86_64" | "x86") => "efi",
        (Firmware::Other, "x86_64" | "x86") => "16",
        _ => "",
    };
    let mut text = String::new();
    for (index, entry) in entries.iter().enumerate() {
        let title = quoted(entry.get("title").unwrap_or("(Untitled)"));
        let id = quoted(&format!("ostree-{index}-{}", context.boot_device_id));
        let kernel = entry.get("linux");
        let kernel =
            kernel.ok_or_else(|| Error::invalid("No \"linux\" key in bootloader config"))?;
        text += &format!(
            "menuentry {title} --class gnu-linux --class gnu --class os --unrestricted {id} {{\n\
             load_video\nset gfxpayload=keep\ninsmod gzio\n{}\nlinux{suffix} {kernel} {}\n",
            context.prepare_root,
            entry.get("options").unwrap_or_default()
        );
        if !entry.initrds().is_empty() {
            text += &format!("initrd{suffix} {}\n", entry.initrds().join(" "));
        }
        if let Some(tree) = entry.get("devicetree") {
            text += &format!("devicetree {tree}\n");
        }
        text += "}\n";
    }
    Ok(text)
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_menu_is_one_entry_a_deployment() {
        let entry = "title O's (ostree:0)\nlinux /k\ninitrd /i\ninitrd /j\noptions quiet\n";
        let context = GrubContext {
            boot_device_id: "id".into(),
            prepare_root: "search x".into(),
            firmware: Firmware::Efi,
        };
        let text = grub_menu(&[BootEntry::parse(entry)], &context).unwrap();
        assert!(
            text.starts_with("menuentry 'O'\\''s (ostree:0)' --class"),
            "{text}"
        );
        assert!(text.contains("'ostree-0-id' {\n") && text.contains("search x\n"));
        assert!(text.contains(" /k quiet\n") && text.contains(" /i /j\n"));
        assert!(grub_menu(&[BootEntry::default()], &context).is_err());
    }
}
