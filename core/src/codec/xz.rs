//! Xz, as parts of deltas hold it: behind a trait, in pure Rust here.

use std::fmt::Debug;
use std::io::{self, BufReader, Read, Write};

use lzma_rust2::{EncodeMode, FilterType, LzmaOptions, MfType, XzReader, XzWriter};

use crate::error::{Error, Result};

/// Bytes read from the source in one go.
const INPUT_BYTES: usize = 64 * 1024;

/// Makes encoders and decoders of xz streams.
pub trait XzCodec: Debug + Send + Sync + 'static {
    /// Returns a reader of what `input`, an xz stream, holds. **Blocking** to read.
    ///
    /// One that would need more memory than `memory_bytes_max` is refused before it is taken.
    fn decoder(
        &self,
        input: Box<dyn Read + Send>,
        memory_bytes_max: u64,
    ) -> Result<Box<dyn Read + Send>>;

    /// Encodes `input` whole, as one stream of one block. **Blocking.**
    fn encode(&self, input: &[u8], options: &XzOptions) -> Result<Vec<u8>>;

    /// Returns about how much memory an encoder takes besides its input and output, bytes.
    fn encoder_bytes(&self, options: &XzOptions) -> u64;
}

/// How to encode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XzOptions {
    /// From 0 (fast) to 9 (small), as the presets of xz.
    pub level: u8,
    /// How far back repetitions are found, and what a decoder needs, bytes.
    pub dictionary_bytes: u32,
    /// A repetition so long is good enough, bytes; `None`: as the level says.
    pub nice_bytes: Option<u32>,
    /// How branches of machine code are made alike before.
    pub branches: XzBranches,
}

impl XzOptions {
    /// Returns options with a dictionary no larger than `input_bytes`, for there is nothing to find
    /// beyond.
    #[must_use]
    pub fn for_input(mut self, input_bytes: usize) -> Self {
        let input = u32::try_from(input_bytes).unwrap_or(u32::MAX);
        // Decoders round up to such sizes anyway.
        let enough = input
            .max(4096)
            .checked_next_power_of_two()
            .unwrap_or(u32::MAX);
        let three_quarters = enough / 4 * 3;
        let enough = if input.max(4096) <= three_quarters {
            three_quarters
        } else {
            enough
        };
        self.dictionary_bytes = self.dictionary_bytes.min(enough).max(4096);
        self
    }
}

/// Filters for machine code that every liblzma decodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum XzBranches {
    /// None.
    #[default]
    None,
    /// Of x86, 32 or 64 bits.
    X86,
    /// Of ARM, 32 bits.
    Arm,
    /// Of ARM in Thumb mode.
    ArmThumb,
    /// Of PowerPC, big endian.
    PowerPc,
}

/// Xz in pure Rust.
#[derive(Debug, Clone, Copy, Default)]
pub struct RustXz;

impl XzCodec for RustXz {
    fn decoder(
        &self,
        input: Box<dyn Read + Send>,
        memory_bytes_max: u64,
    ) -> Result<Box<dyn Read + Send>> {
        let limit_kib = u32::try_from(memory_bytes_max / 1024).unwrap_or(u32::MAX - 1);
        let input = BufReader::with_capacity(INPUT_BYTES, input);
        let reader = XzReader::new_mem_limit(input, false, limit_kib);
        Ok(Box::new(XzDecoding::new(reader)))
    }

    fn encode(&self, input: &[u8], options: &XzOptions) -> Result<Vec<u8>> {
        let failed = |e: io::Error| Error::invalid("cannot be compressed").because(e);
        let mut xz = lzma_rust2::XzOptions::with_preset(u32::from(options.level));
        xz.lzma_options = lzma_options(options);
        let filter = match options.branches {
            XzBranches::None => None,
            XzBranches::X86 => Some(FilterType::BcjX86),
            XzBranches::Arm => Some(FilterType::BcjArm),
            XzBranches::ArmThumb => Some(FilterType::BcjArmThumb),
            XzBranches::PowerPc => Some(FilterType::BcjPpc),
        };
        if let Some(filter) = filter {
            xz.prepend_pre_filter(filter, 0);
        }
        let mut writer = XzWriter::new(Vec::new(), xz).map_err(failed)?;
        writer.write_all(input).map_err(failed)?;
        writer.finish().map_err(failed)
    }

    fn encoder_bytes(&self, options: &XzOptions) -> u64 {
        u64::from(lzma_options(options).get_memory_usage()) * 1024
    }
}

fn lzma_options(options: &XzOptions) -> LzmaOptions {
    let mut lzma = LzmaOptions::with_preset(u32::from(options.level));
    lzma.dict_size = options.dictionary_bytes;
    if let Some(nice) = options.nice_bytes {
        lzma.nice_len = nice.clamp(LzmaOptions::NICE_LEN_MIN, LzmaOptions::NICE_LEN_MAX);
    }
    // The presets' names of what is best at a level, where the crate leaves a choice.
    if options.level > 3 {
        lzma.mode = EncodeMode::Normal;
        lzma.mf = MfType::Bt4;
    }
    lzma
}

/// A decoder whose errors are typed: what is wrong with the stream is damage.
#[derive(Debug)]
pub struct XzDecoding<R>(R);

impl<R: Read> XzDecoding<R> {
    /// Wraps a decoder.
    pub fn new(reader: R) -> Self {
        Self(reader)
    }
}

impl<R: Read> Read for XzDecoding<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.read(out).map_err(|error| {
            let ours = match error.downcast::<Error>() {
                Ok(ours) => ours,
                Err(error) if error.kind() == io::ErrorKind::OutOfMemory => {
                    let problem = "needs more memory to be decompressed than is allowed";
                    Error::new(crate::ErrorKind::Unsupported, problem).because(error)
                }
                Err(error) => Error::corrupt("is not valid xz data").because(error),
            };
            ours.into()
        })
    }
}
