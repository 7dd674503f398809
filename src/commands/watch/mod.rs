//! `weir watch`: a channel or view, live in the terminal or as JSON lines.
//!
//! Contract: follows the subscription until Ctrl-C or SIGTERM; a connection that breaks is made again and resumes where it
//! was. The first connection must succeed. *Live*, *quiet* and *stale* are told apart: numbers move, nothing changes, or
//! what is shown is not of now.

mod columns;
mod connection;
mod fold;
mod output;
mod table;

use super::{Exit, Failure, say};
use crate::serve;
use crate::shutdown::Shutdown;
use crate::status::LAG_MS;
use connection::{Connection, Lost};
use fold::Fold;
use output::{Screen, Written, write_lines};
use serde_json::{Map, Value};
use std::io::{self, IsTerminal};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use table::{Health, Status, render};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use weir_schemas::protocol::{ErrorMessage, Progress, ServerMessage, Subscribe};

/// Arguments of `weir watch`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  weir watch run_progress                                     # all runs
  weir watch test_results --filter run=web-17 --filter outcome=failed --filter outcome=error
  weir watch real_time_metrics --to https://weir.example.org
  weir watch live_metrics --filter window=1h --filter scope=branch
  weir watch rejects --json | jq .row.message
  weir watch run_progress --once --json                       # what there is now, and end

Views: run_progress, suite_progress, test_results, live_metrics, coverage, coverage_summary, failure_patterns, error_stream, performance, missing, rejects, rules.
Channels, each several views: test_suite_progress, test_case_results, real_time_metrics, error_stream.

With --json, or when standard output is no terminal, each change is a line: {\"op\": \"up\" | \"del\", \"view\", \"epoch\",
\"time\", \"row\"}; a del has the key columns only. {\"op\": \"reset\"} comes before a whole snapshot and makes all earlier
rows void. Lines of one time belong together.

Exit codes:
  0  ended by Ctrl-C or SIGTERM, by --once, or because nobody reads its output any more
  1  cannot connect, or the server refuses for good
  2  the command line is wrong, or there is no such channel, view, filter or value")]
pub struct Args {
    /// A channel or view
    channel: String,
    /// Only rows with this value in this column; given several times for one column, any of the values
    #[arg(long = "filter", value_name = "COLUMN=VALUE", value_parser = filter)]
    filters: Vec<(String, String)>,
    /// The server
    #[arg(long, value_name = "URL", env = "WEIR_URL", default_value = "http://127.0.0.1:8080")]
    to: String,
    /// A token with the role read
    #[arg(long, value_name = "TOKEN", env = "WEIR_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Write each change as a line of JSON
    #[arg(long)]
    json: bool,
    /// Show what there is now, and end
    #[arg(long)]
    once: bool,
}

fn filter(text: &str) -> Result<(String, String), String> {
    let (column, value) = text.split_once('=').ok_or("a filter is COLUMN=VALUE")?;
    Ok((column.to_owned(), value.to_owned()))
}

/// The screen is drawn at most so often.
const FRAME: Duration = Duration::from_millis(100);
/// … and at least so often, as ages go on.
const REDRAW: Duration = Duration::from_secs(1);
/// After so long without a change a watch is quiet.
const QUIET: Duration = Duration::from_secs(3);
/// Heartbeats come every 15 s.
const HEARTBEATS_MISSED: Duration = Duration::from_secs(25);
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Watches until it is ended.
///
/// # Errors
/// The server cannot be reached at the start, or refuses for good.
pub fn run(args: Args) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Environment, &error))?;
    let ended = runtime.block_on(watch(args));
    runtime.shutdown_background();
    ended
}

async fn watch(args: Args) -> Result<(), Failure> {
    let ending = Shutdown::default();
    serve::end_on_signals(ending.clone())?;
    let base = crate::client::base(&args.to).map_err(|error| Failure::new(Exit::Usage, &error))?;
    let first = Connection::open(&base, args.token.as_deref(), subscribe(&args, None));
    let connection = tokio::select! {
        opened = first => opened.map_err(|lost| failure(&lost))?,
        () = ending.wait() => return Ok(()),
    };
    let mut watch = Watch::new(args, base, ending).map_err(|error| Failure::new(Exit::Failed, &error))?;
    watch.follow(connection).await
}

fn failure(lost: &Lost) -> Failure {
    let failure = Failure::new(Exit::Failed, lost);
    if lost.passing { failure.with_remedy("is the server running, and is this its address (--to)?") } else { failure }
}

fn subscribe(args: &Args, fold: Option<&Fold>) -> Subscribe {
    let mut filters: Map<String, Value> = Map::new();
    for (column, value) in &args.filters {
        let values = filters.entry(column).or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(values) = values {
            values.push(value.as_str().into());
        }
    }
    Subscribe {
        subscription_id: "watch".to_owned(),
        channel: args.channel.clone(),
        filters,
        options: Map::new(),
        since: fold.and_then(|fold| fold.position().cloned()),
    }
}

/// What a loop goes on with.
enum Next {
    On,
    Reconnect(Lost),
    End,
}

/// A server's refusal of the subscription.
#[derive(Debug, thiserror::Error)]
#[error("{error} ({code})")]
struct Refusal {
    code: String,
    error: String,
}

struct Watch {
    args: Args,
    base: String,
    ending: Shutdown,
    /// None: JSON lines.
    screen: Option<Screen>,
    fold: Fold,
    /// Whether rows of a whole snapshot are held.
    loaded: bool,
    lost: Option<String>,
    progress: Option<Progress>,
    /// What the server last said of its numbers on this connection; it holds until the next word.
    condition: Option<Progress>,
    heard_at: Instant,
    changed_at: Instant,
    drawn_at: Option<Instant>,
    dirty: bool,
    frames: Interval,
}

impl Watch {
    fn new(args: Args, base: String, ending: Shutdown) -> io::Result<Watch> {
        let lines = args.json || args.once || !io::stdout().is_terminal();
        let screen = if lines { None } else { Some(Screen::enter()?) };
        let now = Instant::now();
        let mut frames = interval(FRAME);
        frames.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Ok(Watch {
            args,
            base,
            ending,
            screen,
            fold: Fold::default(),
            loaded: false,
            lost: None,
            progress: None,
            condition: None,
            heard_at: now,
            changed_at: now,
            drawn_at: None,
            dirty: true,
            frames,
        })
    }

    /// Follows this connection and those that come after it.
    async fn follow(&mut self, mut connection: Connection) -> Result<(), Failure> {
        let mut pause = PAUSE_FIRST;
        loop {
            let lost = match self.listen(&mut connection, &mut pause).await? {
                Next::Reconnect(lost) => lost,
                Next::On | Next::End => return Ok(()),
            };
            if !lost.passing {
                return Err(failure(&lost));
            }
            self.fold.disconnect();
            self.condition = None;
            self.lost = Some(lost.reason);
            connection = loop {
                if !self.pause(pause).await? {
                    return Ok(());
                }
                pause = (pause * 2).min(PAUSE_MAX);
                match self.reconnect().await? {
                    Some(Ok(connection)) => break connection,
                    Some(Err(lost)) if lost.passing => self.lost = Some(lost.reason),
                    Some(Err(lost)) => return Err(failure(&lost)),
                    None => return Ok(()),
                }
            };
        }
    }

    /// Takes messages until the connection breaks or the watch ends.
    async fn listen(&mut self, connection: &mut Connection, pause: &mut Duration) -> Result<Next, Failure> {
        loop {
            let next = tokio::select! {
                message = connection.next() => match message {
                    Ok(message) => {
                        *pause = PAUSE_FIRST;
                        self.take(message)?
                    }
                    Err(lost) => Next::Reconnect(lost),
                },
                _ = self.frames.tick() => self.draw()?,
                () = self.ending.wait() => Next::End,
            };
            if !matches!(next, Next::On) {
                return Ok(next);
            }
        }
    }

    fn take(&mut self, message: ServerMessage) -> Result<Next, Failure> {
        self.heard_at = Instant::now();
        self.lost = None;
        match &message {
            ServerMessage::Progress(progress) => {
                self.progress = Some(progress.clone());
                self.condition = self.progress.clone();
                self.dirty = true;
            }
            ServerMessage::Error(error) => return refused(error),
            _ => {}
        }
        let changes = match self.fold.take(message) {
            Ok(changes) => changes,
            Err(gap) => return Ok(Next::Reconnect(Lost { reason: gap.to_string(), passing: true })),
        };
        if changes.is_empty() {
            return Ok(Next::On);
        }
        (self.changed_at, self.dirty, self.loaded) = (self.heard_at, true, true);
        if self.screen.is_some() {
            return Ok(Next::On);
        }
        if self.args.once && !self.args.json && io::stdout().is_terminal() {
            return self.print_once();
        }
        let written = write_lines(&mut io::stdout().lock(), &self.fold, changes);
        let closed = written.map_err(|error| Failure::new(Exit::Failed, &error))? == Written::Closed;
        Ok(if closed || self.args.once { Next::End } else { Next::On })
    }

    /// The table as it is, on the terminal's own screen.
    fn print_once(&self) -> Result<Next, Failure> {
        let (_, width) = console::Term::stdout().size();
        let size = table::Size { width: width.into(), height: usize::MAX, colours: true };
        for line in render(&self.fold, &self.status(), now_ms(), size) {
            say::result(&line);
        }
        Ok(Next::End)
    }

    /// Draws the screen if there is news, or a while has passed.
    fn draw(&mut self) -> Result<Next, Failure> {
        let due = self.dirty || self.drawn_at.is_none_or(|at| at.elapsed() >= REDRAW);
        let status = self.status();
        let Some(screen) = self.screen.as_mut().filter(|_| due) else { return Ok(Next::On) };
        let lines = render(&self.fold, &status, now_ms(), screen.size());
        let written = screen.draw(&lines).map_err(|error| Failure::new(Exit::Failed, &error))?;
        (self.dirty, self.drawn_at) = (false, Some(Instant::now()));
        Ok(if written == Written::Closed { Next::End } else { Next::On })
    }

    fn status(&self) -> Status {
        let health = match (&self.lost, self.condition.as_ref().and_then(trouble)) {
            (Some(reason), _) => Health::Stale(format!("{reason}; connecting again")),
            _ if self.heard_at.elapsed() > HEARTBEATS_MISSED => Health::Stale("the server says nothing".to_owned()),
            (None, Some(trouble)) => Health::Stale(trouble),
            _ if !self.loaded => Health::Connecting,
            _ if self.changed_at.elapsed() > QUIET => Health::Quiet,
            _ => Health::Live,
        };
        let title = format!("{} at {}", self.args.channel, self.base);
        Status { title, health, completeness: self.progress.as_ref().map_or(String::new(), completeness) }
    }

    /// Waits, drawing meanwhile; false when the watch ends.
    async fn pause(&mut self, pause: Duration) -> Result<bool, Failure> {
        let until = Instant::now() + pause;
        self.dirty = true;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return Ok(true),
                _ = self.frames.tick() => if matches!(self.draw()?, Next::End) { return Ok(false) },
                () = self.ending.wait() => return Ok(false),
            }
        }
    }

    /// Connects again, drawing meanwhile; nothing when the watch ends.
    async fn reconnect(&mut self) -> Result<Option<Result<Connection, Lost>>, Failure> {
        let subscribe = subscribe(&self.args, Some(&self.fold));
        let (base, token) = (self.base.clone(), self.args.token.clone());
        let opening = Connection::open(&base, token.as_deref(), subscribe);
        tokio::pin!(opening);
        loop {
            tokio::select! {
                opened = &mut opening => return Ok(Some(opened)),
                _ = self.frames.tick() => if matches!(self.draw()?, Next::End) { return Ok(None) },
                () = self.ending.wait() => return Ok(None),
            }
        }
    }
}

/// What an error of the server means for the watch.
fn refused(error: &ErrorMessage) -> Result<Next, Failure> {
    if error.temporary {
        return Ok(Next::Reconnect(Lost { reason: error.error.clone(), passing: true }));
    }
    let refusal = Refusal { code: error.code.clone(), error: error.error.clone() };
    let denied = matches!(error.code.as_str(), "unauthorized" | "forbidden");
    Err(Failure::new(if denied { Exit::Failed } else { Exit::Usage }, &refusal))
}

/// What the server says is wrong with its numbers, in words; nothing when they are of now.
fn trouble(progress: &Progress) -> Option<String> {
    let behind_ms = progress.completeness.behind_ms;
    if !progress.stale && behind_ms <= LAG_MS {
        return None;
    }
    Some(match progress.phase.as_str() {
        "live" if behind_ms >= 1_000 => format!("the server is behind by {} s", behind_ms / 1_000),
        "live" => "the server's numbers do not move".to_owned(),
        phase => format!("the server is {phase}"),
    })
}

/// What is not in yet, in words.
fn completeness(progress: &Progress) -> String {
    let all = &progress.completeness;
    let mut words = vec![format!("{} runs", all.running_runs), format!("{} open streams", all.open_streams)];
    if all.not_seen > 0 {
        words.push(format!("{} tests not seen", all.not_seen));
    }
    if all.behind_records > 0 {
        words.push(format!("{} events behind", all.behind_records));
    }
    words.join(", ")
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn progress(stale: bool, phase: &str, behind_ms: u64) -> ServerMessage {
        let completeness = json!({"upTo": 9, "runningRuns": 1, "openStreams": 0, "notSeen": 0,
            "behindRecords": behind_ms, "behindMs": behind_ms});
        let progress = json!({"type": "progress", "group": 1, "epoch": "e", "time": 9, "timestamp": 9, "stale": stale,
            "phase": phase, "completeness": completeness});
        serde_json::from_value(progress).expect("a message")
    }

    #[tokio::test]
    async fn numbers_behind_the_log_are_stale_until_the_server_says_otherwise_whatever_batches_come() {
        let args = Args {
            channel: "run_progress".to_owned(),
            filters: Vec::new(),
            to: String::new(),
            token: None,
            json: true,
            once: false,
        };
        let mut watch = Watch::new(args, String::new(), Shutdown::default()).expect("no screen is needed");
        watch.loaded = true;
        let batch = json!({"type": "batch", "sequence": 1, "timestamp": 9, "epoch": "e", "group": 1, "from": 5, "time": 9,
            "net": true, "messages": []});
        for (stale, phase, behind_ms, wanted) in [
            (true, "live", 30_000, Health::Stale("the server is behind by 30 s".to_owned())),
            (false, "live", 0, Health::Live),
            (false, "live", LAG_MS + 1, Health::Stale("the server is behind by 5 s".to_owned())),
            (true, "live", 0, Health::Stale("the server's numbers do not move".to_owned())),
            (true, "recovering", 0, Health::Stale("the server is recovering".to_owned())),
        ] {
            for message in
                [progress(stale, phase, behind_ms), serde_json::from_value(batch.clone()).expect("a message")]
            {
                assert!(matches!(watch.take(message), Ok(Next::On)));
            }
            assert_eq!(watch.status().health, wanted);
        }
    }
}
