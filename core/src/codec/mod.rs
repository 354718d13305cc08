//! Compression, behind a trait: pure Rust here, a faster C one may be injected by who links it.

mod flate;
mod gunzip;
mod xz;

use std::fmt::Debug;

pub use flate::FlateCodec;
pub(crate) use gunzip::gunzip;
pub use xz::{RustXz, XzBranches, XzCodec, XzDecoding, XzOptions};

use crate::error::Result;

/// Makes encoders and decoders of raw deflate (no zlib header), as `.filez` holds it.
pub trait Codec: Debug + Send + Sync + 'static {
    /// Returns a decoder at the start of a stream.
    fn inflater(&self) -> Box<dyn Inflate>;

    /// Returns an encoder at the start of a stream; `level` is 1 (fast) to 9 (small).
    fn deflater(&self, level: u8) -> Box<dyn Deflate>;
}

/// A raw deflate decoder that is fed step by step.
pub trait Inflate: Send {
    /// Decodes some of `input` into `output`.
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step>;
}

/// A raw deflate encoder that is fed step by step.
pub trait Deflate: Send {
    /// Encodes some of `input` into `output`. With `Finish::End` no input follows: call until the
    /// step says that the stream has ended.
    fn step(&mut self, input: &[u8], output: &mut [u8], finish: Finish) -> Result<Step>;
}

/// Whether more input follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// More follows.
    More,
    /// This is the last of it.
    End,
}

/// What one step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Bytes taken from the input.
    pub consumed: usize,
    /// Bytes written to the output.
    pub produced: usize,
    /// Whether the stream has ended; nothing more is consumed or produced.
    pub ended: bool,
}
