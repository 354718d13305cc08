//! Going into the background: the command runs itself once more, and stays until that is ready.
//!
//! A process with threads cannot be forked and go on, so the one in the background is a new one.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::failure::{Failure, Result, io_failure};
use crate::output;

/// The option that tells the new process what it is.
pub(super) const OPTION: &str = "detached";

/// What the new process says when it is ready: no text that it prints before has it.
const READY: u8 = 0;

/// Starts the same command in the background, and returns once it is ready.
pub(super) fn start() -> Result<()> {
    let failed = |e: std::io::Error| Failure::new(format!("cannot go into the background: {e}"));
    let mut args: Vec<_> = std::env::args_os().collect();
    // Where options may stand: behind `--` are none.
    let end = args.iter().position(|arg| arg == "--");
    args.insert(end.unwrap_or(args.len()), format!("--{OPTION}").into());
    let Some((name, args)) = args.split_first() else {
        return Err(Failure::new("cannot go into the background without a name"));
    };
    let program = std::env::current_exe().map_err(failed)?;
    let mut child = Command::new(program)
        .arg0(name)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut said = Vec::new();
    if let Some(out) = child.stdout.take() {
        for byte in BufReader::new(out).bytes() {
            match byte.map_err(failed)? {
                READY => {
                    let mut out = output::stdout();
                    out.write_all(&said)?;
                    return Ok(out.flush()?);
                }
                byte => said.push(byte),
            }
        }
    }
    // It went away without a word of being ready.
    let told = child.wait_with_output().map_err(failed)?;
    let text = String::from_utf8_lossy(&told.stderr);
    let text = text.trim().trim_start_matches("error: ");
    Err(Failure::new(match text.is_empty() {
        true => format!("the server in the background ended: {}", told.status),
        false => text.to_owned(),
    }))
}

/// Says that this process is ready, and lets go of whoever started it: `$(...)` would wait for it.
pub(super) fn ready() -> Result<()> {
    let failed = |e: rustix::io::Errno| Failure::new(format!("cannot go into the background: {e}"));
    rustix::process::setsid().map_err(failed)?;
    let mut out = output::stdout();
    out.write_all(&[READY])?;
    out.flush()?;
    drop(out);
    let nowhere = std::path::Path::new("/dev/null");
    let null = File::options().read(true).write(true).open(nowhere);
    let null = null.map_err(|e| io_failure(nowhere, &e))?;
    rustix::stdio::dup2_stdout(&null).map_err(failed)?;
    rustix::stdio::dup2_stderr(&null).map_err(failed)
}
