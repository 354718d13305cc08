//! Unpacks a part, and checks that it is the one that was announced.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use super::ApplyBudget;
use crate::error::{Error, Result, from_read};
use crate::format::Hasher;
use crate::format::delta::{Compression, PartHeader, PartLimits, PartPayload, ReadAt};

const COPY_BYTES: usize = 128 * 1024;

/// An unpacked part.
#[derive(Debug, Clone)]
pub struct Unpacked {
    /// Its tables and operations.
    pub payload: Arc<PartPayload>,
    /// All its bytes.
    pub bytes: Arc<dyn ReadAt>,
}

/// Unpacks the file of a part. **Blocking.**
pub fn unpack(
    file: Box<dyn Read + Send>,
    header: &PartHeader,
    budget: &ApplyBudget,
) -> Result<Unpacked> {
    if header.version != 0 {
        let problem = format!("its format has version {}, only 0 is known", header.version);
        return Err(Error::unsupported(problem));
    }
    let hashed = Arc::new(Mutex::new((Hasher::new(), 0)));
    let mut hashing = Hashing {
        file,
        seen: Arc::clone(&hashed),
        bytes_max: budget.part_bytes_max,
    };
    let mut first = [0];
    let read = hashing.read_exact(&mut first);
    read.map_err(|e| from_read("cannot be read", e))?;
    let compression = Compression::from_byte(first[0])?;
    let (short, most) = (budget.payload_memory_bytes_max, budget.payload_bytes_max);
    let mut spill = budget.spill.create_short(short, most);
    let copied = {
        let mut rest = Rest(hashing);
        let copied = match compression {
            Compression::None => copy(&mut rest, &mut spill),
            Compression::Xz => {
                // The decoder takes a reader of its own; what it leaves is hashed after it.
                let shared = Shared(Arc::new(Mutex::new(rest)));
                let decoder = budget
                    .xz
                    .decoder(Box::new(shared.clone()), budget.decoder_bytes_max);
                let copied = decoder.and_then(|mut decoder| copy(&mut decoder, &mut spill));
                rest = shared.take()?;
                copied
            }
        };
        // Damage is told as such, whatever it did to the decoder.
        rest.drain()?;
        copied
    };
    let (hasher, bytes) =
        std::mem::take(&mut *hashed.lock().unwrap_or_else(PoisonError::into_inner));
    let found = hasher.finish();
    if found != header.checksum {
        let problem = format!(
            "is damaged: its {bytes} bytes have the checksum {found}, not {}",
            header.checksum
        );
        return Err(Error::corrupt(problem));
    }
    copied?;
    let bytes = spill.finish()?;
    let limits = PartLimits {
        table_bytes_max: budget.table_bytes_max,
    };
    let payload = Arc::new(PartPayload::read(&*bytes, limits)?);
    Ok(Unpacked { payload, bytes })
}

fn copy(from: &mut impl Read, to: &mut impl io::Write) -> Result<()> {
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let n = from.read(&mut buffer);
        match n.map_err(|e| from_read("cannot be unpacked", e))? {
            0 => return Ok(()),
            n => {
                let written = to.write_all(&buffer[..n]);
                written.map_err(|e| from_read("cannot be unpacked", e))?;
            }
        }
    }
}

struct Hashing {
    file: Box<dyn Read + Send>,
    seen: Arc<Mutex<(Hasher, u64)>>,
    bytes_max: u64,
}

impl Read for Hashing {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(out)?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.0.update(&out[..n]);
        seen.1 += n as u64;
        if seen.1 > self.bytes_max {
            let problem = format!("is longer than the limit, {} bytes", self.bytes_max);
            return Err(Error::corrupt(problem).into());
        }
        Ok(n)
    }
}

struct Rest(Hashing);

impl Rest {
    fn drain(&mut self) -> Result<()> {
        let mut buffer = vec![0; COPY_BYTES];
        while self
            .0
            .read(&mut buffer)
            .map_err(|e| from_read("cannot be read", e))?
            > 0
        {}
        Ok(())
    }
}

impl Read for Rest {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.read(out)
    }
}

#[derive(Clone)]
struct Shared(Arc<Mutex<Rest>>);

impl Shared {
    fn take(self) -> Result<Rest> {
        let gone = || Error::invalid("a decoder outlives its work");
        let rest = Arc::into_inner(self.0).ok_or_else(gone)?;
        Ok(rest.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Read for Shared {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .read(out)
    }
}
