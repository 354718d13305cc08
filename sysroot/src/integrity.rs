//! What the repository's configuration says of images and of fs-verity: its group `ex-integrity`.

use treeferry_core::Subject;
use treeferry_core::error::{Error, Result};
use treeferry_core::format::keyfile::KeyFile;

const GROUP: &str = "ex-integrity";
/// What came before it, for fs-verity alone.
const OLD_GROUP: &str = "ex-fsverity";

/// Whether something is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// It is not.
    #[default]
    No,
    /// It is, where it can be had.
    Maybe,
    /// It must be had.
    Yes,
}

/// What the configuration says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Integrity {
    /// Whether deployments get a composefs image.
    pub(crate) composefs: Wanted,
    /// Whether files are sealed by fs-verity. Where images are wanted it is where it can be had, unless
    /// something else is said.
    pub(crate) fsverity: Wanted,
}

impl Integrity {
    /// Reads it from a configuration.
    ///
    /// # Errors
    ///
    /// Names the key whose value is not understood.
    pub(crate) fn parse(config: &KeyFile) -> Result<Self> {
        let composefs = wanted(config, "composefs")?.unwrap_or_default();
        let old = |key| config.boolean(OLD_GROUP, key).map(|set| set == Some(true));
        let fsverity = match wanted(config, "fsverity")? {
            Some(fsverity) => fsverity,
            None if composefs != Wanted::No => Wanted::Maybe,
            None if old("required")? => Wanted::Yes,
            None if old("opportunistic")? => Wanted::Maybe,
            None => Wanted::No,
        };
        Ok(Self {
            composefs,
            fsverity,
        })
    }
}

fn wanted(config: &KeyFile, key: &str) -> Result<Option<Wanted>> {
    let Some(value) = config.string(GROUP, key)? else {
        return Ok(None);
    };
    match &*value {
        "no" | "false" | "0" => Ok(Some(Wanted::No)),
        "maybe" => Ok(Some(Wanted::Maybe)),
        "yes" | "true" | "1" => Ok(Some(Wanted::Yes)),
        other => {
            let problem = format!("'{other}' is none of 'no', 'maybe' and 'yes'");
            let about = Subject::ConfigKey(format!("{GROUP}.{key}"));
            Err(Error::invalid(problem).about(about))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_wants_images_wants_seals_where_they_can_be_had() {
        use Wanted::{Maybe, No, Yes};
        for (text, composefs, fsverity) in [
            ("", No, No),
            ("[ex-integrity]\ncomposefs=yes\n", Yes, Maybe),
            ("[ex-integrity]\ncomposefs=maybe\nfsverity=no\n", Maybe, No),
            ("[ex-integrity]\nfsverity=true\n", No, Yes),
            ("[ex-fsverity]\nrequired=true\n", No, Yes),
            ("[ex-fsverity]\nopportunistic=true\n", No, Maybe),
        ] {
            let read = Integrity::parse(&KeyFile::parse(text).unwrap()).unwrap();
            let wanted = Integrity {
                composefs,
                fsverity,
            };
            assert_eq!(read, wanted, "{text}");
        }
    }

    #[test]
    fn a_word_that_is_not_understood_is_named() {
        let text = "[ex-integrity]\ncomposefs=signed\n";
        let error = Integrity::parse(&KeyFile::parse(text).unwrap()).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("ex-integrity.composefs"), "{error}");
    }
}
