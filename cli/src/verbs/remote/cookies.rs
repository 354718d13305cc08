//! `remote add-cookie`, `delete-cookie` and `list-cookies`: what a server wants to be shown.

use std::io::Write;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use treeferry_core::format::RemoteName;
use treeferry_core::repo::Repo;
use treeferry_core::store::ExtraName;
use treeferry_transport_http::{Cookie, CookieJar, Secure};

use super::name_of;
use crate::failure::{Failure, Result};
use crate::session::Session;
use crate::{output, source};

/// How long a cookie is sent.
const LIFETIME: Duration = Duration::from_secs(25 * 365 * 24 * 60 * 60);

#[derive(Debug, clap::Args)]
pub(crate) struct AddArgs {
    /// The name of the remote
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// The host to send it to; with a dot before it also those below
    #[arg(value_name = "DOMAIN")]
    domain: Option<String>,
    /// The path below which it is sent
    #[arg(value_name = "PATH")]
    path: Option<String>,
    /// The name of the cookie
    #[arg(value_name = "COOKIE_NAME")]
    cookie: Option<String>,
    /// Its value
    #[arg(value_name = "VALUE")]
    value: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DeleteArgs {
    /// The name of the remote
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// The host that it is sent to
    #[arg(value_name = "DOMAIN")]
    domain: Option<String>,
    /// The path below which it is sent
    #[arg(value_name = "PATH")]
    path: Option<String>,
    /// The name of the cookie
    #[arg(value_name = "COOKIE_NAME")]
    cookie: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// The name of the remote
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

pub(crate) async fn add(args: AddArgs, session: &Session) -> Result<()> {
    let (Some(name), Some(domain), Some(path), Some(cookie), Some(value)) =
        (args.name, args.domain, args.path, args.cookie, args.value)
    else {
        let message = "NAME, DOMAIN, PATH, COOKIE_NAME and VALUE must be specified";
        return Err(Failure::usage(message));
    };
    let (repo, name, mut jar) = open(session, Some(&name)).await?;
    let expires = SystemTime::now() + LIFETIME;
    let expires = expires.duration_since(SystemTime::UNIX_EPOCH);
    jar.add(Cookie {
        domain,
        path,
        secure: Secure::Any,
        expires: expires.map_or(0, |since| since.as_secs()),
        name: cookie,
        value,
    })?;
    write(&repo, &name, &jar).await
}

pub(crate) async fn delete(args: DeleteArgs, session: &Session) -> Result<()> {
    let (Some(name), Some(domain), Some(path), Some(cookie)) =
        (args.name, args.domain, args.path, args.cookie)
    else {
        let message = "NAME, DOMAIN, PATH and COOKIE_NAME must be specified";
        return Err(Failure::usage(message));
    };
    let (repo, name, mut jar) = open(session, Some(&name)).await?;
    if !jar.remove(&domain, &path, &cookie) {
        return Err(Failure::new("Cookie not found in jar"));
    }
    write(&repo, &name, &jar).await
}

pub(crate) async fn list(args: ListArgs, session: &Session) -> Result<()> {
    let (_, _, jar) = open(session, args.name.as_deref()).await?;
    let mut out = output::stdout();
    for cookie in jar.cookies() {
        let expires = i64::try_from(cookie.expires).unwrap_or(i64::MAX);
        let expires = match Timestamp::from_second(expires) {
            Ok(time) if expires != 0 => time.strftime("%Y-%m-%d %H:%M:%S +0000").to_string(),
            _ => "never".to_owned(),
        };
        writeln!(out, "--")?;
        writeln!(out, "Domain: {}", cookie.domain)?;
        writeln!(out, "Path: {}", cookie.path)?;
        writeln!(out, "Name: {}", cookie.name)?;
        writeln!(
            out,
            "Secure: {}",
            if cookie.secure == Secure::Tls {
                "yes"
            } else {
                "no"
            }
        )?;
        writeln!(out, "Expires: {expires}")?;
        writeln!(out, "Value: {}", cookie.value)?;
    }
    Ok(out.flush()?)
}

/// Opens the repository, and the cookies that it has for a remote of its own.
async fn open(session: &Session, name: Option<&str>) -> Result<(Repo, RemoteName, CookieJar)> {
    let name = name_of(name)?;
    let repo = session.open().await?;
    // A name that is mistyped would have cookies that nobody is sent.
    repo.remote(&name).await?;
    let jar = source::cookies(&repo, &name).await?;
    Ok((repo, name, jar))
}

async fn write(repo: &Repo, name: &RemoteName, jar: &CookieJar) -> Result<()> {
    let file = ExtraName::Cookies(name.clone());
    let text = jar.to_text();
    let bytes = (!jar.cookies().is_empty()).then(|| text.into());
    Ok(repo.state().write_extra(&file, bytes).await?)
}
