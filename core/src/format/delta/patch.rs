//! The dialect of bsdiff that deltas speak: no header, no compression, steps of three numbers each
//! followed by its bytes.

/// One step: `diff_bytes` bytes to add to what the old file has, `extra_bytes` new ones, and how far
/// to move in the old file then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PatchStep {
    /// How many bytes are added to old ones.
    pub diff_bytes: u64,
    /// How many bytes follow that are new.
    pub extra_bytes: u64,
    /// How far to move in the old file.
    pub seek: i64,
}

/// The length of the numbers of a step.
pub(crate) const STEP_BYTES: usize = 24;

/// Reads the numbers of a step; `None` if a length is negative.
pub fn read_patch_step(bytes: &[u8; STEP_BYTES]) -> Option<PatchStep> {
    let number = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        let word = u64::from_le_bytes(word);
        let magnitude = i64::try_from(word & !(1 << 63)).unwrap_or(i64::MAX);
        match word >> 63 {
            0 => magnitude,
            _ => -magnitude,
        }
    };
    Some(PatchStep {
        diff_bytes: u64::try_from(number(0)).ok()?,
        extra_bytes: u64::try_from(number(8)).ok()?,
        seek: number(16),
    })
}

/// Writes the numbers of a step.
pub fn write_patch_step(step: &PatchStep, out: &mut Vec<u8>) {
    out.extend_from_slice(&step.diff_bytes.to_le_bytes());
    out.extend_from_slice(&step.extra_bytes.to_le_bytes());
    let sign = u64::from(step.seek < 0) << 63;
    out.extend_from_slice(&(step.seek.unsigned_abs() | sign).to_le_bytes());
}
