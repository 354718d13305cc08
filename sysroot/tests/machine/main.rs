//! Sysroots in temporary directories, with trees that have a few bytes for a kernel.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod against_c;
mod boot_loaders;
mod cut_off;
mod disk_cost;
mod etc_merge;
mod fat;
mod images;
mod layers;
mod rig;
mod room;
mod staged;
