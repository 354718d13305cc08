//! The command as its users have it: over HTTP, beside the C `ostree`, killed, and lied to.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../support/mod.rs"]
mod support;

mod attacks;
mod damage;
mod flatpak;
mod gpg;
mod hand_over;
mod hostile;
mod killed;
mod memory;
mod network;
mod publish;
mod pull;
mod signed;
mod trivial_httpd;
mod trouble;
mod vouched;
