//! Runs the two commands.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// What all commands of this process have in their environment beside what it has.
pub(crate) static ENVIRONMENT: OnceLock<Vec<(&str, String)>> = OnceLock::new();

/// What a command did.
pub(crate) struct Ran {
    line: String,
    output: Output,
}

/// What a successful command printed.
pub(crate) struct Printed {
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Printed {
    pub(crate) fn trim(&self) -> String {
        self.out.trim().to_owned()
    }
}

impl Ran {
    pub(crate) fn of(command: &mut Command) -> Self {
        let line = format!("{command:?}");
        let output = command.stdin(Stdio::null()).output().unwrap();
        Self { line, output }
    }

    pub(crate) fn ok(&self) -> bool {
        self.output.status.success()
    }

    fn err(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    #[track_caller]
    pub(crate) fn success(self) -> Printed {
        let err = self.err();
        assert!(self.ok(), "{}\n{}: {err}", self.line, self.output.status);
        let out = String::from_utf8_lossy(&self.output.stdout).into_owned();
        Printed { out, err }
    }

    /// Asserts that it ended with exit code 1 and an error, not with a panic; returns the error.
    #[track_caller]
    pub(crate) fn failure(self) -> String {
        let err = self.err();
        let code = self.output.status.code();
        assert_eq!(code, Some(1), "{}: {err}", self.line);
        assert!(!err.contains("panicked"), "{}: {err}", self.line);
        assert!(err.starts_with("error: "), "{}: {err}", self.line);
        err
    }

    /// Asserts that it failed with an error that names all of `words`.
    #[track_caller]
    pub(crate) fn failure_naming(self, words: &[&str]) -> String {
        let err = self.failure();
        for word in words {
            assert!(err.contains(word), "{word:?} is not named: {err}");
        }
        err
    }
}

/// Returns our command, with nothing in its environment that bears on it.
pub(crate) fn treeferry_command<I>(repo: &Path, args: I) -> Command
where
    I: IntoIterator,
    I::Item: AsRef<OsStr>,
{
    command(env!("CARGO_BIN_EXE_treeferry"), repo, args)
}

/// Runs our command.
pub(crate) fn treeferry<I>(repo: &Path, args: I) -> Ran
where
    I: IntoIterator,
    I::Item: AsRef<OsStr>,
{
    Ran::of(&mut treeferry_command(repo, args))
}

/// Returns the C command.
pub(crate) fn ostree_command<I>(repo: &Path, args: I) -> Command
where
    I: IntoIterator,
    I::Item: AsRef<OsStr>,
{
    command("/usr/bin/ostree", repo, args)
}

/// Runs the C command.
pub(crate) fn ostree<I>(repo: &Path, args: I) -> Ran
where
    I: IntoIterator,
    I::Item: AsRef<OsStr>,
{
    Ran::of(&mut ostree_command(repo, args))
}

fn command<I>(program: &str, repo: &Path, args: I) -> Command
where
    I: IntoIterator,
    I::Item: AsRef<OsStr>,
{
    let mut command = Command::new(program);
    command.args(args).arg("--repo").arg(repo);
    for name in ["http_proxy", "https_proxy", "all_proxy", "OSTREE_REPO"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    for (name, _) in std::env::vars_os() {
        let of_buckets: [&[u8]; 3] = [b"AWS_", b"AZUR", b"GOOGLE_"];
        if of_buckets
            .iter()
            .any(|own| name.as_encoded_bytes().starts_with(own))
        {
            command.env_remove(name);
        }
    }
    command.envs(ENVIRONMENT.get().into_iter().flatten().cloned());
    command
}

/// The most memory that a command had.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peak {
    pub(crate) kib: u64,
}

impl Peak {
    /// Runs our command, and tells how much memory it had if that can be told.
    pub(crate) fn treeferry<I>(repo: &Path, args: I) -> (Ran, Option<Self>)
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        let command = treeferry_command(repo, args);
        if !cfg!(has_time) {
            return (Ran::of(&mut { command }), None);
        }
        let report = tempfile::NamedTempFile::new().unwrap();
        let mut timed = Command::new("/usr/bin/time");
        timed.args(["--quiet", "-f", "%M", "-o"]).arg(report.path());
        timed.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => timed.env(name, value),
                None => timed.env_remove(name),
            };
        }
        let ran = Ran::of(&mut timed);
        let text = std::fs::read_to_string(report.path()).unwrap();
        let kib = text
            .lines()
            .last()
            .and_then(|line| line.trim().parse().ok());
        let kib = kib.unwrap_or_else(|| panic!("{text:?}"));
        (ran, Some(Self { kib }))
    }
}
