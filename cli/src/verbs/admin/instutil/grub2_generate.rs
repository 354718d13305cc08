//! `admin instutil grub2-generate`: called by a script of `grub2-mkconfig`.

use treeferry_sysroot::Turn;
use treeferry_sysroot::boot_loaders::{Firmware, GrubContext, grub_menu};

use crate::failure::{Failure, Result};
use crate::output;
use crate::verbs::admin::machine::Machine;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which menu: 0 or 1 (default: the one that is being written, else the one that counts)
    #[arg(value_name = "[BOOTVERSION]")]
    turn: Option<String>,
}

pub(super) async fn run(args: Args, machine: &Machine) -> Result<()> {
    let variable = |name: &str| {
        let missing = || {
            Failure::new(format!(
                "{name} is not set: this is called by grub2-mkconfig"
            ))
        };
        std::env::var(name).map_err(|_| missing())
    };
    let turn = args
        .turn
        .or_else(|| std::env::var("_OSTREE_GRUB2_BOOTVERSION").ok());
    let turn = turn.map(|word| {
        Turn::parse(&word).ok_or_else(|| Failure::new(format!("Invalid bootversion: {word}")))
    });
    let entries = machine.sysroot.menu_entries(turn.transpose()?).await?;
    let context = GrubContext {
        boot_device_id: variable("GRUB2_BOOT_DEVICE_ID")?,
        prepare_root: variable("GRUB2_PREPARE_ROOT_CACHE")?,
        firmware: match std::env::var_os("_OSTREE_GRUB2_IS_EFI") {
            Some(_) => Firmware::Efi,
            None => Firmware::Other,
        },
    };
    Ok(output::line(grub_menu(&entries, &context)?.trim_end())?)
}
