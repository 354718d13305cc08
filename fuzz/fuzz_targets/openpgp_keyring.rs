//! Keyrings of OpenPGP.
#![cfg_attr(fuzzing, no_main)]
treeferry_fuzz::target!(fuzz_openpgp_keyring);
