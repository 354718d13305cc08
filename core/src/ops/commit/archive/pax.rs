//! The records of an extended header.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use crate::error::{Error, Result};
use crate::format::Xattrs;

/// What an extended header says of the entry after it.
#[derive(Debug, Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) target: Option<Vec<u8>>,
    pub(super) content_bytes: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) xattrs: Xattrs,
    /// Whether the content is written in a form of GNU tar that is not read here.
    pub(super) is_sparse: bool,
}

impl Pax {
    /// Reads records `LENGTH KEY=VALUE\n`, where the length is that of the whole record.
    pub(super) fn parse(data: &[u8]) -> Result<Self> {
        let mut pax = Self::default();
        let mut xattrs: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut rest = data;
        // What fills up the last block, if the header was made without a length.
        while !rest.is_empty() && rest[0] != 0 {
            let (key, value, after) = record(rest).ok_or_else(malformed)?;
            rest = after;
            match key {
                b"path" => pax.path = Some(value.to_vec()),
                b"linkpath" => pax.target = Some(value.to_vec()),
                b"size" => pax.content_bytes = Some(number(value)?),
                b"uid" => pax.uid = Some(number(value)?),
                b"gid" => pax.gid = Some(number(value)?),
                _ if key.starts_with(b"GNU.sparse.") => pax.is_sparse = true,
                _ => {
                    let plain = key.strip_prefix(b"SCHILY.xattr.");
                    let encoded = key.strip_prefix(b"LIBARCHIVE.xattr.");
                    let attribute = match (plain, encoded) {
                        (Some(name), _) => Some((name.to_vec(), value.to_vec())),
                        (None, Some(name)) => Some(decoded(name, value)?),
                        (None, None) => None,
                    };
                    // Writers give an attribute in both forms.
                    if let Some((name, value)) = attribute
                        && !xattrs.iter().any(|(known, _)| *known == name)
                    {
                        xattrs.push((name, value));
                    }
                }
            }
        }
        let well_formed = |name: &Vec<u8>| !name.is_empty() && !name.contains(&0);
        if !xattrs.iter().all(|(name, _)| well_formed(name)) {
            return Err(malformed());
        }
        // The last one first and not sorted: so OSTree records them, and so the checksums are.
        let last_first = xattrs.iter().rev();
        pax.xattrs = Xattrs::in_order(last_first.map(|(n, v)| (n.as_slice(), v.as_slice())));
        Ok(pax)
    }
}

/// Splits the first record off: key, value, and what follows.
fn record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = data.iter().position(|byte| *byte == b' ')?;
    let bytes = std::str::from_utf8(&data[..blank]).ok()?;
    let bytes: usize = bytes.parse().ok()?;
    let (record, after) = data.split_at_checked(bytes)?;
    let record = record.get(blank + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], after))
}

fn number(value: &[u8]) -> Result<u64> {
    let text = std::str::from_utf8(value).ok();
    text.and_then(|text| text.parse().ok())
        .ok_or_else(malformed)
}

fn malformed() -> Error {
    Error::corrupt("an extended header is not well formed")
}

/// Undoes how libarchive writes attributes: names with `%XX`, values in base64 without padding.
fn decoded(name: &[u8], value: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((first, after)) = rest.split_first() {
        let hex = match first {
            b'%' => after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok()),
            _ => None,
        };
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                plain.push(byte);
                rest = &after[2..];
            }
            None => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    let value = STANDARD_NO_PAD
        .decode(value)
        .or_else(|_| STANDARD.decode(value));
    Ok((plain, value.map_err(|e| malformed().because(e))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_may_be_any_bytes() {
        let data = b"10 uid=77\n29 SCHILY.xattr.user.a=x\n=\0z\n\
                     39 LIBARCHIVE.xattr.user.b%20c=aGVsbG8\n8 path=\n";
        let pax = Pax::parse(data).expect("well formed");
        assert_eq!((pax.uid, pax.path.as_deref()), (Some(77), Some(&b""[..])));
        assert_eq!(pax.xattrs.get(b"user.a"), Some(&b"x\n=\0z"[..]));
        assert_eq!(pax.xattrs.get(b"user.b c"), Some(&b"hello"[..]));
    }

    #[test]
    fn what_is_cut_or_lies_about_its_length_is_refused() {
        for data in [
            &b"11 uid=77\n"[..],
            b"8 uid=77\n",
            b"99 uid=77\n",
            b"uid=77\n",
            b"10 uid=7x\n",
            b"10 uid+77\n",
            b"5 a=b\n",
            b"18446744073709551616 a=b\n",
            b"21 SCHILY.xattr.=abc\n",
        ] {
            assert!(
                Pax::parse(data).is_err(),
                "{}",
                String::from_utf8_lossy(data)
            );
        }
    }
}
