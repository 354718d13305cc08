//! zipl, of IBM Z: writes where the kernel is to the boot record, and so runs after the change.
//!
//! A stamp says that it has to run: whoever finds it after a power cut runs it.

use treeferry_core::error::Result;

use super::{Atomicity, BootLoader, Booted, Change, Step};
use crate::host::Call;
use crate::layout::Layout;

const STAMP: &str = "boot/ostree-bootloader-update.stamp";

/// zipl. Never chosen by itself: `sysroot.bootloader` must name it.
#[derive(Debug, Clone, Copy)]
pub struct Zipl;

impl BootLoader for Zipl {
    fn name(&self) -> &'static str {
        "zipl"
    }

    fn is_active(&self, _: &Layout) -> Result<bool> {
        Ok(false)
    }

    fn atomicity(&self, _: &Layout) -> Result<Atomicity> {
        Ok(Atomicity::Steps)
    }

    fn before(&self, change: &Change<'_>) -> Result<Vec<Step>> {
        Ok(vec![Step::Write {
            path: change.layout.root().join(STAMP),
            bytes: Vec::new(),
        }])
    }

    fn after(&self, change: &Change<'_>) -> Result<Vec<Step>> {
        let root = match (change.booted, change.default_deployment) {
            (Booted::No, Some(deployment)) => Some(change.layout.root().join(deployment)),
            _ => None,
        };
        Ok(vec![
            Step::Call(Call {
                program: "zipl".into(),
                args: ["--secure", "auto", "-V"].map(Into::into).to_vec(),
                root,
                ..Call::default()
            }),
            Step::Remove(change.layout.root().join(STAMP)),
        ])
    }
}
