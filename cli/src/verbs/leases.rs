//! `leases`: shows who is writing to a repository that has no locks of its own, and breaks what was
//! left behind.

use std::io::Write;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use treeferry_core::archive::LeaseInfo;
use treeferry_core::store::LockKind;

use crate::failure::{Failure, Result};
use crate::session::Session;
use crate::{json, output};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Remove this lease, whose holder is known to be gone; can be repeated
    #[arg(long = "break", value_name = "LEASE")]
    broken: Vec<String>,
    /// Print the leases as JSON, or those that were broken
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let opened = session.open_place().await?;
    let Some(store) = &opened.archive else {
        let place = session.place()?;
        return Err(Failure::new(format!(
            "{place}: leases are held in buckets and on sticks; elsewhere the system's locks do, and \
             end with their holder"
        )));
    };
    let mut held = store.leases().await?;
    held.sort_by(|a, b| id(a).cmp(id(b)));
    if args.broken.is_empty() {
        return print(&held, args.json);
    }
    // None is broken if one is misspelt.
    let mut broken = Vec::with_capacity(args.broken.len());
    for wanted in &args.broken {
        let found = held.iter().find(|lease| id(lease) == wanted);
        broken.push(found.ok_or_else(|| Failure::new(format!("there is no lease '{wanted}'")))?);
    }
    for lease in broken {
        store.break_lease(lease).await?;
        match args.json {
            true => json::line(&of_lease(lease))?,
            false => output::line(format!("Broken: {}", line(lease)))?,
        }
    }
    Ok(())
}

fn print(held: &[LeaseInfo], as_json: bool) -> Result<()> {
    let mut out = output::stdout();
    for lease in held {
        match as_json {
            true => json::write(&mut out, &of_lease(lease))?,
            false => writeln!(out, "{}", line(lease))?,
        }
    }
    if held.is_empty() && !as_json {
        writeln!(out, "no leases are held")?;
    }
    Ok(out.flush()?)
}

/// Returns what is known of a lease. Whether it has expired is judged by the clock of this machine.
fn of_lease(lease: &LeaseInfo) -> Value {
    let since = |time: SystemTime| {
        time.duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
    };
    let age = |time| SystemTime::now().duration_since(time).unwrap_or_default();
    json!({
        "lease": id(lease),
        "kind": match lease.kind {
            LockKind::Shared => "write",
            LockKind::Exclusive => "delete",
        },
        "holder": lease.holder,
        "renewed": lease.renewed.map(|time| since(time).as_secs()),
        "ttl_ms": u64::try_from(lease.ttl.as_millis()).unwrap_or(u64::MAX),
        "expired": lease.renewed.map(|time| age(time) > lease.ttl),
    })
}

/// Returns the name of a lease among those of its repository.
fn id(lease: &LeaseInfo) -> &str {
    let path = lease.path.as_str();
    path.rsplit('/').next().unwrap_or(path)
}

fn line(lease: &LeaseInfo) -> String {
    let what = match lease.kind {
        LockKind::Shared => "writing",
        LockKind::Exclusive => "deleting",
    };
    let holder = match lease.holder.escape_debug().to_string() {
        holder if holder.is_empty() => "somebody who left no name".to_owned(),
        holder => holder,
    };
    let age = lease.renewed.map(|renewed| {
        let age = SystemTime::now().duration_since(renewed);
        age_text(age.unwrap_or_default(), lease.ttl)
    });
    let age = age.unwrap_or_else(|| "it is not told since when".to_owned());
    format!("{}  {what}, {age}  {holder}", id(lease))
}

/// Returns how old a lease is, by the clock of this machine.
fn age_text(age: Duration, ttl: Duration) -> String {
    let text = format!("renewed {} s ago", age.as_secs());
    match age > ttl {
        true => format!("{text}, expired"),
        false => format!("{text}, holds for {} s", (ttl - age).as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_expired_is_marked() {
        let seconds = Duration::from_secs;
        let held = age_text(seconds(20), seconds(60));
        assert_eq!(held, "renewed 20 s ago, holds for 40 s");
        assert_eq!(
            age_text(seconds(61), seconds(60)),
            "renewed 61 s ago, expired"
        );
    }
}
