//! `weir demo`: a whole Weir with a simulated fleet that reports to it, to look at.
//!
//! Contract: a server as `weir serve` starts it, in this process, on a fresh data folder, and a fleet that posts events to
//! it over HTTP like any reporter. Ends in order on Ctrl-C, SIGTERM or after `--for`: first the fleet, then the server,
//! then the folder goes, unless it is to be kept.

mod folder;
mod load;

use super::send::input::{Input, expand};
use super::{Exit, Failure, LogArgs, runtime, say};
use crate::client::Client;
use crate::config::Config;
use crate::config::units::Period;
use crate::serve::{self, ServeError};
use crate::shutdown::Shutdown;
use crate::simulation::{Fleet, FleetConfig};
use crate::{task, telemetry};
use folder::Folder;
use load::Tally;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// Arguments of `weir demo`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  weir demo                                # then open http://127.0.0.1:8080
  weir demo --rate 5000 --seed 7           # a busier fleet, the same projects and tests each time
  weir demo --reports build/test-results   # real JUnit files as well, a run each
  weir demo --data ./demo-data             # keep what was recorded, and go on with it the next time

Exit codes:
  0  ended by Ctrl-C, SIGTERM or --for
  2  the command line is wrong
  3  cannot start here: the address or the folder cannot be used")]
pub struct Args {
    /// Events a second that the fleet reports
    #[arg(long, value_name = "EVENTS", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    rate: u32,
    /// Makes the fleet the same each time [default: another one each time]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// A folder of JUnit files to send as well, each as a run of its own
    #[arg(long, value_name = "DIR")]
    reports: Option<PathBuf>,
    /// Where to serve page and API; if the port is taken, a free one is used
    #[arg(long, value_name = "ADDR:PORT", default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)))]
    listen: SocketAddr,
    /// The data folder, which is kept [default: a new one in the system's folder for temporary files]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Keep the data folder
    #[arg(long)]
    keep: bool,
    /// End by itself after so long
    #[arg(long = "for", value_name = "TIME")]
    lasts: Option<Period>,
}

/// A run that was begun and is silent for so long is shown as abandoned: in a demo nobody waits for two hours.
const RUN_TIMEOUT: Period = Period::from_secs(120);
/// Ports that are tried after the one that was asked for, before any free one.
const PORTS_TRIED: u16 = 10;

/// Runs the demo until it is ended.
///
/// # Errors
/// What keeps the server from starting, or from ending in order.
pub fn run(args: Args, log: &LogArgs) -> Result<(), Failure> {
    let level = log.log_level.as_deref().unwrap_or("warn");
    telemetry::init_logs(level, log.log_format.unwrap_or_default())
        .map_err(|error| Failure::new(Exit::Usage, &error))?;
    serve::end_on_panic();
    let folder = Folder::open(args.data.clone(), args.keep)?;
    let mut config = Config::default();
    config.server.listen = args.listen;
    config.data.folder = folder.path().to_owned();
    config.engine.run_timeout = RUN_TIMEOUT;
    let told = runtime()?.block_on(show(&args, &config))?;
    say::result(&told);
    folder.close()
}

/// Everything between the start and the end; what is to be said of it.
async fn show(args: &Args, config: &Config) -> Result<String, Failure> {
    let ending = Shutdown::default();
    serve::end_on_signals(ending.clone())?;
    let (listener, notice) = listen(args.listen)?;
    let serving = Shutdown::default();
    let server = serve::start(config, listener, serving.clone()).await?;
    let began = Instant::now();
    let seed = args.seed.unwrap_or_else(|| load::now_ms() % 1_000_000);
    let url = format!("http://{}", server.address);
    let client = Client::new(&url, None).map_err(|error| Failure::new(Exit::Failed, &error))?;
    if let Some(notice) = notice {
        say::result(&notice);
    }
    say::result(&format!("Weir is at {url}"));
    let rate = args.rate;
    say::result(&format!("A simulated fleet reports {rate} events a second (--seed {seed}); Ctrl-C ends it."));

    let fleet = Fleet::new(seed, FleetConfig { rate: args.rate, ..FleetConfig::default() });
    let fleet = task::spawn("fleet", load::fleet(fleet, client.clone(), ending.clone()));
    let reports = task::spawn("reports", load::reports(report_files(args), client, ending.clone()));
    match args.lasts {
        Some(lasts) => tokio::select! {
            () = ending.wait() => {}
            () = tokio::time::sleep(lasts.duration()) => ending.trigger(),
        },
        None => ending.wait().await,
    }
    let broken = |error: tokio::task::JoinError| Failure::new(Exit::Failed, &error);
    let tally = fleet.await.map_err(broken)?.and(reports.await.map_err(broken)?);
    serving.trigger();
    server.ended().await?;
    Ok(summary(tally, began.elapsed()))
}

fn summary(Tally { sent, accepted, rejected, lost }: Tally, took: Duration) -> String {
    let took_s = took.as_secs_f64();
    format!("Sent {sent} events in {took_s:.1} s: {accepted} accepted, {rejected} rejected, {lost} not delivered.")
}

/// The address asked for, else one near it, else any free one, and a sentence if it is another.
fn listen(wanted: SocketAddr) -> Result<(TcpListener, Option<String>), Failure> {
    let taken = |error: &ServeError| matches!(error, ServeError::Listen { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse);
    let near = (1..=PORTS_TRIED).filter_map(|step| wanted.port().checked_add(step)).chain([0]);
    match serve::listen(wanted) {
        Err(error) if taken(&error) => {
            let mut found = Err(error);
            for port in near {
                found = serve::listen(SocketAddr::new(wanted.ip(), port));
                match &found {
                    Err(error) if taken(error) => {}
                    _ => break,
                }
            }
            Ok((found?, Some(format!("{wanted} is taken, using another port."))))
        }
        bound => Ok((bound?, None)),
    }
}

fn report_files(args: &Args) -> Vec<Input> {
    let Some(folder) = &args.reports else { return Vec::new() };
    let (inputs, problems) = expand(&[folder.display().to_string()]);
    for (argument, error) in problems {
        say::note(&format!("{argument}: {error}"));
    }
    inputs
}
