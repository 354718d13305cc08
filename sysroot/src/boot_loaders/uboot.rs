//! U-Boot: `uEnv.txt`, variables for a boot script.

use treeferry_core::error::{Error, Result};

use super::{Atomicity, BootLoader, Change, EntryPaths, Step, require_linux};
use crate::boot_entry::BootEntry;
use crate::files;
use crate::layout::Layout;

/// U-Boot.
#[derive(Debug, Clone, Copy)]
pub struct Uboot;

impl BootLoader for Uboot {
    fn name(&self) -> &'static str {
        "U-Boot"
    }

    fn is_active(&self, layout: &Layout) -> Result<bool> {
        Ok(files::look(&layout.root().join("boot/loader/uEnv.txt"))?.is_some())
    }

    fn atomicity(&self, _: &Layout) -> Result<Atomicity> {
        Ok(Atomicity::Atomic)
    }

    fn before(&self, change: &Change<'_>) -> Result<Vec<Step>> {
        let own = change
            .default_deployment
            .map(|dir| dir.join("usr/lib/ostree-boot/uEnv.txt"));
        let own = own.map(|path| files::read_text(&change.layout.root().join(path)));
        let own = own.transpose()?.flatten();
        Ok(vec![Step::Write {
            path: change.new_dir.join("uEnv.txt"),
            bytes: config(change.entries, own.as_deref(), change.paths)?.into_bytes(),
        }])
    }

    fn after(&self, _: &Change<'_>) -> Result<Vec<Step>> {
        Ok(Vec::new())
    }
}

/// Returns the variables: those of the default without, of the others with a number at the end.
/// `own` is what the default deployment brings itself.
fn config(entries: &[BootEntry], own: Option<&str>, paths: EntryPaths) -> Result<String> {
    let mut lines = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let number = if index == 0 {
            String::new()
        } else {
            (index + 1).to_string()
        };
        let prefix = paths.to_root();
        lines.push(format!(
            "kernel_image{number}={prefix}{}",
            require_linux(entry)?
        ));
        for (variable, key) in [
            ("ramdisk_image", "initrd"),
            ("fdt_file", "devicetree"),
            ("fdtdir", "fdtdir"),
        ] {
            if let Some(value) = entry.get(key) {
                lines.push(format!("{variable}{number}={prefix}{value}"));
            }
        }
        if let Some(options) = entry.get("options") {
            if entry.args().last_value("ostree").is_none() {
                let problem = "No ostree= kernel argument found in boot loader configuration file";
                return Err(Error::invalid(problem));
            }
            lines.push(format!("bootargs{number}={options}"));
            if let (0, Some(own)) = (index, own) {
                lines.push(own.to_owned());
            }
        }
    }
    Ok(lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_numbered_and_the_deployments_own_follow_the_first() {
        let a = "linux /a\ninitrd /i\nfdtdir /d\noptions x ostree=/ostree/boot.0/o/c/0\n";
        let b = "linux /b\ndevicetree /t\noptions ostree=/ostree/boot.0/o/c/1\n";
        let entries = [BootEntry::parse(a), BootEntry::parse(b)];
        let text = config(&entries, Some("load=a"), EntryPaths::FromBoot).unwrap();
        let expected = "kernel_image=/boot/a\nramdisk_image=/boot/i\nfdtdir=/boot/d\n\
                        bootargs=x ostree=/ostree/boot.0/o/c/0\nload=a\nkernel_image2=/boot/b\n\
                        fdt_file2=/boot/t\nbootargs2=ostree=/ostree/boot.0/o/c/1\n";
        assert_eq!(text, expected);
    }
}
