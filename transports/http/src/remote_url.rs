//! The address of a remote: joined with paths, and shown without secrets.

use reqwest::Url;
use treeferry_core::transport::RemotePath;
use treeferry_core::{Error, Result, Subject};

/// The address below which the files of a remote lie.
#[derive(Clone)]
pub(crate) struct RemoteUrl {
    /// Without user, password and fragment; the query, which may hold a token, is kept.
    base: Url,
    /// The base without query, nor the `/` at its end.
    shown: Box<str>,
}

/// A user and a password, as they stood in an address.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) user: String,
    pub(crate) password: String,
}

impl RemoteUrl {
    /// Reads an address, and takes the credentials out of it.
    pub(crate) fn parse(text: &str) -> Result<(Self, Option<Credentials>)> {
        let invalid = |problem: &'static str| Error::invalid(problem);
        // The text is not repeated: what cannot be read may hold a password at any place.
        let mut base = Url::parse(text)
            .map_err(|e| invalid("the address of a remote cannot be read").because(e))?;
        if !matches!(base.scheme(), "http" | "https") {
            let problem = format!(
                "an address with the scheme '{}' is not for HTTP: expected http or https",
                base.scheme()
            );
            return Err(Error::invalid(problem));
        }
        let credentials = take_credentials(&mut base)?;
        base.set_fragment(None);
        let shown = show(&base);
        let shown = shown.trim_end_matches('/').into();
        Ok((Self { base, shown }, credentials))
    }

    /// Returns the address without secrets.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// Returns the address of `path`, to be requested.
    pub(crate) fn join(&self, path: &RemotePath) -> Url {
        let mut url = self.base.clone();
        // Fails only for addresses without a host, and http has one.
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().extend(path.as_str().split('/'));
        }
        url
    }

    /// Returns the address of `path` without secrets, to be shown.
    pub(crate) fn describe(&self, path: &RemotePath) -> String {
        show(&self.join(path))
    }

    /// Returns the address of `path` as what an error is about.
    pub(crate) fn subject(&self, path: &RemotePath) -> Subject {
        Subject::Url(self.describe(path))
    }
}

/// Splits the address of a file into that of its directory, with the query, and the file's name.
pub(crate) fn split_file(text: &str) -> Result<(String, RemotePath)> {
    let no_file = || Error::invalid("the address is not that of a file");
    let mut url = Url::parse(text).map_err(|e| no_file().because(e))?;
    let name = url
        .path_segments()
        .and_then(|mut parts| parts.next_back().map(str::to_owned))
        .ok_or_else(no_file)?;
    let name = percent_decode(&name)?;
    let name = RemotePath::new(&name).map_err(|e| no_file().because(e))?;
    url.path_segments_mut().map_err(|()| no_file())?.pop();
    Ok((url.into(), name))
}

/// Returns `url` without user, password, query and fragment.
pub(crate) fn show(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Fails only for addresses without a host, which have no credentials either.
    let _ = (url.set_username(""), url.set_password(None));
    url.into()
}

fn take_credentials(url: &mut Url) -> Result<Option<Credentials>> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(None);
    }
    let credentials = Credentials {
        user: percent_decode(url.username())?,
        password: percent_decode(url.password().unwrap_or_default())?,
    };
    let _ = (url.set_username(""), url.set_password(None));
    Ok(Some(credentials))
}

/// Decodes `%XX`; what is no such sequence stays as it is.
fn percent_decode(text: &str) -> Result<String> {
    let bytes = crate::answer::percent_decode(text.as_bytes());
    String::from_utf8(bytes)
        .map_err(|_| Error::invalid("the user or password in an address is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(base: &str, path: &str) -> (String, String) {
        let (url, _) = RemoteUrl::parse(base).unwrap();
        let path = RemotePath::new(path).unwrap();
        (url.join(&path).into(), url.describe(&path))
    }

    #[test]
    fn paths_are_joined_below_the_base_and_percent_encoded() {
        for base in ["http://h/a/repo", "http://h/a/repo/"] {
            let (url, _) = joined(base, "refs/heads/os/müller");
            assert_eq!(url, "http://h/a/repo/refs/heads/os/m%C3%BCller");
        }
        let (url, _) = joined("http://h", "a b/50%/q?x#y/%2e%2e");
        assert_eq!(url, "http://h/a%20b/50%25/q%3Fx%23y/%252e%252e");
    }

    #[test]
    fn the_address_of_a_file_is_split() {
        let (directory, name) = split_file("https://u:p@h/a/b%20c/list%2B?x=y#f").unwrap();
        assert_eq!(directory, "https://u:p@h/a/b%20c?x=y#f");
        assert_eq!(name.as_str(), "list+");
        for bad in [
            "https://h/",
            "https://h/a/",
            "list",
            "https://h/a/%2e%2e%2fb/",
        ] {
            split_file(bad).unwrap_err();
        }
    }

    #[test]
    fn secrets_are_sent_but_not_shown() {
        let base = "https://me:s%40cret@h:8443/repo/?sig=token#f";
        let (url, shown) = joined(base, "summary");
        assert_eq!(url, "https://h:8443/repo/summary?sig=token");
        assert_eq!(shown, "https://h:8443/repo/summary");
        let (remote, credentials) = RemoteUrl::parse(base).unwrap();
        assert_eq!(remote.shown(), "https://h:8443/repo");
        let credentials = credentials.unwrap();
        assert_eq!(
            (&*credentials.user, &*credentials.password),
            ("me", "s@cret")
        );
    }

    #[test]
    fn an_address_that_is_not_http_is_refused_without_repeating_its_password() {
        for bad in [
            "file:///srv/repo",
            "me:pw@host",
            "http://",
            "ftp://me:pw@h/",
        ] {
            let error = RemoteUrl::parse(bad).err().unwrap();
            assert!(!error.to_string().contains("pw"), "{error}");
        }
    }
}
