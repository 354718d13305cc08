//! Divides the memory that may be used.

use crate::codec::{XzBranches, XzOptions};

use super::GenerateOptions;

/// Kinds of part that are filled at once in most trees.
const FILLING: u64 = 4;
/// The least that files are read into.
const FILES_BYTES_MIN: u64 = 8 << 20;
const PART_BYTES_MIN: u64 = 1 << 20;
const DICTIONARY_BYTES_MIN: u32 = 1 << 20;

/// Who gets how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shares {
    /// How long payloads become, bytes.
    pub(super) part_bytes: usize,
    /// How many encoders run at once.
    pub(super) encoders: usize,
    /// How each compresses.
    pub(super) xz: XzOptions,
    /// For reading and comparing files, bytes.
    pub(super) files_bytes: u64,
}

impl Shares {
    pub(super) fn new(options: &GenerateOptions, width: usize) -> Self {
        let memory = options.memory_bytes_max.max(32 << 20);
        let part = options.part_bytes_max.min(memory / 32).max(PART_BYTES_MIN);
        let files = (memory / 4).max(FILES_BYTES_MIN);
        let mut encoders = width.max(1) as u64;
        loop {
            // A part is held twice while it is compressed: as it is, and what it becomes.
            let held = part * (FILLING + 2 * encoders);
            let left = memory.saturating_sub(files + held) / encoders;
            let xz = largest(options, part, left);
            let fits = options.xz.encoder_bytes(&xz) <= left
                && xz.dictionary_bytes >= u32::try_from(part / 2).unwrap_or(u32::MAX);
            if fits || encoders == 1 {
                return Self {
                    part_bytes: usize::try_from(part).unwrap_or(usize::MAX),
                    encoders: usize::try_from(encoders).unwrap_or(1),
                    xz,
                    files_bytes: files,
                };
            }
            encoders -= 1;
        }
    }
}

/// Returns how to compress with the largest dictionary that an encoder of so much memory can have.
fn largest(options: &GenerateOptions, part: u64, memory: u64) -> XzOptions {
    let mut xz = XzOptions {
        level: options.level.clamp(1, 9),
        dictionary_bytes: 32 << 20,
        nice_bytes: None,
        branches: XzBranches::None,
    };
    xz = xz.for_input(usize::try_from(part).unwrap_or(usize::MAX));
    while xz.dictionary_bytes > DICTIONARY_BYTES_MIN && options.xz.encoder_bytes(&xz) > memory {
        // 2^n and 3 * 2^n in turn: what decoders take is rounded up to these.
        xz.dictionary_bytes = match xz.dictionary_bytes.is_power_of_two() {
            true => xz.dictionary_bytes / 4 * 3,
            false => xz.dictionary_bytes / 3 * 2,
        };
    }
    xz
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_shared_out_than_there_is() {
        for memory_mib in [32_u64, 64, 128, 256, 448, 1024, 4096] {
            for width in [1, 2, 4, 16] {
                let options = GenerateOptions {
                    memory_bytes_max: memory_mib << 20,
                    ..GenerateOptions::default()
                };
                let shares = Shares::new(&options, width);
                let encoders = shares.encoders as u64;
                let part = shares.part_bytes as u64;
                let used = shares.files_bytes
                    + part * (FILLING + 2 * encoders)
                    + encoders * options.xz.encoder_bytes(&shares.xz);
                assert!(
                    used <= memory_mib << 20,
                    "{memory_mib} MiB, {width}: {shares:?}"
                );
                assert!(shares.encoders <= width);
            }
        }
    }
}
