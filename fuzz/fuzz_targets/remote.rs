//! A whole remote that may answer anything.
#![cfg_attr(fuzzing, no_main)]
treeferry_fuzz::target!(fuzz_remote);
