//! What making and applying deltas may use on this machine.

use std::sync::Arc;

use treeferry_core::ops::delta::{ApplyBudget, GenerateOptions, SpillPlace};
use treeferry_core::spill;
use treeferry_core_liblzma::LibLzma;

use crate::dates;
use crate::place::Opened;

/// Returns where bytes wait that need not be in memory: where the repository's other walks leave what
/// does not fit, or with the temporary files of the machine.
pub(crate) fn spill_place(opened: &Opened) -> SpillPlace {
    match &opened.repo.spill().place {
        Some(place) => SpillPlace::Disk(place.clone()),
        None => of_the_machine(),
    }
}

fn of_the_machine() -> SpillPlace {
    SpillPlace::Disk(spill::SpillPlace::new(std::env::temp_dir()))
}

/// Returns what applying a delta may use.
pub(crate) fn to_apply(opened: &Opened) -> ApplyBudget {
    let mut budget = ApplyBudget::default();
    budget.xz = Arc::new(LibLzma);
    budget.spill = spill_place(opened);
    budget.decoders = decoders(opened.repo.pool().width(), memory_bytes());
    budget
}

/// The most that one decoder takes, with the part that it unpacks, bytes.
const DECODER_BYTES: u64 = 64 << 20;
/// All of them together take no more than one in so many bytes of what the machine has to give.
const SHARE: u64 = 8;

/// Returns how many parts are unpacked at once: one for each processor, as far as there is memory to spare.
fn decoders(processors: usize, memory_bytes: u64) -> usize {
    let fit = memory_bytes / SHARE / DECODER_BYTES;
    let fit = usize::try_from(fit).unwrap_or(usize::MAX);
    fit.clamp(1, processors.max(1))
}

/// Returns how much memory this machine, or the container that this is, has to give; 0 if it does not tell.
fn memory_bytes() -> u64 {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let free = available_bytes(&read("/proc/meminfo")).unwrap_or(0);
    // "max" where there is no limit.
    let limit = read("/sys/fs/cgroup/memory.max");
    free.min(limit.trim().parse().unwrap_or(u64::MAX))
}

fn available_bytes(meminfo: &str) -> Option<u64> {
    let line = |line: &str| line.strip_prefix("MemAvailable:").map(str::to_owned);
    let found = meminfo.lines().find_map(line)?;
    let kib: u64 = found.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Returns what looking into a delta may use, where there need not be a repository.
pub(crate) fn to_look() -> ApplyBudget {
    let mut budget = ApplyBudget::default();
    budget.xz = Arc::new(LibLzma);
    budget.spill = of_the_machine();
    budget
}

/// Returns how a delta is made.
pub(crate) fn to_make() -> GenerateOptions {
    let mut options = GenerateOptions::default();
    options.xz = Arc::new(LibLzma);
    options.now_secs = dates::now();
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoders_are_as_many_as_memory_and_processors_allow() {
        const MIB: u64 = 1 << 20;
        assert_eq!(decoders(4, 0), 1);
        assert_eq!(decoders(4, 1000 * MIB), 1);
        assert_eq!(decoders(4, 1024 * MIB), 2);
        assert_eq!(decoders(4, 64 * 1024 * MIB), 4);
        assert_eq!(decoders(0, 64 * 1024 * MIB), 1);
    }

    #[test]
    fn what_is_available_is_read_as_the_kernel_writes_it() {
        let text = "MemTotal:       24605624 kB\nMemFree:  1 kB\nMemAvailable:     2048 kB\n";
        assert_eq!(available_bytes(text), Some(2 << 20));
        assert_eq!(available_bytes("MemTotal: 5 kB\n"), None);
    }
}
