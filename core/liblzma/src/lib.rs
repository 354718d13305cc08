//! Xz by liblzma, linked statically: about twice as fast as the codec of core, for whoever may link C.
//!
//! It compresses patches a sixth faster still if its C is compiled with `-DTUKLIB_FAST_UNALIGNED_ACCESS=1`, where the machine reads
//! words at any address. Its crate does not define that; `CFLAGS` can, as in `.cargo/config.toml` of this workspace.

use std::io::{BufReader, Read};

use liblzma::bufread::XzDecoder;
use liblzma::stream::{Action, Check, Error as LzmaError, Filters, LzmaOptions, Status, Stream};
use treeferry_core::codec::{XzBranches, XzCodec, XzDecoding, XzOptions};
use treeferry_core::error::{Error, ErrorKind, Result};

/// Bytes read from the source in one go.
const INPUT_BYTES: usize = 64 * 1024;
/// Room for output that is made in one go.
const OUTPUT_BYTES: usize = 256 * 1024;

/// The codec of liblzma.
#[derive(Debug, Clone, Copy, Default)]
pub struct LibLzma;

impl XzCodec for LibLzma {
    fn decoder(
        &self,
        input: Box<dyn Read + Send>,
        memory_bytes_max: u64,
    ) -> Result<Box<dyn Read + Send>> {
        let stream = Stream::new_stream_decoder(memory_bytes_max, 0).map_err(failed)?;
        let input = BufReader::with_capacity(INPUT_BYTES, input);
        let decoder = Limited(XzDecoder::new_stream(input, stream));
        Ok(Box::new(XzDecoding::new(decoder)))
    }

    fn encode(&self, input: &[u8], options: &XzOptions) -> Result<Vec<u8>> {
        let mut stream =
            Stream::new_stream_encoder(&filters(options)?, Check::Crc64).map_err(failed)?;
        let mut out = Vec::new();
        loop {
            out.reserve(OUTPUT_BYTES);
            let done = usize::try_from(stream.total_in()).unwrap_or(input.len());
            let status = stream.process_vec(&input[done..], &mut out, Action::Finish);
            if status.map_err(failed)? == Status::StreamEnd {
                out.shrink_to_fit();
                return Ok(out);
            }
        }
    }

    fn encoder_bytes(&self, options: &XzOptions) -> u64 {
        // As its documentation puts it: ten or eleven times the dictionary for binary trees, seven
        // to eight for hash chains, and little else.
        let dictionary = u64::from(options.dictionary_bytes);
        let times_two = if options.level > 3 { 23 } else { 16 };
        dictionary * times_two / 2 + (4 << 20)
    }
}

/// Keeps apart that memory is limited from that the stream is damaged.
struct Limited<R>(R);

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(out).map_err(|error| {
            let inner = error.get_ref().and_then(|e| e.downcast_ref::<LzmaError>());
            match inner {
                Some(LzmaError::Mem | LzmaError::MemLimit) => {
                    std::io::Error::new(std::io::ErrorKind::OutOfMemory, error)
                }
                _ => error,
            }
        })
    }
}

fn filters(options: &XzOptions) -> Result<Filters> {
    let mut lzma = LzmaOptions::new_preset(u32::from(options.level.min(9))).map_err(failed)?;
    lzma.dict_size(options.dictionary_bytes);
    if let Some(nice) = options.nice_bytes {
        lzma.nice_len(nice.clamp(8, 273));
    }
    let mut filters = Filters::new();
    match options.branches {
        XzBranches::None => &mut filters,
        XzBranches::X86 => filters.x86(),
        XzBranches::Arm => filters.arm(),
        XzBranches::ArmThumb => filters.arm_thumb(),
        XzBranches::PowerPc => filters.powerpc(),
    }
    .lzma2(&lzma);
    Ok(filters)
}

fn failed(error: LzmaError) -> Error {
    let kind = match error {
        LzmaError::Mem | LzmaError::MemLimit => ErrorKind::Unavailable { retry_after: None },
        _ => ErrorKind::Invalid,
    };
    Error::new(kind, "liblzma refuses").because(error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

    use std::io::Cursor;

    use treeferry_core::codec::RustXz;

    use super::*;

    fn sample() -> Vec<u8> {
        let line = |n: u32| format!("line {} of {}\n", n % 977, n / 13);
        let text: String = (0..40_000).map(line).collect();
        text.into_bytes()
    }

    #[test]
    fn either_codec_reads_what_the_other_writes() {
        let input = sample();
        for branches in [
            XzBranches::None,
            XzBranches::X86,
            XzBranches::Arm,
            XzBranches::ArmThumb,
            XzBranches::PowerPc,
        ] {
            for level in [1, 4, 6] {
                let options = XzOptions {
                    level,
                    dictionary_bytes: 32 << 20,
                    nice_bytes: None,
                    branches,
                };
                let options = options.for_input(input.len());
                assert!(options.dictionary_bytes < 2 << 20);
                let codecs: [&dyn XzCodec; 2] = [&LibLzma, &RustXz];
                for encoder in codecs {
                    let packed = encoder.encode(&input, &options).unwrap();
                    assert!(packed.len() < input.len() / 4);
                    for decoder in codecs {
                        let reader = Box::new(Cursor::new(packed.clone()));
                        let mut unpacked = Vec::new();
                        let mut reader = decoder.decoder(reader, 8 << 20).unwrap();
                        reader.read_to_end(&mut unpacked).unwrap();
                        assert_eq!(unpacked, input);
                    }
                }
            }
        }
    }

    #[test]
    fn a_dictionary_over_the_limit_is_refused_and_damage_is_told() {
        let options = XzOptions {
            level: 6,
            dictionary_bytes: 16 << 20,
            nice_bytes: None,
            branches: XzBranches::None,
        };
        let packed = LibLzma.encode(&sample(), &options).unwrap();
        let codecs: [&dyn XzCodec; 2] = [&LibLzma, &RustXz];
        for decoder in codecs {
            let read = |bytes: Vec<u8>, limit| {
                let mut reader = decoder
                    .decoder(Box::new(Cursor::new(bytes)), limit)
                    .unwrap();
                let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
                treeferry_core::error::from_read("cannot be read", error).kind()
            };
            assert_eq!(
                read(packed.clone(), 4 << 20),
                ErrorKind::Unsupported,
                "{decoder:?}"
            );
            let mut damaged = packed.clone();
            damaged[packed.len() / 2] ^= 1;
            assert_eq!(read(damaged, 64 << 20), ErrorKind::Corrupt, "{decoder:?}");
            let short = packed[..packed.len() / 2].to_vec();
            assert_eq!(read(short, 64 << 20), ErrorKind::Corrupt, "{decoder:?}");
        }
    }
}
