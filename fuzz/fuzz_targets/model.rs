//! Random operations on all kinds of places, which must agree.
#![cfg_attr(fuzzing, no_main)]
treeferry_fuzz::target!(fuzz_model);
