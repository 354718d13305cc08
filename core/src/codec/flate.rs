//! The codec of flate2 over zlib-rs. States are kept per thread: most files are small, and setting
//! up a compressor costs more than compressing one.

use std::cell::RefCell;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::{Codec, Deflate, Finish, Inflate, Step};
use crate::error::{Error, Result};

const KEPT_PER_THREAD: usize = 4;

thread_local! {
    static INFLATERS: RefCell<Vec<Decompress>> = const { RefCell::new(Vec::new()) };
    static DEFLATERS: RefCell<Vec<(u8, Compress)>> = const { RefCell::new(Vec::new()) };
}

/// Raw deflate in pure Rust.
#[derive(Debug, Clone, Copy, Default)]
pub struct FlateCodec;

impl Codec for FlateCodec {
    fn inflater(&self) -> Box<dyn Inflate> {
        let kept = INFLATERS.with_borrow_mut(Vec::pop);
        Box::new(FlateInflate(Some(
            kept.unwrap_or_else(|| Decompress::new(false)),
        )))
    }

    fn deflater(&self, level: u8) -> Box<dyn Deflate> {
        let level = level.clamp(1, 9);
        let kept = DEFLATERS.with_borrow_mut(|kept| {
            let at = kept.iter().position(|(l, _)| *l == level)?;
            Some(kept.swap_remove(at).1)
        });
        let state =
            kept.unwrap_or_else(|| Compress::new(Compression::new(u32::from(level)), false));
        Box::new(FlateDeflate {
            level,
            state: Some(state),
        })
    }
}

struct FlateInflate(Option<Decompress>);

impl Inflate for FlateInflate {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step> {
        let Some(state) = &mut self.0 else {
            return Err(gone());
        };
        let (before_in, before_out) = (state.total_in(), state.total_out());
        let status = state
            .decompress(input, output, FlushDecompress::None)
            .map_err(|e| Error::corrupt("is not valid deflate data").because(e))?;
        Ok(Step {
            consumed: moved(before_in, state.total_in()),
            produced: moved(before_out, state.total_out()),
            ended: status == Status::StreamEnd,
        })
    }
}

impl Drop for FlateInflate {
    fn drop(&mut self) {
        if let Some(mut state) = self.0.take() {
            state.reset(false);
            // The thread may be ending: then there is nowhere to keep it.
            let _ = INFLATERS.try_with(|kept| {
                let mut kept = kept.borrow_mut();
                if kept.len() < KEPT_PER_THREAD {
                    kept.push(state);
                }
            });
        }
    }
}

struct FlateDeflate {
    level: u8,
    state: Option<Compress>,
}

impl Deflate for FlateDeflate {
    fn step(&mut self, input: &[u8], output: &mut [u8], finish: Finish) -> Result<Step> {
        let Some(state) = &mut self.state else {
            return Err(gone());
        };
        let (before_in, before_out) = (state.total_in(), state.total_out());
        let flush = match finish {
            Finish::More => FlushCompress::None,
            Finish::End => FlushCompress::Finish,
        };
        let status = state
            .compress(input, output, flush)
            .map_err(|e| Error::invalid("cannot be deflated").because(e))?;
        Ok(Step {
            consumed: moved(before_in, state.total_in()),
            produced: moved(before_out, state.total_out()),
            ended: status == Status::StreamEnd,
        })
    }
}

impl Drop for FlateDeflate {
    fn drop(&mut self) {
        if let Some(mut state) = self.state.take() {
            state.reset();
            let level = self.level;
            let _ = DEFLATERS.try_with(|kept| {
                let mut kept = kept.borrow_mut();
                if kept.len() < KEPT_PER_THREAD {
                    kept.push((level, state));
                }
            });
        }
    }
}

// A step moves no more than the buffers are long, so the difference fits.
fn moved(before: u64, after: u64) -> usize {
    usize::try_from(after - before).unwrap_or(usize::MAX)
}

fn gone() -> Error {
    Error::invalid("the codec was used after its end")
}
