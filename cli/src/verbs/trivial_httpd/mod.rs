//! `trivial-httpd`: the web server that OSTree's tests and scripts start, which can misbehave on
//! demand. It is hidden; [`serve`](super::serve) is the one for use.

mod detach;
mod faults;
mod listing;
mod log;

use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::process::Signal;
use treeferry_transport_http::{ServeOptions, Server};

use crate::failure::{Failure, Result, io_failure};
use crate::session::Session;
use crate::{file_text, output};
use faults::{Faults, Pair};
use log::Log;

/// How often to look whether the directory is still there.
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Fork into background when ready
    #[arg(short, long)]
    daemonize: bool,
    /// Is in the background already, and tells when it is ready
    #[arg(long = detach::OPTION, hide = true)]
    detached: bool,
    /// Automatically exit when directory is deleted
    #[arg(long)]
    autoexit: bool,
    /// Use the specified TCP port
    #[arg(
        short = 'P',
        long,
        value_name = "PORT",
        default_value_t = 0,
        hide_default_value = true
    )]
    port: u16,
    /// Write port number to PATH (- for standard output)
    #[arg(short, long, value_name = "PATH")]
    port_file: Option<PathBuf>,
    /// Force range requests by only serving half of files
    #[arg(long)]
    force_range_requests: bool,
    /// Require username foouser, password barpw
    #[arg(long)]
    require_basic_auth: bool,
    /// Answer about this percentage of the requests, 0 to 99, with status 500
    #[arg(
        long = "random-500s",
        value_name = "PERCENTAGE",
        default_value_t = 0,
        hide_default_value = true
    )]
    random_500s: u32,
    /// Answer so many requests with status 500 at most
    #[arg(
        long = "random-500s-max",
        value_name = "MAX",
        default_value_t = 100,
        hide_default_value = true
    )]
    random_500s_max: u32,
    /// Answer about this percentage of the requests, 0 to 99, with status 408
    #[arg(
        long = "random-408s",
        value_name = "PERCENTAGE",
        default_value_t = 0,
        hide_default_value = true
    )]
    random_408s: u32,
    /// Answer so many requests with status 408 at most
    #[arg(
        long = "random-408s-max",
        value_name = "MAX",
        default_value_t = 100,
        hide_default_value = true
    )]
    random_408s_max: u32,
    /// Put logs here, in a new file (use - for stdout)
    #[arg(long, value_name = "PATH")]
    log_file: Option<PathBuf>,
    /// Expect given cookies in the http request
    #[arg(long, value_name = "KEY=VALUE")]
    expected_cookies: Vec<Pair>,
    /// Expect given headers in the http request
    #[arg(long, value_name = "KEY=VALUE")]
    expected_header: Vec<Pair>,
    /// The directory to serve (default: the working directory)
    #[arg(value_name = "[DIR]")]
    path: Option<PathBuf>,
}

/// Serves the directory: here, or in the background once that is ready.
pub(crate) fn run(args: Args, session: &Session) -> Result<()> {
    for (option, percentage) in [
        ("random-500s", args.random_500s),
        ("random-408s", args.random_408s),
    ] {
        if percentage > 99 {
            return Err(Failure::new(format!("Invalid --{option}={percentage}")));
        }
    }
    let logs_to_stdout = args.log_file.as_deref() == Some(Path::new("-"));
    if args.daemonize && logs_to_stdout {
        return Err(Failure::usage(
            "Cannot use --log-file=- and --daemonize at the same time",
        ));
    }
    if args.daemonize && !args.detached {
        return detach::start();
    }
    if !args.detached {
        // It serves tests: it ends when they do.
        rustix::process::set_parent_process_death_signal(Some(Signal::TERM))
            .map_err(|e| Failure::new(format!("cannot end with its parent: {e}")))?;
    }
    session.wait(serve(args))
}

async fn serve(args: Args) -> Result<()> {
    let path = args.path.clone().unwrap_or_else(|| PathBuf::from("."));
    let log = Arc::new(match &args.log_file {
        None => Log::none(),
        Some(file) if file == Path::new("-") => Log::stdout(),
        Some(file) => Log::create(file).map_err(|e| io_failure(file, &e))?,
    });
    let faults = Arc::new(Faults::new(&args));
    let options = {
        let (path, log) = (path.clone(), Arc::clone(&log));
        ServeOptions::new(&path)
            .follow_links_out()
            .judge(move |asked| {
                let (path, log, faults) = (path.clone(), Arc::clone(&log), Arc::clone(&faults));
                async move {
                    log.line(format_args!("serving {}", asked.path));
                    match faults.of(&asked, &log) {
                        Some(verdict) => verdict,
                        None => listing::of(&path, asked).await,
                    }
                }
            })
    };
    let options = {
        let log = Arc::clone(&log);
        options.log(move |served| log.line(format_args!("  status: {}", served.status)))
    };
    let server = bind(args.port, options).await?;
    if let Some(file) = &args.port_file {
        tell_port(file, server.local_addr().port())?;
    }
    // What was opened is watched: another directory may take the name.
    let watched = match args.autoexit {
        true => Some(Watched::open(&path)?),
        false => None,
    };
    if args.detached {
        detach::ready()?;
    }
    log.line(format_args!("serving at root {}", path.display()));
    let ended = async {
        match watched {
            None => super::serve::interrupted().await,
            Some(watched) => tokio::select! {
                () = super::serve::interrupted() => {}
                () = watched.deleted() => log.line(format_args!("root directory removed, exiting")),
            },
        }
    };
    server.run(ended).await;
    Ok(())
}

/// Listens on all addresses of the machine, as OSTree's does.
async fn bind(port: u16, options: ServeOptions) -> Result<Server> {
    let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    match Server::bind(both, options.clone()).await {
        Ok(server) => Ok(server),
        // Without IPv6.
        Err(_) => {
            let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
            Ok(Server::bind(v4, options).await?)
        }
    }
}

/// Writes the port where scripts wait for it: whole, or not at all.
fn tell_port(file: &Path, port: u16) -> Result<()> {
    if file == Path::new("-") {
        return Ok(output::line(port)?);
    }
    let failed = |e: &std::io::Error| io_failure(file, e);
    let mut draft = file_text::draft(file)?;
    draft
        .write_all(format!("{port}\n").as_bytes())
        .map_err(|e| failed(&e))?;
    draft.persist(file).map_err(|e| failed(&e.error))?;
    Ok(())
}

/// A directory, or the link that stands for one, whose deletion is waited for.
struct Watched(std::os::fd::OwnedFd);

impl Watched {
    fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::open(path, flags, Mode::empty());
        opened
            .map(Self)
            .map_err(|e| io_failure(path, &std::io::Error::from(e)))
    }

    async fn deleted(self) {
        // One that cannot be looked at any more is as good as deleted.
        let is_there = || {
            rustix::fs::statat(&self.0, "", AtFlags::EMPTY_PATH).is_ok_and(|stat| stat.st_nlink > 0)
        };
        while is_there() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
