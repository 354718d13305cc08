//! `cat`: the contents of files in a commit.

use std::io::Write;

use treeferry_core::error::from_read;
use treeferry_core::format::{Checksum, ObjectName};
use treeferry_core::repo::{Repo, TreeEntry, TreeRoot};
use treeferry_core::store::Incoming;

use super::ls::{absolute, find};
use crate::failure::{Failure, Result};
use crate::session::{Session, resolve};

/// How many symbolic links are followed for one path.
const LINKS_MAX: usize = 40;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The commit
    #[arg(value_name = "COMMIT")]
    commit: Option<String>,
    /// Paths in it
    #[arg(value_name = "PATH...")]
    paths: Vec<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let repo = session.open().await?;
    let (Some(rev), false) = (&args.commit, args.paths.is_empty()) else {
        let message = "A COMMIT and at least one PATH argument are required";
        return Err(Failure::usage(message));
    };
    let commit = resolve(&repo, rev).await?;
    let root = repo.tree_of(&commit).await?;
    for path in &args.paths {
        print(&repo, root, path).await?;
    }
    Ok(())
}

/// What was found in a file object.
enum Found {
    /// Content, and it was printed.
    Printed,
    /// A symbolic link to there.
    Link(String),
}

async fn print(repo: &Repo, root: TreeRoot, path: &str) -> Result<()> {
    let mut here = absolute(path);
    for _ in 0..LINKS_MAX {
        let TreeEntry::File(file) = find(repo, root, &here).await? else {
            return Err(Failure::new("Can't open directory"));
        };
        match print_file(repo, file).await? {
            Found::Printed => return Ok(()),
            Found::Link(target) => here = follow(&here, &target),
        }
    }
    let message = format!("{path}: more than {LINKS_MAX} symbolic links lead from one to the next");
    Err(Failure::new(message))
}

/// Returns where the link at `path` leads to, inside the tree.
fn follow(path: &str, target: &str) -> String {
    let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
    let joined = match target.starts_with('/') {
        true => target.to_owned(),
        false => format!("{directory}/{target}"),
    };
    let mut parts = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            // Above the root is the root, as for any root directory.
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Prints a file object, or returns where it links to. What is printed is verified only at its end.
async fn print_file(repo: &Repo, file: Checksum) -> Result<Found> {
    let name = ObjectName::file(file);
    let body = repo.objects().fetch(&name).await?;
    let body =
        body.ok_or_else(|| Failure::new(format!("object {name} is not in the repository")))?;
    let codec = repo.codec().clone();
    let copy = move || {
        let mut reader = Incoming::named(name, body).into_content(&*codec)?;
        if reader.header().is_symlink() {
            return Ok(Ok(Found::Link(reader.header().symlink_target.to_string())));
        }
        let mut out = std::io::stdout().lock();
        let mut buffer = vec![0; 128 * 1024];
        loop {
            let read = std::io::Read::read(&mut reader, &mut buffer)
                .map_err(|e| from_read("cannot be read", e).about(name))?;
            if read == 0 {
                return Ok(out.flush().map(|()| Found::Printed));
            }
            if let Err(error) = out.write_all(&buffer[..read]) {
                return Ok(Err(error));
            }
        }
    };
    Ok(repo.pool().run(copy).await??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_inside_the_tree() {
        assert_eq!(follow("/usr/bin/sh", "bash"), "/usr/bin/bash");
        assert_eq!(follow("/usr/bin/sh", "../lib/x"), "/usr/lib/x");
        assert_eq!(follow("/l", "/etc/./x"), "/etc/x");
        assert_eq!(follow("/a/l", "../../../etc/passwd"), "/etc/passwd");
    }
}
