//! Signatures of `ostree sign`.
#![cfg_attr(fuzzing, no_main)]
treeferry_fuzz::target!(fuzz_signatures);
