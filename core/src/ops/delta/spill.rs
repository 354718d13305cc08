//! Where bytes wait that need not fit in memory: a file without a name.

use std::fmt::{self, Debug};
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::format::delta::ReadAt;
use crate::spill;

/// Where bytes wait.
#[derive(Debug, Clone, Default)]
pub enum SpillPlace {
    /// In memory.
    #[default]
    Memory,
    /// In files without names: they are gone when they are closed.
    Disk(spill::SpillPlace),
}

/// Bytes that are being gathered, up to a limit. **Blocking.**
pub struct Spill {
    to: Target,
    written_bytes: u64,
    bytes_max: u64,
}

enum Target {
    Memory(Vec<u8>),
    /// In memory while it is no longer than that, then in the place.
    Short(Vec<u8>, usize, spill::SpillPlace),
    File(File),
}

impl SpillPlace {
    /// Begins to gather at most `bytes_max` bytes. **Blocking.**
    pub fn create(&self, bytes_max: u64) -> Result<Spill> {
        Ok(Spill::new(
            match self {
                Self::Memory => Target::Memory(Vec::new()),
                Self::Disk(place) => Target::File(place.open()?),
            },
            bytes_max,
        ))
    }

    /// Begins to gather at most `bytes_max` bytes, in memory while they are no more than `memory_bytes_max`:
    /// what is short need not be written and read again. **Blocking.**
    pub(super) fn create_short(&self, memory_bytes_max: u64, bytes_max: u64) -> Spill {
        let short = usize::try_from(memory_bytes_max).unwrap_or(usize::MAX);
        let to = match self {
            Self::Memory => Target::Memory(Vec::new()),
            Self::Disk(place) => Target::Short(Vec::new(), short, place.clone()),
        };
        Spill::new(to, bytes_max)
    }
}

impl Spill {
    fn new(to: Target, bytes_max: u64) -> Self {
        Self {
            to,
            written_bytes: 0,
            bytes_max,
        }
    }

    /// Returns what was gathered, to be read from any byte. **Blocking.**
    pub fn finish(self) -> Result<Arc<dyn ReadAt>> {
        Ok(match self.to {
            Target::Memory(bytes) | Target::Short(bytes, ..) => Arc::new(Bytes::from(bytes)),
            Target::File(mut file) => {
                let rewound = file.seek(SeekFrom::Start(0));
                rewound.map_err(|e| Error::io("a temporary file cannot be read", e))?;
                Arc::new((file, self.written_bytes))
            }
        })
    }

    /// Returns how many bytes were gathered.
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes
    }
}

impl Write for Spill {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let total = self.written_bytes + bytes.len() as u64;
        if total > self.bytes_max {
            let limit = self.bytes_max;
            let problem = format!("unpacks to more than the {limit} bytes that are allowed");
            return Err(Error::corrupt(problem).into());
        }
        match &mut self.to {
            Target::Memory(to) => to.extend_from_slice(bytes),
            Target::Short(to, most, _) if to.len() + bytes.len() <= *most => {
                to.extend_from_slice(bytes);
            }
            Target::Short(to, _, place) => {
                let mut file = place.open()?;
                file.write_all(to)?;
                file.write_all(bytes)?;
                self.to = Target::File(file);
            }
            Target::File(file) => file.write_all(bytes)?,
        }
        self.written_bytes = total;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Debug for Spill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spill")
            .field("written_bytes", &self.written_bytes)
            .field("bytes_max", &self.bytes_max)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_longer_than_memory_allows_is_whole() {
        let place = SpillPlace::Disk(spill::SpillPlace::new(std::env::temp_dir()));
        for (pieces, in_memory) in [(0, true), (4, true), (5, false), (9, false)] {
            let mut spill = place.create_short(40, 100);
            let mut whole = Vec::new();
            for n in 0..pieces {
                spill.write_all(&[n; 10]).unwrap();
                whole.extend([n; 10]);
            }
            assert_eq!(matches!(spill.to, Target::Short(..)), in_memory);
            let kept = spill.finish().unwrap();
            assert_eq!(kept.total_bytes(), whole.len() as u64);
            let mut read = vec![0; whole.len()];
            kept.read_exact_at(0, &mut read).unwrap();
            assert_eq!(read, whole);
        }
        let mut spill = place.create_short(40, 100);
        spill.write_all(&[0; 100]).unwrap();
        assert!(spill.write_all(&[0]).is_err());
    }
}
