//! Addresses, and commits that travel between places of every kind.

#![allow(clippy::unwrap_used)] // a test may panic

#[path = "../../../transports/usb/tests/support/media.rs"]
mod media;
#[path = "../support/mod.rs"]
mod support;

mod addresses;
mod plans;
mod pushes;
mod round_trip;
mod sticks;
