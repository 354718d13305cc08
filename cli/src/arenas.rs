//! How the memory of many threads is kept.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// What tells glibc how many arenas there may be; read when a process begins.
const ARENAS_MAX: &str = "MALLOC_ARENA_MAX";

/// Begins this command again with one arena for all threads, unless somebody said how many.
///
/// glibc gives each thread an arena of its own, and each keeps what was freed in it: a delta between
/// two systems took 641 MiB to make, and takes some 300 with one, in no more time. Nothing may have
/// begun yet. Where this cannot be done the command goes on as it is.
pub(crate) fn share_one() {
    let Ok(program) = std::env::current_exe() else {
        return;
    };
    if std::env::var_os(ARENAS_MAX).is_some() {
        return;
    }
    let mut args = std::env::args_os();
    let mut again = Command::new(program);
    if let Some(name) = args.next() {
        again.arg0(name);
    }
    // It comes back only if it failed.
    let _ = again.args(args).env(ARENAS_MAX, "1").exec();
}
