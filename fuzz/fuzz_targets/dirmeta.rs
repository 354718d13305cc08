//! Dirmetas and `user.ostreemeta`.
#![cfg_attr(fuzzing, no_main)]
treeferry_fuzz::target!(fuzz_dirmeta);
