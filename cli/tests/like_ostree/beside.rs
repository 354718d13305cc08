//! The command beside the C `ostree`: the same calls on copies of the same repositories.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// Two directories with the same in them, one for each implementation.
pub(crate) struct Beside {
    place: TempDir,
}

/// What a call printed, and how it ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) lines: Vec<String>,
    pub(crate) error: Option<String>,
    pub(crate) code: Option<i32>,
}

/// How closely two outcomes must agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Agree {
    /// Output, error text and exit code.
    Fully,
    /// As `Fully`, but lines may come in another order: C's is that of a hash table.
    InAnyOrder,
    /// Output and exit code; the text of an error is our own.
    ButErrorText,
}

impl Beside {
    /// Makes a tree `t`, a bare repository `r` with the branches `m` and `foo/bar`, and an archive
    /// `c` of a collection with the branch `o`, twice: both made by C.
    pub(crate) fn new() -> Self {
        let beside = Self {
            place: tempfile::tempdir().unwrap(),
        };
        let template = beside.place.path().join("c");
        fs::create_dir(&template).unwrap();
        make_tree(&template.join("t"));
        for call in [
            "--repo=r init",
            "--repo=r commit -b m --timestamp=@1000 -s one --add-metadata-string=version=1.0 t",
            "--repo=r commit -b m --timestamp=@2000 -s two -m body '--add-metadata=n=uint32 5' t",
            "--repo=r commit -b foo/bar --timestamp=@3000 --owner-uid=7 t",
            "--repo=c init --mode=archive --collection-id=org.example.Own",
            "--repo=c commit -b o --timestamp=@4000 --generate-sizes t",
        ] {
            let words = split(call);
            let outcome = run("/usr/bin/ostree", &template, &words);
            assert_eq!(outcome.code, Some(0), "{call}: {outcome:?}");
        }
        let copied = Command::new("cp")
            .args(["-a", "c", "ours"])
            .current_dir(beside.place.path())
            .status();
        assert!(copied.unwrap().success());
        // The name decides how the command behaves.
        let link = beside.place.path().join("ostree");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_treeferry"), link).unwrap();
        beside
    }

    /// Returns the directory that only we work in.
    pub(crate) fn ours(&self) -> PathBuf {
        self.place.path().join("ours")
    }

    /// Returns the directory that only C works in.
    pub(crate) fn theirs(&self) -> PathBuf {
        self.place.path().join("c")
    }

    /// Does the same in both directories.
    pub(crate) fn both(&self, act: impl Fn(&Path)) {
        act(&self.theirs());
        act(&self.ours());
    }

    /// Calls us alone.
    pub(crate) fn call(&self, call: &str) -> Outcome {
        let program = self.place.path().join("ostree");
        run(program.to_str().unwrap(), &self.ours(), &split(call))
    }

    /// Calls C alone.
    pub(crate) fn call_theirs(&self, call: &str) -> Outcome {
        run("/usr/bin/ostree", &self.theirs(), &split(call))
    }

    /// Calls both, and expects them to agree.
    pub(crate) fn same(&self, agree: Agree, calls: &[&str]) {
        for call in calls {
            let (mut theirs, mut ours) = (self.call_theirs(call), self.call(call));
            match agree {
                Agree::Fully => {}
                Agree::InAnyOrder => {
                    theirs.lines.sort();
                    ours.lines.sort();
                }
                Agree::ButErrorText => {
                    assert_eq!(
                        ours.error.is_some(),
                        theirs.error.is_some(),
                        "ostree {call}"
                    );
                    ours.error = None;
                    theirs.error = None;
                }
            }
            assert_eq!(ours, theirs, "ostree {call}: ours is left, C's is right");
        }
    }

    /// Expects a file or directory to be the same for both, bytes and modes.
    pub(crate) fn same_files(&self, path: &str) {
        let listing = |at: PathBuf| {
            let script = "find . -printf '%P %y %m %s %l\\n' | sort; \
                          find . -type f -exec sha256sum {} + | sort -k2";
            let output = Command::new("sh")
                .args(["-c", script])
                .current_dir(at)
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            // How large a directory is, is the filesystem's business.
            let lines = text.lines().map(|line| match line.split_once(" d ") {
                Some((name, rest)) => format!("{name} d {}", &rest[..rest.find(' ').unwrap_or(0)]),
                None => line.to_owned(),
            });
            lines.collect::<Vec<_>>()
        };
        assert_eq!(
            listing(self.ours().join(path)),
            listing(self.theirs().join(path)),
            "{path}"
        );
    }
}

fn make_tree(at: &Path) {
    fs::create_dir_all(at.join("d/sp ace")).unwrap();
    fs::write(at.join("f"), "hi\n").unwrap();
    fs::write(at.join("empty"), "").unwrap();
    fs::write(at.join("d/sp ace/x"), "x".repeat(5000)).unwrap();
    fs::write(at.join("exec"), "#!/bin/sh\n").unwrap();
    std::os::unix::fs::symlink("f", at.join("l")).unwrap();
    std::os::unix::fs::symlink("d/sp ace/x", at.join("abs")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(at.join("exec"), mode).unwrap();
}

/// Splits a call into words at blanks; `'…'` is one word, as it is.
fn split(call: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut quoted, mut any) = (false, false);
    for c in call.chars() {
        match c {
            '\'' => {
                quoted = !quoted;
                any = true;
            }
            ' ' if !quoted => {
                if any {
                    words.push(std::mem::take(&mut word));
                }
                any = false;
            }
            c => {
                word.push(c);
                any = true;
            }
        }
    }
    if any {
        words.push(word);
    }
    words
}

/// Runs a program and takes down what came of it. Of standard error only the error itself counts.
pub(crate) fn run(program: &str, at: &Path, words: &[String]) -> Outcome {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(program)
        .args(words)
        .current_dir(at)
        .env_remove("OSTREE_REPO")
        .env_remove("SOURCE_DATE_EPOCH")
        .env_remove("OSTREE_EDITOR")
        .env_remove("VISUAL")
        // By a shell: a script just written may still be open in another test's child.
        .env("EDITOR", "sh ./editor")
        .env("OSTREE_DUMMY_SIGN_ENABLED", "1")
        .env("TZ", "UTC")
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&stderr).into_owned();
    let error = error.lines().find(|line| line.starts_with("error: "));
    Outcome {
        lines: String::from_utf8_lossy(&stdout)
            .lines()
            .map(str::to_owned)
            .collect(),
        error: error.map(str::to_owned),
        code: status.code(),
    }
}
