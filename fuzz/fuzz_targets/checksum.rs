//! Checksums in hexadecimal.
#![cfg_attr(fuzzing, no_main)]
treeferry_fuzz::target!(fuzz_checksum);
