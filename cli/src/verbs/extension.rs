//! Verbs that are programs of their own: `ostree-VERB` somewhere in `$PATH`.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::failure::{Failure, Result};
use crate::session::{Name, Session};
use crate::usage::nearest;

/// Becomes the program `NAME-VERB`, if there is one.
pub(crate) fn run(args: &[OsString], session: &Session, verbs: &[String]) -> Result<()> {
    let (verb, rest) = args
        .split_first()
        .ok_or_else(|| Failure::usage("No command specified"))?;
    let verb = verb.to_string_lossy();
    if verb.contains('/') {
        return Err(unknown(&verb, session.name, verbs));
    }
    let program = format!("{}-{verb}", session.name.as_str());
    let mut command = Command::new(&program);
    command.args(rest);
    // Returns only if it failed.
    let error = command.exec();
    match error.kind() {
        std::io::ErrorKind::NotFound => Err(unknown(&verb, session.name, verbs)),
        _ => Err(Failure::new(format!("{program}: {error}"))),
    }
}

fn unknown(verb: &str, name: Name, verbs: &[String]) -> Failure {
    let message = format!("Unknown command '{verb}'");
    match nearest(verb, verbs) {
        Some(meant) if name == Name::Treeferry => {
            Failure::usage(format!("{message}; did you mean '{meant}'?"))
        }
        _ => Failure::usage(message),
    }
}
