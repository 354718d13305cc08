//! Files of keys.
#![cfg_attr(fuzzing, no_main)]
treeferry_fuzz::target!(fuzz_key_files);
