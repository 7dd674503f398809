//! `weir topics create`: makes the topics in Kafka that the configuration names, and says of those that are there what is wrong.
//!
//! Contract: what is there is never changed: a finding says what to do, by the words of Kafka's own tools. `--check` makes
//! nothing either. Exit code 1 when a topic cannot be used, or, with `--check`, is missing.

mod findings;
mod wanted;

use super::{Exit, Failure, LogArgs, kafka, runtime, say};
use crate::config::Config;
use crate::log::kafka::topics::Topics;
use crate::serve;
use findings::{Finding, findings};
use std::path::PathBuf;
use wanted::{Shape, Wanted};

/// Arguments of `weir topics`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make those that are missing and check the others
    Create(Create),
}

/// Arguments of `weir topics create`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  weir topics create --config weir.toml
  weir topics create --config weir.toml --partitions 24 --replicas 3
  weir topics create --config weir.toml --check      # make nothing, only say what is missing or wrong")]
pub struct Create {
    /// The configuration file, with brokers in its section [kafka]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Partitions of a topic of events that is made; those of streams are decided by it for ever
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=1024))]
    partitions: u32,
    /// Replicas of a topic that is made; without it 3, or as many as there are brokers
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=32))]
    replicas: Option<u32>,
    /// Make nothing
    #[arg(long)]
    check: bool,
}

/// Topics cannot be used as they are.
#[derive(Debug, thiserror::Error)]
#[error("{0} of the topics cannot be used as they are")]
struct Unusable(usize);

/// Does what is asked.
///
/// # Errors
/// The configuration is wrong, Kafka does not answer or refuses, or a topic cannot be used.
pub fn run(args: Args, log: &LogArgs) -> Result<(), Failure> {
    let Command::Create(args) = args.command;
    let config = kafka::configured(args.config.as_deref(), log)?;
    let topics = Topics::new(&serve::kafka_properties(&config)?).map_err(serve::ServeError::from)?;
    let unusable = runtime()?.block_on(all(&topics, &config, &args)).map_err(serve::ServeError::from)?;
    if unusable > 0 { Err(Failure::new(Exit::Failed, &Unusable(unusable))) } else { Ok(()) }
}

/// Goes through all topics; gives how many of them cannot be used.
async fn all(topics: &Topics, config: &Config, args: &Create) -> Result<usize, crate::log::LogError> {
    let brokers = topics.brokers()?;
    let shape = Shape { partitions: args.partitions, replicas: args.replicas.unwrap_or(brokers.min(3)) };
    let mut unusable = 0;
    for Wanted { topic, role } in wanted::all(config, shape) {
        let name = &topic.name;
        match topics.find(name).await? {
            None if args.check => {
                say::result(&format!("{name}: missing; make it with `weir topics create`"));
                unusable += 1;
            }
            None => {
                topics.make(&topic).await?;
                let (partitions, replicas) = (topic.partitions, topic.replicas);
                say::result(&format!("{name}: made with {partitions} partitions and {replicas} replicas"));
            }
            Some(found) => {
                say::result(&format!(
                    "{name}: there with {} partitions and {} replicas",
                    found.partitions, found.replicas
                ));
                let findings = findings(role, &found, config);
                findings.iter().for_each(|finding| say::result(&format!("  {finding}")));
                unusable += usize::from(findings.iter().any(Finding::unusable));
            }
        }
    }
    Ok(unusable)
}
