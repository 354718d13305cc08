//! The address of a bucket, and of a place in it.

use std::fmt;
use std::str::FromStr;

use treeferry_core::Error;

/// Whose bucket it is, and so how it is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// Amazon S3, and servers that speak its language.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage, where buckets are called containers.
    Azure,
}

impl Provider {
    /// Returns the scheme of addresses.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Gcs => "gs",
            Self::Azure => "az",
        }
    }
}

/// `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX` or `az://CONTAINER/PREFIX`, the prefix being optional.
///
/// Options may follow: `?endpoint=URL&region=NAME&anonymous&single-writer&virtual-hosted`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketAddress {
    /// Whose it is.
    pub provider: Provider,
    /// The bucket.
    pub bucket: String,
    /// Where in the bucket, without `/` at its start and end; may be empty.
    pub prefix: String,
    /// What follows the `?`.
    pub(crate) settings: Vec<(String, String)>,
}

impl FromStr for BucketAddress {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = |problem: &str| Error::invalid(format!("'{text}' {problem}"));
        let (scheme, rest) = text.split_once("://").ok_or_else(|| {
            invalid("is no address of a bucket: expected s3://, gs:// or az://, and a bucket")
        })?;
        let provider = match scheme {
            "s3" => Provider::S3,
            "gs" => Provider::Gcs,
            "az" => Provider::Azure,
            _ => return Err(invalid("is in no bucket: expected s3://, gs:// or az://")),
        };
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        if bucket.is_empty() || bucket.contains(['@', ':']) {
            return Err(invalid(
                "names no bucket after its scheme; the server is told by '?endpoint=URL'",
            ));
        }
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        let bad = |part: &str| matches!(part, "" | "." | "..");
        if !prefix.is_empty() && prefix.split('/').any(bad) {
            return Err(invalid("has a part that is empty, '.' or '..'"));
        }
        let settings = query.split('&').filter(|setting| !setting.is_empty());
        let settings = settings.map(|setting| {
            let (key, value) = setting.split_once('=').unwrap_or((setting, ""));
            (key.to_owned(), value.to_owned())
        });
        Ok(Self {
            provider,
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            settings: settings.collect(),
        })
    }
}

impl fmt::Display for BucketAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.provider.scheme(), self.bucket)?;
        if !self.prefix.is_empty() {
            write!(f, "/{}", self.prefix)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> BucketAddress {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_a_scheme_a_bucket_and_a_prefix() {
        for text in ["s3://os", "gs://os/a", "az://os/a/b c/d"] {
            assert_eq!(parse(text).to_string(), text);
        }
        let address = parse("s3://os/a/?region=eu&anonymous&endpoint=http://localhost:1");
        assert_eq!(address.to_string(), "s3://os/a");
        let settings: Vec<_> = address.settings.iter().map(|(k, v)| (&**k, &**v)).collect();
        let expected = [
            ("region", "eu"),
            ("anonymous", ""),
            ("endpoint", "http://localhost:1"),
        ];
        assert_eq!(settings, expected);
    }

    #[test]
    fn what_is_no_address_of_a_bucket_is_refused() {
        for bad in [
            "",
            "os",
            "http://os",
            "s3:os",
            "s3://",
            "s3:///a",
            "s3://a/../b",
            "s3://a//b",
            "s3://user:secret@host/b",
        ] {
            assert!(bad.parse::<BucketAddress>().is_err(), "{bad:?}");
        }
    }
}
