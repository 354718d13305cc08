//! `completions` and `man`: what shells complete and manual pages say, from the source of the help.

use std::io::Write;
use std::path::PathBuf;

use clap::Command;
use clap_complete::Shell;

use crate::failure::{Failure, Result, io_failure};
use crate::output;

#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// The shell: bash, zsh, fish
    #[arg(value_name = "SHELL")]
    shell: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// Where to write a page for each verb (default: the page of the command, to standard output)
    #[arg(value_name = "[DIRECTORY]")]
    directory: Option<PathBuf>,
}

/// Prints what `shell` completes for `command`.
pub(crate) fn completions(args: &CompletionsArgs, mut command: Command) -> Result<()> {
    let shell = match args.shell.as_deref() {
        Some("bash") => Shell::Bash,
        Some("zsh") => Shell::Zsh,
        Some("fish") => Shell::Fish,
        Some(other) => {
            let message = format!("no completions for '{other}': there are bash, zsh and fish");
            return Err(Failure::new(message));
        }
        None => return Err(Failure::usage("SHELL must be specified")),
    };
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    let mut out = output::stdout();
    out.write_all(&script)?;
    Ok(out.flush()?)
}

/// Prints the manual page of `command`, or writes it and those of its verbs into a directory.
pub(crate) fn man(args: &ManArgs, command: Command) -> Result<()> {
    match &args.directory {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page)?;
            let mut out = output::stdout();
            out.write_all(&page)?;
            Ok(out.flush()?)
        }
        Some(directory) => {
            let failed = |e: &std::io::Error| io_failure(directory, e);
            std::fs::create_dir_all(directory).map_err(|e| failed(&e))?;
            clap_mangen::generate_to(command, directory).map_err(|e| failed(&e))
        }
    }
}
