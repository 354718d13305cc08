//! Fuzz targets: parse, write, parse again.
//!
//! Each function takes any bytes, must not panic on them, and checks that what it accepts comes
//! back the same. `fuzz_targets/` makes a binary of each: with `cargo fuzz` a fuzzer, else a
//! program that replays the files it is given. `tests/replay.rs` replays the corpus.

mod deltas;
mod formats;
mod input;
mod machines;
mod model;
mod names;
mod places;
mod signatures;
mod text;
mod wild;

use std::sync::OnceLock;

use tokio::runtime::Runtime;

pub use deltas::{
    fuzz_delta_index, fuzz_delta_operations, fuzz_delta_part, fuzz_delta_patch,
    fuzz_delta_superblock,
};
pub use formats::{
    fuzz_commit, fuzz_detached, fuzz_dirmeta, fuzz_dirtree, fuzz_file_header, fuzz_filez,
    fuzz_gvariant, fuzz_sizes, fuzz_summary, fuzz_tombstone,
};
pub use machines::{
    fuzz_boot_entry, fuzz_entry_name, fuzz_kernel_args, fuzz_origin, fuzz_prepare_root,
    fuzz_transition,
};
pub use model::fuzz_model;
pub use names::{fuzz_checksum, fuzz_object_name, fuzz_paths, fuzz_refs};
pub use signatures::{
    fuzz_key_files, fuzz_openpgp_keyring, fuzz_openpgp_signature, fuzz_signatures,
};
pub use text::{fuzz_config, fuzz_gvariant_text, fuzz_keyfile};
pub use wild::fuzz_remote;

/// What is fuzzed: takes any bytes and panics if something is wrong.
pub type Target = fn(&[u8]);

/// The targets that run a whole system, by the name of their binary. They have no corpus: any bytes
/// are as good, and `tests/whole.rs` makes them from seeds.
pub const WHOLE_TARGETS: [(&str, Target); 2] = [("model", fuzz_model), ("remote", fuzz_remote)];

/// The targets that look at one format, by the name of their binary and of their directory in the corpus.
pub const TARGETS: [(&str, Target); 32] = [
    ("boot_entry", fuzz_boot_entry),
    ("checksum", fuzz_checksum),
    ("commit", fuzz_commit),
    ("config", fuzz_config),
    ("delta_index", fuzz_delta_index),
    ("delta_operations", fuzz_delta_operations),
    ("delta_part", fuzz_delta_part),
    ("delta_patch", fuzz_delta_patch),
    ("delta_superblock", fuzz_delta_superblock),
    ("detached", fuzz_detached),
    ("dirmeta", fuzz_dirmeta),
    ("dirtree", fuzz_dirtree),
    ("entry_name", fuzz_entry_name),
    ("file_header", fuzz_file_header),
    ("filez", fuzz_filez),
    ("gvariant", fuzz_gvariant),
    ("gvariant_text", fuzz_gvariant_text),
    ("kernel_args", fuzz_kernel_args),
    ("key_files", fuzz_key_files),
    ("keyfile", fuzz_keyfile),
    ("object_name", fuzz_object_name),
    ("openpgp_keyring", fuzz_openpgp_keyring),
    ("openpgp_signature", fuzz_openpgp_signature),
    ("origin", fuzz_origin),
    ("paths", fuzz_paths),
    ("prepare_root", fuzz_prepare_root),
    ("refs", fuzz_refs),
    ("signatures", fuzz_signatures),
    ("sizes", fuzz_sizes),
    ("summary", fuzz_summary),
    ("tombstone", fuzz_tombstone),
    ("transition", fuzz_transition),
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

/// Returns the runtime that targets share.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let built = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_time()
            .build();
        built.unwrap_or_else(|e| panic!("no runtime: {e}"))
    })
}
