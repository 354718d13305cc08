//! Fuzz targets: parse, write, parse again.
//!
//! Each function takes any bytes, must not panic on them, and checks that what it accepts comes
//! back the same. `fuzz_targets/` makes a binary of each: with `cargo fuzz` a fuzzer, else a
//! program that replays the files it is given. `tests/replay.rs` replays the corpus.

mod formats;
mod names;
mod text;

pub use formats::{
    fuzz_commit, fuzz_detached, fuzz_dirmeta, fuzz_dirtree, fuzz_file_header, fuzz_filez,
    fuzz_gvariant, fuzz_sizes, fuzz_summary, fuzz_tombstone,
};
pub use names::{fuzz_checksum, fuzz_object_name, fuzz_paths, fuzz_refs};
pub use text::{fuzz_config, fuzz_gvariant_text, fuzz_keyfile};

/// What is fuzzed: takes any bytes and panics if something is wrong.
pub type Target = fn(&[u8]);

/// All targets, by the name of their binary and of their directory in the corpus.
pub const TARGETS: [(&str, Target); 17] = [
    ("checksum", fuzz_checksum),
    ("commit", fuzz_commit),
    ("config", fuzz_config),
    ("detached", fuzz_detached),
    ("dirmeta", fuzz_dirmeta),
    ("dirtree", fuzz_dirtree),
    ("file_header", fuzz_file_header),
    ("filez", fuzz_filez),
    ("gvariant", fuzz_gvariant),
    ("gvariant_text", fuzz_gvariant_text),
    ("keyfile", fuzz_keyfile),
    ("object_name", fuzz_object_name),
    ("paths", fuzz_paths),
    ("refs", fuzz_refs),
    ("sizes", fuzz_sizes),
    ("summary", fuzz_summary),
    ("tombstone", fuzz_tombstone),
];

/// Makes the entry point of a binary: of the fuzzer's where that is linked, else one that replays
/// the files named by its arguments.
#[macro_export]
macro_rules! target {
    ($function:ident) => {
        #[cfg(fuzzing)]
        libfuzzer_sys::fuzz_target!(|data: &[u8]| $crate::$function(data));

        #[cfg(not(fuzzing))]
        fn main() -> std::io::Result<()> {
            $crate::replay_arguments($crate::$function)
        }
    };
}

/// Runs `target` on each of the files that the program was called with.
pub fn replay_arguments(target: Target) -> std::io::Result<()> {
    for path in std::env::args_os().skip(1) {
        target(&std::fs::read(path)?);
    }
    Ok(())
}
