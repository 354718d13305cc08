//! The `treeferry` command. Called by the name `ostree` it behaves as that one does.

mod app;
mod arenas;
mod bucket;
mod dates;
mod delta_budget;
mod editor;
mod failpoint;
mod failure;
mod file_text;
mod finders;
mod gpg;
mod help_text;
mod json;
mod keys;
mod labels;
mod mirrors;
mod output;
mod own_mounts;
mod own_words;
mod place;
mod progress;
mod rate;
mod remotes_d;
mod session;
mod source;
mod stick;
mod trust;
mod unpack;
mod usage;
mod verbs;
mod words;

use std::process::ExitCode;

fn main() -> ExitCode {
    app::main(std::env::args_os().collect())
}
