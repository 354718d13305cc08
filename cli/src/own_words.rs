//! Errors in our own words, where OSTree's leave the reader alone with them. By its name they stay as
//! they are, for scripts look for them.

/// Returns what is said by our own name in place of `text`, where that is anything else.
pub(crate) fn of(text: &str) -> Option<String> {
    let fixed = match text {
        "An COMMIT argument is required" | "A COMMIT argument is required" => {
            "COMMIT must be specified"
        }
        "A COMMIT and at least one PATH argument are required" => {
            "COMMIT and at least one PATH must be specified"
        }
        "A REF and COMMIT argument is required" => "REF and COMMIT must be specified",
        "A rev argument is required" => "REV must be specified",
        "Specified options are incompatible with --composefs" => {
            "what says which files are written, and how, is incompatible with --composefs, which makes an image of the \
             whole commit as it is: leave out -U, --union, --subpath and the like"
        }
        "A filename must be given" => "PATH must be specified",
        "An object argument is required" => "OBJECT must be specified",
        "A MOUNT-PATH must be specified" => "MOUNT-PATH must be specified",
        "Need a COMMIT to sign" | "Need a COMMIT to sign or verify" => "COMMIT must be specified",
        "Need at least one KEY-ID to sign with" => {
            "at least one KEY, or --keys-file, must be specified"
        }
        "Command requires a --repo argument" => "where? --repo=PATH must be specified",
        "No option specified; use -u to update summary" => {
            "--update, which writes the summary anew, or --view, which prints it, must be specified"
        }
        "Key must be of the form \"sectionname.keyname\"" => {
            "KEY must be of the form GROUP.KEY, such as core.mode"
        }
        _ => return with_a_name(text),
    };
    Some(fixed.to_owned())
}

fn with_a_name(text: &str) -> Option<String> {
    let between = |before: &str, after: &str| {
        let rest = text.strip_prefix(before)?;
        rest.strip_suffix(after)
    };
    if let Some(rev) = between("Refspec '", "' not found") {
        return Some(format!(
            "there is no ref or commit '{rev}' in the repository: 'refs' lists the refs that are"
        ));
    }
    if let Some(range) = between("Out of range deployment index ", "") {
        let (index, _) = range.split_once(',')?;
        return Some(format!(
            "there is no deployment {index}: 'admin status' lists those that are"
        ));
    }
    if let Some(os) = between("No previous deployment for OS '", "'") {
        return Some(format!(
            "nothing of '{os}' is deployed: 'admin deploy --os={os} REFSPEC' does so first"
        ));
    }
    if let Some(name) = between("Remote \"", "\" not found") {
        return Some(format!(
            "there is no remote '{name}': 'remote list' shows those that are, and 'remote add' makes one"
        ));
    }
    if let Some(operation) = between("Unknown operation ", "") {
        return Some(format!(
            "there is no operation '{operation}': it is get, set or unset"
        ));
    }
    if let Some(group) = between("Key file does not have group “", "”") {
        return Some(format!("the configuration has no group '{group}'"));
    }
    let missing = between("Key file does not have key “", "”")?;
    let (key, group) = missing.split_once("” in group “")?;
    Some(format!("the configuration does not set {group}.{key}"))
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn names_are_kept_and_other_errors_are_left_as_they_are() {
        let refspec = of("Refspec 'os/stabel' not found").unwrap();
        assert!(refspec.starts_with("there is no ref or commit 'os/stabel'"));
        let key = of("Key file does not have key “nope” in group “core”").unwrap();
        assert_eq!(key, "the configuration does not set core.nope");
        let index = of("Out of range deployment index 3, expected < 2").unwrap();
        assert!(index.starts_with("there is no deployment 3:"));
        assert_eq!(of("cannot be opened"), None);
    }
}
