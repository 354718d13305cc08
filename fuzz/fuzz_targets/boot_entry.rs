//! Entries of the boot menu.
#![cfg_attr(fuzzing, no_main)]
treeferry_fuzz::target!(fuzz_boot_entry);
