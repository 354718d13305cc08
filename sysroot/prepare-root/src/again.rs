//! Mounting once more what is mounted.

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use rustix::io::{Errno, Result};
use rustix::mount::MountFlags;

/// How long a filesystem may stay frozen. A freeze lasts as long as a snapshot takes to begin.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait before it is tried once more.
const PAUSE: Duration = Duration::from_millis(20);

/// Makes the mount at `path` writable, and the filesystem that it shows.
///
/// The kernel refuses that as busy while the filesystem is frozen: for a snapshot, or by a boot loader's
/// configuration that is made durable. That is waited for, up to 10 s.
///
/// # Errors
///
/// Those of `mount(2)`. Blocks the thread while it waits.
pub fn make_writable(path: &Path) -> Result<()> {
    // What counts is how long it was waited here: a try may itself be held up while the filesystem freezes.
    let mut waited = Duration::ZERO;
    loop {
        match rustix::mount::mount_remount(path, MountFlags::empty(), "") {
            Err(Errno::BUSY) if waited < PATIENCE => {
                sleep(PAUSE);
                waited += PAUSE;
            }
            done => return done,
        }
    }
}
