//! `serve`: a plain web server of a repository.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use treeferry_transport_http::{ServeOptions, Served, Server};

use crate::failure::Result;
use crate::output;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The port to listen on; 0 takes any that is free
    #[arg(
        short,
        long,
        value_name = "N",
        default_value_t = 0,
        hide_default_value = true
    )]
    port: u16,
    /// The address to listen on; 0.0.0.0 or :: for all of the machine's
    #[arg(short, long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    address: IpAddr,
    /// The directory to serve (default: the repository)
    #[arg(value_name = "[PATH]")]
    path: Option<PathBuf>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let path = match args.path {
        Some(path) => path,
        None => session.directory("serve")?,
    };
    let mut options = ServeOptions::new(path);
    if !session.quiet {
        options = options.log(log);
    }
    let server = Server::bind(SocketAddr::new(args.address, args.port), options).await?;
    output::line(format!("http://{}/", server.local_addr()))?;
    server.run(interrupted()).await;
    Ok(())
}

/// Prints a request to standard error, in one call so that lines do not mix.
fn log(served: &Served) {
    let (client, method, path) = (served.client, &served.method, &served.path);
    let range = match served.range {
        Some((first, last)) => format!(" bytes={first}-{last}"),
        None => String::new(),
    };
    let (status, bytes) = (served.status, served.bytes_sent);
    eprintln!("{client} \"{method} {path}\"{range} {status} {bytes}");
}

/// Waits for the signals that end a server.
pub(super) async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let interrupt = tokio::signal::ctrl_c();
    // Where no handler can be set, the signal ends the process as it is.
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt => {}
        _ = terminate.recv() => {}
    }
}
