//! The commands of the `weir` program, one file each.
//!
//! Contract: a command is a module with `Args` (clap) and `run`, a variant of [`Command`] and an arm of [`main`]. It
//! returns a [`Failure`], which is printed once, here, as one line: what failed, why, and what to do about it.

pub mod check_config;
mod control;
pub mod demo;
pub mod incident;
mod kafka;
pub mod rejects;
pub mod rule;
mod say;
pub mod send;
pub mod serve;
pub mod supervise;
pub mod topics;
pub mod watch;

use crate::config::LogFormat;
use crate::exit::{Exit, Failure};
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Keeps a CI fleet's test results live: events in, exact incremental numbers out.
#[derive(Debug, Parser)]
#[command(name = "weir", version, after_help = EXIT_CODES, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    log: LogArgs,
    #[command(subcommand)]
    command: Command,
}

/// What is logged, and how.
#[derive(Clone, Debug, clap::Args)]
pub struct LogArgs {
    /// What is logged to stderr: error, warn, info, debug, trace, or directives (info,weir::log=debug)
    #[arg(long, global = true, value_name = "LEVEL", help_heading = "Logging")]
    pub log_level: Option<String>,
    /// How a log line looks
    #[arg(long, global = true, value_name = "FORMAT", value_enum, help_heading = "Logging")]
    pub log_format: Option<LogFormat>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server: take events, keep the numbers, serve the page
    Serve(serve::Args),
    /// Run the server and start it again when it ends by itself
    Supervise(supervise::Args),
    /// Show everything at work: a server and a simulated fleet that reports to it
    Demo(demo::Args),
    /// Give test results to a server
    Send(Box<send::Args>),
    /// Follow a channel or view, live in the terminal or as JSON lines
    Watch(watch::Args),
    /// Say that results of a machine or a time say nothing about the code
    Incident(incident::Args),
    /// Put, remove and list alert, flaky and mask rules (kept, not yet applied)
    Rule(rule::Args),
    /// Show what was not taken from Kafka, and send it again
    Rejects(rejects::Args),
    /// Make the topics in Kafka that the configuration names, and check those that are there
    Topics(topics::Args),
    /// Check a configuration file and report every problem
    CheckConfig(check_config::Args),
}

/// Parses the command line and does what it says.
#[must_use]
pub fn main() -> ExitCode {
    let Cli { log, command } = Cli::parse();
    let result = match command {
        Command::Serve(args) => serve::run(args, &log),
        Command::Supervise(args) => supervise::run(args, &log),
        Command::Demo(args) => demo::run(args, &log),
        Command::Send(args) => send::run(*args),
        Command::Watch(args) => watch::run(args),
        Command::Incident(args) => incident::run(args),
        Command::Rule(args) => rule::run(args),
        Command::Rejects(args) => rejects::run(args, &log),
        Command::Topics(args) => topics::run(args, &log),
        Command::CheckConfig(args) => check_config::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say::note(&failure.to_string());
            failure.exit.into()
        }
    }
}

/// The environment as text. What is not text and nobody asked for is left out.
///
/// # Errors
/// A variable of Weir's own is not text.
fn environment() -> Result<impl Iterator<Item = (String, String)>, Failure> {
    let mut variables = Vec::new();
    for (name, value) in std::env::vars_os() {
        match (name.into_string(), value.into_string()) {
            (Ok(name), Ok(value)) => variables.push((name, value)),
            (Ok(name), Err(_)) if name.starts_with("WEIR_") => {
                return Err(Failure::new(Exit::Usage, &NoText { name }));
            }
            _ => {}
        }
    }
    Ok(variables.into_iter())
}

/// A variable that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the variable {name} is not UTF-8")]
struct NoText {
    name: String,
}

const EXIT_CODES: &str = "\
Exit codes:
  0    done; a server that was asked to end has ended in order
  1    failed: what was asked for did not work out
  2    the command line or the configuration is wrong
  3    cannot start here: a port or folder is taken, unreadable or read-only, or Kafka does not answer
  4    the data is damaged or from a newer version: it needs a person, a restart will not help
  5    another server has taken over the log: this one has shown nothing since
  101  a part of the program broke (a bug): the supervisor should start it again";

/// The runtime that a command's I/O runs on.
///
/// # Errors
/// The system gives no threads.
pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .thread_name("weir-io")
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Environment, &error))
}
