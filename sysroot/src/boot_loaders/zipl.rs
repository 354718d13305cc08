//! zipl, of IBM Z: writes where the kernel is to the boot record, and so runs after the change.

use treeferry_core::error::Result;

use super::{BootLoader, Booted, Change, Step, stamp};
use crate::host::Call;

/// zipl. Never chosen by itself: `sysroot.bootloader` must name it.
#[derive(Debug, Clone, Copy)]
pub struct Zipl;

impl BootLoader for Zipl {
    fn name(&self) -> &'static str {
        "zipl"
    }

    fn before(&self, change: &Change<'_>) -> Result<Vec<Step>> {
        Ok(vec![stamp::set(change)])
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
            stamp::clear(change),
        ])
    }
}
