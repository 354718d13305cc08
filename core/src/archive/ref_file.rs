//! What a ref file holds: a commit, and what it is an alias of, if it is one.
//!
//! ```text
//! 64 hex digits, line end             a commit
//! 64 hex digits, line end, blanks     an alias: the commit that it means, and what it is named by
//! ```
//!
//! Buckets and many media have no symbolic links, which is what aliases are in a directory. A plain
//! `ostree` strips blanks from the end of a ref file, and so finds the commit there that a web server
//! would have found by following the link. The branch is in those blanks, four for each byte, two
//! bits a blank: so that an alias is one file, which is compared and swapped as one.

use bytes::Bytes;

use crate::format::{Branch, Checksum, FormatError};

/// The longest ref file that is read, bytes: what is longer than this is no ref.
pub(super) const REF_BYTES_MAX: u64 = 32 * 1024;

/// How much is shown of a file that holds something else.
const SHOWN_BYTES_MAX: usize = 64;

/// How long the file of a ref is that holds a commit.
pub(super) const PLAIN_BYTES: u64 = 65;

const BLANKS: [u8; 4] = [b' ', b'\t', b'\n', b'\r'];

/// The content of a ref file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RefFile {
    /// The commit; of an alias the one it meant when it was written, all zeros if there was none.
    pub(super) commit: Checksum,
    /// The branch of the same name space that this is an alias of.
    pub(super) alias: Option<Branch>,
}

impl RefFile {
    /// Reads a ref file; the line end may be missing.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let expected = || {
            let problem = "expected 64 hex digits and a line end, found";
            FormatError::new("ref file", format!("{problem} '{}'", beginning(bytes)))
        };
        let (hex, rest) = bytes.split_at_checked(64).ok_or_else(expected)?;
        let hex = std::str::from_utf8(hex).map_err(|_| expected())?;
        let commit = hex.parse().map_err(|_| expected())?;
        let alias = match rest {
            b"" | b"\n" => None,
            [b'\n', blanks @ ..] => Some(parse_blanks(blanks).ok_or_else(expected)?),
            _ => return Err(expected()),
        };
        Ok(Self { commit, alias })
    }

    pub(super) fn to_bytes(&self) -> Bytes {
        let mut bytes = format!("{}\n", self.commit).into_bytes();
        let alias = self.alias.iter().flat_map(|branch| branch.as_str().bytes());
        for byte in alias {
            bytes.extend([6, 4, 2, 0].map(|shift| BLANKS[usize::from(byte >> shift & 3)]));
        }
        bytes.into()
    }
}

/// Returns the beginning of what is no ref file, for a message: often the page of a web server.
fn beginning(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_BYTES_MAX)]);
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(plain).collect()
}

fn parse_blanks(blanks: &[u8]) -> Option<Branch> {
    let (letters, []) = blanks.as_chunks::<4>() else {
        return None;
    };
    let mut name = Vec::with_capacity(letters.len());
    for letter in letters {
        let mut byte = 0;
        for blank in letter {
            let bits = BLANKS.iter().position(|b| b == blank)?;
            byte = byte << 2 | u8::try_from(bits).ok()?;
        }
        name.push(byte);
    }
    Branch::new(std::str::from_utf8(&name).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    #[test]
    fn what_is_no_ref_file_is_shown_in_part_and_on_one_line() {
        let error = RefFile::parse(b"<html>\n<body>\x1b[2J</body>").unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("found '<html> <body> [2J</body>'"),
            "{error}"
        );
        let error = RefFile::parse("ä".repeat(1000).as_bytes()).unwrap_err();
        assert!(error.to_string().len() < 200, "{error}");
    }

    #[test]
    fn a_commit_is_64_hex_digits_and_at_most_one_line_end() {
        let commit: Checksum = HEX.parse().unwrap();
        let plain = RefFile {
            commit,
            alias: None,
        };
        assert_eq!(RefFile::parse(HEX.as_bytes()).unwrap(), plain);
        let written = plain.to_bytes();
        assert_eq!(written, format!("{HEX}\n"));
        assert_eq!(written.len() as u64, PLAIN_BYTES);
        assert_eq!(RefFile::parse(&written).unwrap(), plain);
        let upper = HEX.to_uppercase();
        for bad in [
            "",
            "\n",
            &HEX[1..],
            &format!("{HEX}\n\n"),
            &format!("{HEX} "),
            &format!("{HEX}\nref"),
            &format!(" {HEX}"),
            &upper,
        ] {
            assert!(RefFile::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(RefFile::parse(b"<html>404</html>").is_err());
        assert!(RefFile::parse(&[0xff; 64]).is_err());
    }

    #[test]
    fn an_alias_is_a_commit_to_who_strips_blanks() {
        let alias = RefFile {
            commit: HEX.parse().unwrap(),
            alias: Some("os/größe.41".parse().unwrap()),
        };
        let written = alias.to_bytes();
        assert_eq!(written.trim_ascii_end(), HEX.as_bytes());
        assert!(written.len() as u64 > PLAIN_BYTES);
        assert_eq!(RefFile::parse(&written).unwrap(), alias);
        for bad in [
            &written[..written.len() - 1],
            &[&written[..], b"    "].concat(),
        ] {
            assert!(RefFile::parse(bad).is_err());
        }
    }
}
