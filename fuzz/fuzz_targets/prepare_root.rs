//! How early boot is configured.
#![cfg_attr(fuzzing, no_main)]
treeferry_fuzz::target!(fuzz_prepare_root);
