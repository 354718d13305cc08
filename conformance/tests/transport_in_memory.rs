//! Files in memory, under both suites of transports.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod memory_transport;

use memory_transport::Memory;

treeferry_conformance::transport_suite!(reading, Memory::default());
treeferry_conformance::writable_transport_suite!(writing, Memory::default());
