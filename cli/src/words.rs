//! Errors in the words of OSTree, which scripts look for when the command goes by its name.

use std::error::Error as StdError;

use treeferry_core::format::{ObjectName, ObjectType};
use treeferry_core::{Error, ErrorKind, Subject};

/// Returns an error of the library in OSTree's words, where it has words of its own for it.
pub(crate) fn of(error: &Error) -> Option<String> {
    let Some(Subject::Object(name)) = error.subject() else {
        return cause(error).and_then(of);
    };
    match error.kind() {
        ErrorKind::Missing if name.object_type == ObjectType::File => {
            let checksum = name.checksum;
            Some(format!("Couldn't find file object '{checksum}'"))
        }
        ErrorKind::Missing => Some(format!("No such metadata object {name}")),
        ErrorKind::Corrupt => Some(format!("{name}: {}", damage(name, error))),
        _ => None,
    }
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
