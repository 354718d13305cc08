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
    File(File),
}

impl SpillPlace {
    /// Begins to gather at most `bytes_max` bytes. **Blocking.**
    pub fn create(&self, bytes_max: u64) -> Result<Spill> {
        let to = match self {
            Self::Memory => Target::Memory(Vec::new()),
            Self::Disk(place) => Target::File(place.open()?),
        };
        Ok(Spill {
            to,
            written_bytes: 0,
            bytes_max,
        })
    }
}

impl Spill {
    /// Returns what was gathered, to be read from any byte. **Blocking.**
    pub fn finish(self) -> Result<Arc<dyn ReadAt>> {
        Ok(match self.to {
            Target::Memory(bytes) => Arc::new(Bytes::from(bytes)),
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
