//! Dirtrees.
#![cfg_attr(fuzzing, no_main)]
treeferry_fuzz::target!(fuzz_delta_index);
