//! `weir rejects`: what was not taken from Kafka, as it was, with why; and `--resend`, once the reason is mended.

use super::{Exit, Failure, LogArgs, kafka, say};
use crate::log::Record;
use crate::log::kafka::{Kafka, KafkaConfig};
use crate::rejects::{Entry, resend, topic_of};
use crate::serve;
use serde_json::json;
use std::path::PathBuf;

/// Arguments of `weir rejects`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  weir rejects --config weir.toml                  # the last 20 of each topic
  weir rejects --config weir.toml --last 1000 --json | jq .reason
  weir rejects --config weir.toml --resend         # the originals, to where they came from: those not sent again yet

Without Kafka there is no topic of them: `weir watch rejects` shows what was not taken.")]
pub struct Args {
    /// The configuration file, with brokers in its section [kafka]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How many of each topic are shown
    #[arg(long, default_value_t = 20, value_name = "COUNT")]
    last: u64,
    /// One JSON object a line, with the whole original: as text where it is, else in base64
    #[arg(long)]
    json: bool,
    /// Send the originals again that were not sent again yet, and show nothing
    #[arg(long, conflicts_with_all = ["last", "json"])]
    resend: bool,
}

/// So much of an original is shown in a line.
const SHOWN_CHARS: usize = 100;

/// Shows or sends again.
///
/// # Errors
/// The configuration is wrong, or Kafka does not answer or refuses.
pub fn run(args: Args, log: &LogArgs) -> Result<(), Failure> {
    let config = kafka::configured(args.config.as_deref(), log)?;
    let properties = serve::kafka_properties(&config)?;
    let open = |topic: &str| {
        let record_bytes_max = config.limits.record.len() + serve::REJECT_OVERHEAD;
        Kafka::open(KafkaConfig { record_bytes_max, ..KafkaConfig::new(topic, properties.clone()) })
            .map_err(|error| Failure::from(serve::ServeError::from(error)))
    };
    for events in &config.kafka.events {
        let rejected = open(&topic_of(events))?;
        if args.resend {
            let count =
                resend::resend(&open(events)?, &rejected).map_err(|error| Failure::new(Exit::Failed, &error))?;
            say::result(&format!("{events}: {count} sent again"));
            continue;
        }
        let found = resend::last(&rejected, args.last).map_err(|error| Failure::new(Exit::Failed, &error))?;
        for (entry, record) in found {
            if let Some(line) = line(events, &entry, &record, args.json) {
                say::result(&line);
            }
        }
    }
    Ok(())
}

/// What is said of a reject.
fn line(topic: &str, entry: &Entry, record: &Record, as_json: bool) -> Option<String> {
    let Entry::Reject { partition, offset, tick, reason } = entry else { return None };
    let text = std::str::from_utf8(&record.payload);
    if as_json {
        let original = match text {
            Ok(text) => json!({ "text": text }),
            Err(_) => {
                json!({ "base64": base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &record.payload) })
            }
        };
        let said = json!({
            "topic": topic, "partition": partition, "offset": offset, "tick": tick, "reason": reason, "original": original,
        });
        return Some(said.to_string());
    }
    let shown = match text {
        Ok(text) if text.chars().count() <= SHOWN_CHARS => text.escape_debug().to_string(),
        Ok(text) => format!("{}…", text.chars().take(SHOWN_CHARS).collect::<String>().escape_debug()),
        Err(_) => format!("({} bytes that are no text)", record.payload.len()),
    };
    Some(format!("{topic}/{partition}@{offset}  {reason}\n    {shown}"))
}
