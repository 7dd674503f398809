//! `weir serve`: the server.

use super::{Failure, LogArgs, check_config, environment, runtime};
use crate::config::{Config, Loaded};
use crate::{serve, telemetry};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Arguments of `weir serve`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  weir serve                                      # page and API on http://127.0.0.1:8080, data in ./weir-data
  weir serve --config /etc/weir/weir.toml
  weir serve --listen 127.0.0.1:9000 --data /var/lib/weir
  WEIR_ENGINE_WORKERS=4 weir serve                # any key from the environment: WEIR_<SECTION>_<KEY>

Ends in order on Ctrl-C or SIGTERM: takes no more events, finishes what it has, closes the log. A second signal ends it
at once; nothing acknowledged is lost either way.")]
pub struct Args {
    /// The configuration file; without it every key has its default
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to serve page and API (instead of server.listen)
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// The data folder (instead of data.folder)
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Go on without records that Kafka dropped before they were read, as the message said that named them
    #[arg(long, value_name = "TOPIC/PARTITION@OFFSET")]
    accept_loss: Vec<String>,
}

/// Serves until a signal says to end.
///
/// # Errors
/// Anything that keeps the server from starting, or from ending in order.
pub fn run(args: Args, log: &LogArgs) -> Result<(), Failure> {
    let accepted = args.accept_loss.clone();
    let Loaded { config, notices } = load(args, log)?;
    telemetry::init_logs(&config.telemetry.level, config.telemetry.format)
        .map_err(|error| Failure::new(super::Exit::Usage, &error))?;
    for notice in notices {
        tracing::warn!("{notice}");
    }
    serve::end_on_panic();
    runtime()?.block_on(serve::until_signal(&config, &accepted)).map_err(Failure::from)
}

/// The configuration with the flags laid over it, as if they were the environment's last word.
fn load(args: Args, log: &LogArgs) -> Result<Loaded, Failure> {
    let flags = [
        ("WEIR_SERVER_LISTEN", args.listen.map(|listen| listen.to_string())),
        ("WEIR_DATA_FOLDER", args.data.map(|folder| folder.display().to_string())),
        ("WEIR_TELEMETRY_LEVEL", log.log_level.clone()),
        ("WEIR_TELEMETRY_FORMAT", log.log_format.map(|format| format!("{format:?}").to_lowercase())),
    ];
    let flags = flags.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Config::load(args.config.as_deref(), environment()?.chain(flags)).map_err(|error| check_config::failure(&error))
}
