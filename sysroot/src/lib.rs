//! A machine that boots from OSTree deployments, in OSTree's own layout: either tool can take it over
//! from the other at any time.
//!
//! ```text
//! names, kargs, origin, boot_entry, staged_file     what stands in files            (pure)
//! order, switch, etc_merge, transition              what is decided                 (pure)
//! layout, sysroot, lock, load                       where it is, and what is there
//! deploy, finish, staging, write, install, menu     from a commit to the boot menu
//! image, integrity, verity                          the composefs image of a deployment
//! boot_loaders                                      what each boot loader needs     (pure, but looks)
//! boot_space, preflight, cleanup                    room
//! change, upgrade, unlock, overlay, boot_complete   what users do
//! host                                              programs, mounts, power: behind traits
//! ```
//!
//! A [`Sysroot`] is a handle of a root filesystem, which need not be `/`. [`Sysroot::load`] returns a
//! [`State`], a value: whoever changes something takes the [lock](Sysroot::lock), loads, decides by
//! the state, writes, and loads again. Nothing in here reads the environment, the clock, or the
//! machine's own `/`.
//!
//! Boot loaders read no journals, and power cuts happen: [`Sysroot::write_deployments`] writes
//! everything beside what counts and syncs it, and then changes the machine by one rename.

mod boot_complete;
mod boot_entry;
pub mod boot_loaders;
mod boot_space;
mod change;
mod cleanup;
mod deploy;
mod deployment;
pub mod etc_merge;
mod files;
mod finish;
pub mod host;
mod image;
mod install;
mod integrity;
mod kargs;
mod kernel;
mod labels;
mod layout;
mod load;
mod lock;
mod menu;
mod names;
pub mod order;
mod origin;
mod overlay;
mod post_copy;
mod preflight;
mod settings;
pub mod soft_reboot;
mod staged_file;
mod staging;
mod state_overlay;
mod status;
pub mod switch;
mod sysroot;
pub mod transition;
mod unlock;
mod upgrade;
mod verity;
mod write;

pub use boot_complete::BootReport;
pub use boot_entry::{BootEntry, EntryName, EntryNaming, Tries, counter_of};
pub use boot_space::{BootPlace, BootSpace, Room};
pub use cleanup::Cleanup;
pub use deploy::{Deployed, NewDeployment, VarLabels};
pub use deployment::{Deployment, SoftRebootTarget, Staging, Unlocked};
pub use kargs::KernelArgs;
pub use kernel::{BootFile, DeviceTree, Kernel};
pub use layout::{Layout, relative_path};
pub use load::State;
pub use lock::SysrootLock;
pub use names::{BootLink, DeploymentId, Stateroot, Turn};
pub use origin::{Origin, Pinned};
pub use overlay::{BASE_KEY, LayerOptions};
pub use preflight::{Need, Preflight};
pub use settings::Settings;
pub use staged_file::{Locked, StagedFile};
pub use staging::Finalized;
pub use status::{DeploymentStatus, Standing};
pub use sysroot::{
    BootLinks, DeviceTrees, Epoch, OpenOptions, RootInode, Running, Sealing, Sysroot, VarLayout,
};
pub use upgrade::{Downgrade, Found, Unconfigured, Upgrade};
pub use write::Written;
