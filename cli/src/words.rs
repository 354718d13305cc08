//! Errors in the words of OSTree, which scripts look for when the command goes by its name.

use std::error::Error as StdError;

use treeferry_core::format::{ObjectName, ObjectType};
use treeferry_core::{Error, ErrorKind, Subject};

use crate::dates;

/// Returns an error of the library in OSTree's words, where it has words of its own for it.
pub(crate) fn of(error: &Error) -> Option<String> {
    let Some(Subject::Object(name)) = error.subject() else {
        return unreadable_name(error).or_else(|| cause(error).and_then(of));
    };
    match error.kind() {
        ErrorKind::Missing if error.to_string().contains(" is not at http") => {
            Some(format!("{error}: Server returned HTTP 404"))
        }
        ErrorKind::Missing if name.object_type == ObjectType::File => {
            let checksum = name.checksum;
            Some(format!("Couldn't find file object '{checksum}'"))
        }
        ErrorKind::Missing => Some(format!("No such metadata object {name}")),
        ErrorKind::Corrupt => Some(format!("{name}: {}", damage(name, error))),
        ErrorKind::Invalid => unusual_mode(name, error),
        _ => None,
    }
}

/// Returns an error in OSTree's words that is only known by its text.
pub(crate) fn of_text(text: &str) -> Option<String> {
    for (ours, theirs) in [
        (
            "what exists there is not identical, and is not to be replaced",
            "File exists",
        ),
        ("cannot be made durable", "fsync"),
        (
            "no signatures found, and one of OpenPGP is required",
            "GPG verification enabled, but no signatures found (use gpg-verify=false in remote \
             config to disable)",
        ),
    ] {
        if text.contains(ours) {
            return Some(text.replace(ours, theirs));
        }
    }
    if text.contains("no repository was found there") {
        return Some(format!("{text}: Server returned HTTP 404"));
    }
    step_back(text)
        .or_else(|| unstorable_mode(text))
        .or_else(|| no_ref(text))
}

/// Returns OSTree's words for a file whose mode a repository of mode `bare-user-only` does not keep.
fn unstorable_mode(text: &str) -> Option<String> {
    let (object, rest) =
        text.split_once(".file: cannot be kept in a repository of mode bare-user")?;
    let (_, rest) = rest.split_once("for its mode 0o")?;
    let (mode, rest) = rest.split_once(" has the bits 0o")?;
    let (bits, _) = rest.split_once(':')?;
    let checksum = object.rsplit(' ').next()?;
    Some(format!(
        "Content object {checksum}: invalid mode 0{mode} with bits 0{bits}"
    ))
}

/// Returns OSTree's words for a ref of a remote that is something else.
fn no_ref(text: &str) -> Option<String> {
    let (url, found) = text.split_once(": is not well formed: ref file: ")?;
    let (_, branch) = url.split_once("/refs/heads/")?;
    let (_, found) = found.split_once(", found '")?;
    let found = found.strip_suffix('\'').unwrap_or(found);
    Some(format!(
        "Fetching checksum for ref ((empty), {branch}): Invalid rev {found}"
    ))
}

/// Returns OSTree's words for a commit that is older than it may be.
fn step_back(text: &str) -> Option<String> {
    let (target, rest) = text.split_once(": is older (timestamp ")?;
    let (new, rest) = rest.split_once(") than commit ")?;
    let (current, rest) = rest.split_once(" (timestamp ")?;
    let (old, _) = rest.split_once("): a step back is refused")?;
    let target = target.trim_start_matches("object ");
    let target = target.strip_suffix(".commit").unwrap_or(target);
    let time = |secs: &str| dates::iso(secs.parse().unwrap_or(0));
    Some(format!(
        "Upgrade target revision '{target}' with timestamp '{}' is chronologically older than \
         current revision '{current}' with timestamp '{}'",
        time(new),
        time(old)
    ))
}

/// Returns OSTree's words for a file that is refused for its mode.
fn unusual_mode(name: &ObjectName, error: &Error) -> Option<String> {
    let problem = error.to_string();
    let (_, problem) = problem.split_once("has mode ")?;
    let (mode, _) = problem.split_once(", outside of 0775")?;
    let mode = u32::from_str_radix(mode, 8).ok()?;
    let bits = mode & !0o775;
    let checksum = name.checksum;
    Some(format!(
        "Content object {checksum}: invalid mode 0{mode:04o} with bits 0{bits:o}"
    ))
}

/// Returns OSTree's words for a file name that cannot be recorded.
fn unreadable_name(error: &Error) -> Option<String> {
    let problem = error.to_string();
    let (_, name) = problem.split_once("the name of an entry is not UTF-8: ")?;
    Some(format!("Invalid UTF-8 in filename {name}"))
}

/// Returns whether a download ended before all of it was there.
pub(crate) fn is_incomplete(error: &Error) -> bool {
    let broke = matches!(error.kind(), ErrorKind::Unavailable { .. })
        && error.to_string().contains("the connection broke after ");
    broke || cause(error).is_some_and(is_incomplete)
}

fn cause(error: &Error) -> Option<&Error> {
    error.source()?.downcast_ref()
}

/// Returns what is wrong with a damaged object.
pub(crate) fn damage(name: &ObjectName, error: &Error) -> String {
    let (kind, expected) = (name.object_type, name.checksum);
    let problem = error.to_string();
    let problem = match error.subject() {
        Some(subject) => problem
            .strip_prefix(&format!("{subject}: "))
            .unwrap_or(&problem),
        None => &problem,
    };
    if let Some(actual) = problem.strip_prefix("corrupted: its bytes have the checksum ") {
        return format!(
            "Corrupted {kind} object; checksum expected='{expected}' actual='{actual}'"
        );
    }
    let mut innermost = problem.to_owned();
    let mut cause = error.source();
    while let Some(error) = cause {
        innermost = error.to_string();
        cause = error.source();
    }
    let prefix = format!("{kind}: ");
    innermost
        .strip_prefix(&prefix)
        .unwrap_or(&innermost)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use treeferry_core::format::Checksum;

    use super::*;

    #[test]
    fn a_wrong_checksum_is_told_with_both() {
        let (name, other) = (Checksum::of(b"a"), Checksum::of(b"b"));
        let error = Error::wrong_checksum(ObjectName::commit(name), other);
        let text = format!("Corrupted commit object; checksum expected='{name}' actual='{other}'");
        assert_eq!(damage(&ObjectName::commit(name), &error), text);
    }

    #[test]
    fn a_step_back_is_told_with_both_times() {
        let (new, old) = ("a".repeat(64), "b".repeat(64));
        let text = format!(
            "object {new}.commit: is older (timestamp 0) than commit {old} (timestamp 60): a step \
             back is refused"
        );
        let expected = format!(
            "Upgrade target revision '{new}' with timestamp '1970-01-01T00:00:00Z' is \
             chronologically older than current revision '{old}' with timestamp \
             '1970-01-01T00:01:00Z'"
        );
        assert_eq!(of_text(&text), Some(expected));
    }

    #[test]
    fn a_mode_that_is_refused_is_told_with_the_bits_it_is_refused_for() {
        let checksum = Checksum::of(b"a");
        let error = Error::invalid("has mode 4644, outside of 0775: refused here");
        let text = format!("Content object {checksum}: invalid mode 04644 with bits 04000");
        let error = error.about(ObjectName::file(checksum));
        assert_eq!(of(&error), Some(text));
    }

    #[test]
    fn a_name_that_is_not_text_and_half_a_download_have_words() {
        let error = Error::invalid("the name of an entry is not UTF-8: a?").context("committing");
        assert_eq!(of(&error).as_deref(), Some("Invalid UTF-8 in filename a?"));
        let broke = ErrorKind::Unavailable { retry_after: None };
        let error = Error::new(broke, "the connection broke after 87 bytes");
        assert!(is_incomplete(&error.context("gave up after 6 tries")));
        let error = Error::new(broke, "cannot be connected to");
        assert!(!is_incomplete(&error));
    }

    #[test]
    fn what_is_missing_is_found_below_its_context() {
        let checksum = Checksum::of(b"a");
        let error = Error::missing("is not in the repository").about(ObjectName::file(checksum));
        let words = of(&error.context("checking out"));
        assert_eq!(
            words,
            Some(format!("Couldn't find file object '{checksum}'"))
        );
    }
}
