//! Syslinux and extlinux: `syslinux.cfg`.

use treeferry_core::error::{Error, Result};

use super::{Atomicity, BootLoader, Change, EntryPaths, Step, require_linux};
use crate::boot_entry::BootEntry;
use crate::files;
use crate::layout::Layout;

const CONFIG: &str = "boot/syslinux/syslinux.cfg";

/// Syslinux or extlinux.
#[derive(Debug, Clone, Copy)]
pub struct Syslinux;

impl BootLoader for Syslinux {
    fn name(&self) -> &'static str {
        "syslinux"
    }

    fn is_active(&self, layout: &Layout) -> Result<bool> {
        Ok(files::look(&layout.root().join(CONFIG))?.is_some())
    }

    fn atomicity(&self, _: &Layout) -> Result<Atomicity> {
        Ok(Atomicity::Atomic)
    }

    fn before(&self, change: &Change<'_>) -> Result<Vec<Step>> {
        let old = files::read_text(&change.layout.root().join(CONFIG))?.unwrap_or_default();
        Ok(vec![Step::Write {
            path: change.new_dir.join("syslinux.cfg"),
            bytes: config(&old, change.entries, change.paths)?.into_bytes(),
        }])
    }

    fn after(&self, _: &Change<'_>) -> Result<Vec<Step>> {
        Ok(Vec::new())
    }
}

/// Returns the new configuration: what others wrote stays, labels of ours are written anew.
fn config(old: &str, entries: &[BootEntry], paths: EntryPaths) -> Result<String> {
    let mut kept: Vec<&str> = Vec::new();
    let mut default = None;
    let mut label: Option<Vec<&str>> = None;
    let end_label = |label: &mut Option<Vec<&'_ str>>| -> Result<Vec<String>> {
        let Some(lines) = label.take() else {
            return Ok(Vec::new());
        };
        let kernel = lines.iter().find_map(|line| line.strip_prefix("\tKERNEL "));
        let kernel =
            kernel.ok_or_else(|| Error::invalid("No KERNEL argument found after LABEL"))?;
        let ours = kernel.starts_with("/ostree/") || kernel.starts_with("/boot/ostree/");
        Ok(if ours {
            Vec::new()
        } else {
            lines.iter().map(|&l| l.to_owned()).collect()
        })
    };
    let mut lines: Vec<String> = Vec::new();
    for line in old.split('\n') {
        if label.is_some() && !line.starts_with('\t') {
            lines.extend(kept.drain(..).map(str::to_owned));
            lines.extend(end_label(&mut label)?);
        }
        match (&mut label, line.strip_prefix("DEFAULT ")) {
            (Some(label), _) => label.push(line),
            (None, Some(title)) => default = Some(title),
            (None, None) if line.starts_with("LABEL ") => label = Some(vec![line]),
            (None, None) => kept.push(line),
        }
    }
    lines.extend(kept.drain(..).map(str::to_owned));
    lines.extend(end_label(&mut label)?);
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    let ours =
        default.is_none_or(|title| title.starts_with("ostree:") || title.contains("(ostree"));
    if let (false, Some(title)) = (ours, default) {
        lines.insert(0, format!("DEFAULT {title}"));
    }
    for (index, entry) in entries.iter().enumerate() {
        let title = entry.get("title").unwrap_or("(Untitled)");
        if ours && index == 0 {
            lines.push(format!("DEFAULT {title}"));
        }
        lines.push(format!("LABEL {title}"));
        let prefix = paths.to_root();
        lines.push(format!("\tKERNEL {prefix}{}", require_linux(entry)?));
        if !entry.initrds().is_empty() {
            let all: Vec<_> = entry
                .initrds()
                .iter()
                .map(|i| format!("{prefix}{i}"))
                .collect();
            lines.push(format!("\tINITRD {}", all.join(",")));
        }
        if let Some(tree) = entry.get("devicetree") {
            lines.push(format!("\tDEVICETREE {prefix}{tree}"));
        }
        if let Some(trees) = entry.get("fdtdir") {
            lines.push(format!("\tFDTDIR {prefix}{trees}"));
        }
        if let Some(options) = entry.get("options") {
            lines.push(format!("\tAPPEND {options}"));
        }
    }
    Ok(lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_others_stay_and_ours_are_written_anew() {
        let entry =
            "title New (ostree:0)\nlinux /ostree/k\ninitrd /ostree/i\ninitrd /o\noptions q\n";
        let old = "TIMEOUT 20\nDEFAULT Old (ostree:0)\nLABEL Old (ostree:0)\n\tKERNEL /boot/ostree/x\n\
                   LABEL memtest\n\tKERNEL /memtest\n\tAPPEND a\n";
        let new = config(old, &[BootEntry::parse(entry)], EntryPaths::FromBoot).unwrap();
        let expected = "TIMEOUT 20\nLABEL memtest\n\tKERNEL /memtest\n\tAPPEND a\n\
                        DEFAULT New (ostree:0)\nLABEL New (ostree:0)\n\tKERNEL /boot/ostree/k\n\
                        \tINITRD /boot/ostree/i,/boot/o\n\tAPPEND q\n";
        assert_eq!(new, expected);
        let again = config(&new, &[BootEntry::parse(entry)], EntryPaths::FromBoot).unwrap();
        assert_eq!(again, expected);
    }

    #[test]
    fn the_default_of_somebody_else_stays() {
        let old = "DEFAULT windows\nLABEL windows\n\tKERNEL /win\n";
        let entry = BootEntry::parse("title X (ostree:0)\nlinux /boot/ostree/k\n");
        let new = config(old, &[entry], EntryPaths::FromRoot).unwrap();
        assert!(new.starts_with("DEFAULT windows\n") && new.matches("DEFAULT").count() == 1);
        assert!(new.contains("\tKERNEL /boot/ostree/k\n"));
    }
}
