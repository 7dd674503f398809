//! `weir check-config`: reads a configuration as `serve` would and reports every problem.

use super::{Exit, Failure, environment, say};
use crate::config::{Config, ConfigError};
use std::path::PathBuf;

/// Arguments of `weir check-config`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  weir check-config weir.toml
  WEIR_SERVER_LISTEN=0.0.0.0:80 weir check-config weir.toml   # the environment counts as it does for serve")]
pub struct Args {
    /// The file to check
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print the whole configuration as it would hold, defaults and environment included
    #[arg(long)]
    print: bool,
}

/// Checks; prints what would hold if asked to.
///
/// # Errors
/// The file cannot be read or has problems.
pub fn run(args: Args) -> Result<(), Failure> {
    let loaded = Config::load(Some(&args.file), environment()?).map_err(|error| failure(&error))?;
    for notice in &loaded.notices {
        say::note(notice);
    }
    if args.print {
        say::result(toml::to_string(&loaded.config).expect("a configuration can be written as TOML").trim_end());
    } else {
        say::result(&format!("{}: no problems", args.file.display()));
    }
    Ok(())
}

/// How a configuration error ends the program.
pub(super) fn failure(error: &ConfigError) -> Failure {
    let failure = Failure::new(Exit::Usage, error);
    match error {
        ConfigError::Unreadable { .. } => {
            failure.with_remedy("give a readable file, or leave it away for the defaults")
        }
        ConfigError::Invalid { .. } => failure,
    }
}
