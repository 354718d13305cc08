//! Cookies, in the file format that Netscape's browser had and curl has.

use std::fmt::{self, Debug};

use reqwest::Url;
use reqwest::header::HeaderValue;
use treeferry_core::{Error, Result};

/// Cookies that are sent where they belong; none is taken from servers.
#[derive(Clone, Default)]
pub struct CookieJar(Vec<Cookie>);

/// One cookie: a line of the file.
#[derive(Clone, PartialEq, Eq)]
pub struct Cookie {
    /// The host that it is for; with a `.` before it also what is below.
    pub domain: String,
    /// The path that it is for, with what is below.
    pub path: String,
    /// Whether it is sent over TLS only.
    pub secure: Secure,
    /// When it expires, seconds since 1970; 0 for never.
    pub expires: u64,
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// Over what a cookie is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secure {
    /// TLS only.
    Tls,
    /// Anything.
    Any,
}

impl CookieJar {
    /// Reads a file: a cookie a line, seven fields separated by tabs; `#` begins a comment, and
    /// `#HttpOnly_` does not.
    pub fn parse(text: &str) -> Result<Self> {
        let mut cookies = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.strip_prefix("#HttpOnly_").unwrap_or(line);
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let malformed = || Error::invalid(format!("line {} is no cookie", at + 1));
            let fields: Vec<&str> = line.split('\t').collect();
            let [domain, below, path, secure, expires, name, value] = fields[..] else {
                return Err(malformed());
            };
            let mut domain = domain.to_owned();
            if below.eq_ignore_ascii_case("TRUE") && !domain.starts_with('.') {
                domain.insert(0, '.');
            }
            cookies.push(Cookie {
                domain,
                path: path.to_owned(),
                secure: match secure.eq_ignore_ascii_case("TRUE") {
                    true => Secure::Tls,
                    false => Secure::Any,
                },
                expires: expires.parse().map_err(|_| malformed())?,
                name: name.to_owned(),
                value: value.to_owned(),
            });
        }
        Ok(Self(cookies))
    }

    /// Returns the cookies, in order.
    pub fn cookies(&self) -> &[Cookie] {
        &self.0
    }

    /// Adds a cookie, in the place of one with the same domain, path and name.
    ///
    /// [`Invalid`](treeferry_core::ErrorKind::Invalid) when it cannot be written in the file, or
    /// sent.
    pub fn add(&mut self, cookie: Cookie) -> Result<()> {
        for text in [&cookie.domain, &cookie.path, &cookie.name, &cookie.value] {
            if text.contains(['\t', '\n', '\r', ';']) {
                let problem = "a cookie has no tabs, line ends or semicolons in it";
                return Err(Error::invalid(problem));
            }
        }
        if cookie.domain.is_empty() || cookie.name.is_empty() {
            return Err(Error::invalid("a cookie has a domain and a name"));
        }
        self.remove(&cookie.domain, &cookie.path, &cookie.name);
        self.0.push(cookie);
        Ok(())
    }

    /// Removes a cookie; whether it was there.
    pub fn remove(&mut self, domain: &str, path: &str, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|c| {
            (c.domain.as_str(), c.path.as_str(), c.name.as_str()) != (domain, path, name)
        });
        self.0.len() < before
    }

    /// Returns the text of the file.
    pub fn to_text(&self) -> String {
        let line = |c: &Cookie| {
            let flag = |is: bool| if is { "TRUE" } else { "FALSE" };
            let (below, secure) = (
                flag(c.domain.starts_with('.')),
                flag(c.secure == Secure::Tls),
            );
            format!(
                "{}\t{below}\t{}\t{secure}\t{}\t{}\t{}\n",
                c.domain, c.path, c.expires, c.name, c.value
            )
        };
        self.0.iter().map(line).collect()
    }

    /// Returns what is sent to `url` at `now`, seconds since 1970; `None` when nothing is.
    pub(crate) fn header(&self, url: &Url, now: u64) -> Result<Option<HeaderValue>> {
        let sent = self.0.iter().filter(|cookie| cookie.is_for(url, now));
        let pairs: Vec<_> = sent.map(|c| format!("{}={}", c.name, c.value)).collect();
        if pairs.is_empty() {
            return Ok(None);
        }
        let mut value = HeaderValue::from_str(&pairs.join("; "))
            .map_err(|e| Error::invalid("a cookie cannot be sent").because(e))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

impl Cookie {
    fn is_for(&self, url: &Url, now: u64) -> bool {
        let host = url.host_str().unwrap_or_default();
        let same_host = match self.domain.strip_prefix('.') {
            None => host.eq_ignore_ascii_case(&self.domain),
            Some(domain) => {
                let (host, domain) = (host.to_ascii_lowercase(), domain.to_ascii_lowercase());
                host == domain || host.ends_with(&format!(".{domain}"))
            }
        };
        let path = self.path.trim_end_matches('/');
        let same_path = url
            .path()
            .strip_prefix(path)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let may = self.secure == Secure::Any || url.scheme() == "https";
        same_host && same_path && may && (self.expires == 0 || self.expires > now)
    }
}

// What is in cookies is secret.
impl Debug for CookieJar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}

impl Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cookie")
            .field("domain", &self.domain)
            .field("path", &self.path)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# Netscape HTTP Cookie File\n\nexample.org\tFALSE\t/p\tFALSE\t2584540367\tfoo\tbar\n\
        .example.org\tTRUE\t/\tFALSE\t0\tbaz\tbadger\n#HttpOnly_h\tFALSE\t/\tTRUE\t9\ts\tv\n";

    fn sent(jar: &CookieJar, url: &str, now: u64) -> String {
        let url = Url::parse(url).expect("an address");
        let header = jar.header(&url, now).expect("can be sent");
        header.map_or(String::new(), |value| {
            value.to_str().expect("text").to_owned()
        })
    }

    #[test]
    fn cookies_go_where_they_belong() {
        let jar = CookieJar::parse(FILE).expect("well formed");
        assert_eq!(
            sent(&jar, "http://example.org/p/x", 1),
            "foo=bar; baz=badger"
        );
        assert_eq!(sent(&jar, "http://EXAMPLE.org/p", 1), "foo=bar; baz=badger");
        assert_eq!(sent(&jar, "http://example.org/pq", 1), "baz=badger");
        assert_eq!(sent(&jar, "http://a.example.org/p", 1), "baz=badger");
        assert_eq!(sent(&jar, "http://notexample.org/p", 1), "");
        assert_eq!(
            sent(&jar, "http://example.org/p", 2_584_540_367),
            "baz=badger"
        );
        assert_eq!(sent(&jar, "https://h/", 8), "s=v");
        assert_eq!(sent(&jar, "https://h/", 9), "");
        assert_eq!(sent(&jar, "http://h/", 8), "");
    }

    #[test]
    fn the_file_is_written_as_it_is_read() {
        let mut jar = CookieJar::parse(FILE).expect("well formed");
        let cookies = jar.cookies().to_vec();
        let again = CookieJar::parse(&jar.to_text()).expect("well formed");
        assert_eq!(again.cookies(), cookies);
        assert!(jar.remove("example.org", "/p", "foo"));
        assert!(!jar.remove("example.org", "/p", "foo"));
        let mut changed = cookies[1].clone();
        changed.value = "new".to_owned();
        jar.add(changed.clone()).expect("can be written");
        assert_eq!(jar.cookies().len(), 2);
        changed.value = "a\tb".to_owned();
        jar.add(changed).expect_err("cannot be written");
        CookieJar::parse("a\tb\n").expect_err("is no cookie");
    }

    #[test]
    fn secrets_are_not_shown() {
        let jar = CookieJar::parse(FILE).expect("well formed");
        assert!(!format!("{jar:?}").contains("badger"));
    }
}
