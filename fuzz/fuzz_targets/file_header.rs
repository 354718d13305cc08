//! Headers of files, as they are hashed and as they stand in archives.
#![cfg_attr(fuzzing, no_main)]
treeferry_fuzz::target!(fuzz_file_header);
