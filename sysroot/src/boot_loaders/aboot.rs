//! Android boot loaders: `aboot-deploy` writes the boot image to its partition, after the change.

use treeferry_core::error::{Error, Result};

use super::{BootLoader, Change, Step, stamp};
use crate::host::Call;

/// An Android boot loader. Never chosen by itself: `sysroot.bootloader` must name it.
#[derive(Debug, Clone, Copy)]
pub struct Aboot;

impl BootLoader for Aboot {
    fn name(&self) -> &'static str {
        "aboot"
    }

    fn before(&self, change: &Change<'_>) -> Result<Vec<Step>> {
        Ok(vec![stamp::set(change)])
    }

    fn after(&self, change: &Change<'_>) -> Result<Vec<Step>> {
        let done = stamp::clear(change);
        let Some(entry) = change.entries.first() else {
            return Ok(vec![done]);
        };
        let get = |key: &str| {
            entry.get(key).ok_or_else(|| {
                let problem =
                    format!("No \"{key}\" key in the boot menu: the tree has no aboot.img");
                Error::missing(problem)
            })
        };
        let below_root = |path: &str| path.trim_start_matches('/').to_owned();
        let aboot = format!("boot/{}", below_root(get("aboot")?));
        let config = below_root(get("abootcfg")?);
        let args = ["-r", ".", "-c", &config, "-o", get("options")?, &aboot];
        Ok(vec![
            Step::Call(Call {
                program: "aboot-deploy".into(),
                args: args.map(Into::into).to_vec(),
                dir: Some(change.layout.root().to_owned()),
                ..Call::default()
            }),
            done,
        ])
    }
}
