//! Addresses, and commits that travel between places of every kind.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../../transports/usb/tests/support/media.rs"]
mod media;
#[path = "../../../transports/s3/tests/support/mod.rs"]
mod servers;
#[path = "../support/mod.rs"]
mod support;

mod addresses;
mod buckets;
mod containers;
mod counted;
mod deltas;
mod flatpaks;
mod plans;
mod pushes;
mod round_trip;
mod sticks;
