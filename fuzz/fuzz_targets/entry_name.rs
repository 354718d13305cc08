//! File names of entries of the boot menu.
#![cfg_attr(fuzzing, no_main)]
treeferry_fuzz::target!(fuzz_entry_name);
