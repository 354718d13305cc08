//! Metalinks: a file that says what the summary of a remote must be, and where it can be had.

use std::fmt;

use roxmltree::{Document, Node};
use sha2::{Digest, Sha256, Sha512};

use crate::error::{Error, Result};

/// The longest metalink that is read, bytes.
pub const METALINK_BYTES_MAX: u64 = 1024 * 1024;

/// What a metalink says of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metalink {
    /// Where the file is, the preferred address first.
    pub urls: Vec<String>,
    size_bytes: u64,
    digests: Vec<(Hash, String)>,
}

/// A hash that counts. Others, such as MD5, are passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha256,
    Sha512,
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        })
    }
}

impl Hash {
    fn of(self, bytes: &[u8]) -> String {
        let hex = |digest: &[u8]| digest.iter().map(|byte| format!("{byte:02x}")).collect();
        match self {
            Self::Sha256 => hex(&Sha256::digest(bytes)),
            Self::Sha512 => hex(&Sha512::digest(bytes)),
        }
    }

    fn hex_digits(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

impl Metalink {
    /// Reads what a metalink, version 3, says of the file `name`.
    pub fn parse(text: &str, name: &str) -> Result<Self> {
        if !text.trim_start().starts_with('<') {
            return Err(Error::corrupt("Document must begin with an element"));
        }
        let document = Document::parse(text)
            .map_err(|e| Error::corrupt("is not well-formed XML").because(e))?;
        let file = document
            .root_element()
            .children()
            .filter(|node| is(node, "files"))
            .flat_map(|files| files.children())
            .find(|node| is(node, "file") && node.attribute("name") == Some(name));
        let file = file.ok_or_else(|| Error::corrupt(format!("No <file name='{name}'> found")))?;
        let size = child(file, "size").and_then(|size| size.text());
        let size_bytes = size
            .and_then(|size| size.trim().parse().ok())
            .ok_or_else(|| Error::corrupt("No valid <size> found"))?;
        let mut urls = urls(file);
        urls.sort_by_key(|(preference, _)| std::cmp::Reverse(*preference));
        let this = Self {
            urls: urls.into_iter().map(|(_, url)| url).collect(),
            size_bytes,
            digests: digests(file)?,
        };
        if this.digests.is_empty() {
            let problem = "No <verification> with known <hash type=>: sha256 or sha512 is needed";
            return Err(Error::corrupt(problem));
        }
        if this.urls.is_empty() {
            let problem = "No <url> with the method http or https among the <resources> elements";
            return Err(Error::corrupt(problem));
        }
        Ok(this)
    }

    /// Returns how long the file is, bytes.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Checks that `bytes` are the file.
    pub fn verify(&self, bytes: &[u8]) -> Result<()> {
        let found_bytes = bytes.len() as u64;
        if found_bytes != self.size_bytes {
            let expected = self.size_bytes;
            let problem =
                format!("Expected size is {expected} bytes but content is {found_bytes} bytes");
            return Err(Error::corrupt(problem));
        }
        for (hash, expected) in &self.digests {
            let found = hash.of(bytes);
            if found != *expected {
                let problem = format!("Expected checksum is {expected} but actual is {found}");
                return Err(Error::corrupt(problem));
            }
        }
        Ok(())
    }
}

fn is(node: &Node<'_, '_>, name: &str) -> bool {
    node.is_element() && node.tag_name().name() == name
}

fn child<'a, 'i>(of: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    of.children().find(|node| is(node, name))
}

fn digests(file: Node<'_, '_>) -> Result<Vec<(Hash, String)>> {
    let mut digests = Vec::new();
    let verification = child(file, "verification").into_iter();
    for node in verification.flat_map(|verification| verification.children()) {
        let hash = match node.attribute("type") {
            Some("sha256") if is(&node, "hash") => Hash::Sha256,
            Some("sha512") if is(&node, "hash") => Hash::Sha512,
            _ => continue,
        };
        let digest = node.text().unwrap_or_default().trim().to_ascii_lowercase();
        let is_hex = digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        if digest.len() != hash.hex_digits() || !is_hex {
            return Err(Error::corrupt(format!("Invalid hash digest for {hash}")));
        }
        digests.push((hash, digest));
    }
    Ok(digests)
}

fn urls(file: Node<'_, '_>) -> Vec<(u32, String)> {
    let resources = child(file, "resources").into_iter();
    let nodes = resources.flat_map(|resources| resources.children());
    let nodes = nodes.filter(|node| {
        is(node, "url") && matches!(node.attribute("protocol"), Some("http" | "https"))
    });
    let url = |node: Node<'_, '_>| {
        let preference = node.attribute("preference");
        let preference = preference.and_then(|text| text.parse().ok()).unwrap_or(0);
        let text = node.text().unwrap_or_default().trim();
        (!text.is_empty()).then(|| (preference, text.to_owned()))
    };
    nodes.filter_map(url).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(hashes: &str, urls: &str) -> String {
        format!(
            "<?xml version='1.0'?><metalink version='3.0' xmlns='http://www.metalinker.org/'>\
             <other><files/></other><files><file name='x'/><file name='summary'><size>5</size>\
             <verification>{hashes}</verification><resources>{urls}</resources></file></files>\
             </metalink>"
        )
    }

    const SHA256: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    #[test]
    fn the_preferred_place_comes_first_and_the_file_is_verified() {
        let hashes = format!("<hash type='md5'>x</hash><hash type='sha256'> {SHA256} </hash>");
        let urls = "<url protocol='http' preference='9'>http://b/summary</url>\
                    <url protocol='ftp' preference='99'>ftp://c/summary</url>\
                    <url protocol='https' preference='10'>https://a/summary</url>";
        let metalink = Metalink::parse(&text(&hashes, urls), "summary").expect("well formed");
        assert_eq!(metalink.urls, ["https://a/summary", "http://b/summary"]);
        metalink.verify(b"hello").expect("what it says");
        for other in [&b"hell0"[..], b"hello!", b""] {
            metalink.verify(other).expect_err("something else");
        }
    }

    #[test]
    fn what_says_too_little_is_refused() {
        let (hash, url) = (
            format!("<hash type='sha256'>{SHA256}</hash>"),
            "<url protocol='http'>http://b/summary</url>",
        );
        for (text, problem) in [
            ("bacon".to_owned(), "must begin with an element"),
            (text("", url), "No <verification>"),
            (text(&hash, ""), "No <url>"),
            (
                text("<hash type='sha512'>bacon</hash>", url),
                "Invalid hash digest for sha512",
            ),
            (text(&hash, url).replace("summary'", "other'"), "No <file"),
            (text(&hash, url).replace("<size>5", "<size>five"), "<size>"),
            (text(&hash, url).replace("</metalink>", ""), "XML"),
        ] {
            let error = Metalink::parse(&text, "summary").expect_err(problem);
            assert!(error.to_string().contains(problem), "{error}");
        }
        let bomb = "<!DOCTYPE m [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;'>]><m>&b;</m>";
        Metalink::parse(bomb, "summary").expect_err("entities are not expanded");
    }
}
