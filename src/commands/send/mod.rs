//! `weir send`: gives test results to a server, at the end of a job or by hand.
//!
//! Contract: reads the files, delivers them in order, first what announces the run and last what ends it, and ends within
//! `--timeout` in all; what could not be delivered by then goes to the spool, from which the next `weir send` delivers it
//! after its own. Standard output has the address of the run's page and nothing else; everything for people goes to
//! standard error. A failure to deliver never fails the build unless `--strict`.

pub mod ci;
pub mod delivery;
pub mod input;
pub mod parcel;
mod report;
pub mod spool;

use super::{Exit, Failure};
use crate::client::Client;
use crate::config::units::Period;
use crate::error::chain;
use crate::gateway::page::run_path;
use ci::Origin;
use delivery::{Delivered, deliver};
use input::{Input, InputError};
use parcel::{Format, Packer, Parcel};
use report::Report;
use spool::{Spool, Waiting};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{Instant, timeout_at};

/// Arguments of `weir send`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = long_help())]
pub struct Args {
    /// Files, patterns such as 'target/**/*.xml', folders (their .xml files), or - for standard input
    #[arg(value_name = "FILE")]
    files: Vec<String>,
    /// The server
    #[arg(long, value_name = "URL", env = "WEIR_URL", default_value = "http://127.0.0.1:8080")]
    to: String,
    /// A token with the role write
    #[arg(long, value_name = "TOKEN", env = "WEIR_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// What the files are
    #[arg(long, value_enum, default_value = "auto")]
    format: Format,
    /// Announce that the run has so many shards; every shard may say so
    #[arg(long, value_name = "N")]
    shards: Option<u32>,
    /// Say that the run is over, after the files
    #[arg(long = "final")]
    completes: bool,
    /// Deliver what waits in the spool, and nothing else
    #[arg(long, conflicts_with_all = ["files", "shards", "completes"])]
    flush: bool,
    /// The longest that it may take in all (from when standard input ended)
    #[arg(long, value_name = "TIME", default_value = "10s")]
    timeout: Period,
    /// Where results wait for the next `weir send` [default: weir/spool in the user's cache folder]
    #[arg(long, value_name = "DIR", env = "WEIR_SPOOL")]
    spool: Option<PathBuf>,
    /// End with 1 if anything could not be delivered or was not acceptable
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    run: RunArgs,
}

/// What is known of the run.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "The run (read from the CI system's variables unless given)")]
pub struct RunArgs {
    /// The project
    #[arg(long, value_name = "NAME", env = "WEIR_PROJECT")]
    project: Option<String>,
    /// The run: the same for all jobs of a pipeline
    #[arg(long, value_name = "ID", env = "WEIR_RUN")]
    run: Option<String>,
    /// The branch that was tested
    #[arg(long, value_name = "NAME")]
    branch: Option<String>,
    /// The commit that was tested
    #[arg(long, value_name = "HASH")]
    commit: Option<String>,
    /// The shard, for instance 2/4
    #[arg(long, value_name = "NAME")]
    shard: Option<String>,
    /// Which try of the job this is, from 1; a deliberate rerun of the same tests needs it
    #[arg(long, value_name = "N")]
    attempt: Option<u32>,
    /// Who started the run
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The machine
    #[arg(long, value_name = "NAME")]
    worker: Option<String>,
    /// OS, browser, matrix cell: part of the tests' identity
    #[arg(long, value_name = "NAME")]
    variant: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  weir send --project web --run 17 junit.xml
  weir send 'target/surefire-reports/*.xml'             # in a CI job: run, branch, commit … are known
  weir send --shards 4 report.xml                       # each of four shards says that there are four
  weir send --final                                     # the last job says that the run is over
  my-reporter | weir send -                             # events, one a line
  weir send --flush --timeout 5m                        # deliver what waits since the server was down

Exit codes:
  0  done, or kept in the spool for the next time, or --strict was not given
  1  with --strict: something could not be delivered, or was not acceptable
  2  the command line is wrong

See `weir send --help` for the variables that are read.";

fn long_help() -> String {
    format!(
        "{}\n\nThe spool holds at most 256 MiB; the oldest results are dropped first. Only one `weir send` delivers from\n\
         it at a time, and only what was meant for the server at --to. Refusals for good (a wrong token, an unreadable\n\
         file) are reported and not spooled. Sending the same file to the same run again changes nothing.\n\n{}",
        EXAMPLES.trim_end_matches("\n\nSee `weir send --help` for the variables that are read."),
        ci::table()
    )
}

/// Sends.
///
/// # Errors
/// With `--strict`, if anything was not delivered or not acceptable.
pub fn run(args: Args) -> Result<(), Failure> {
    let environment = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    let environment: BTreeMap<String, String> = environment.collect();
    let strict = args.strict;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Environment, &error))?;
    let report = runtime.block_on(Sending::new(args, &environment).send());
    // A name server that does not answer must not hold up the build.
    runtime.shutdown_background();
    report.close(strict)
}

/// One call of `weir send`.
struct Sending {
    args: Args,
    packer: Packer,
    spool: Spool,
    report: Report,
    /// Known only once standard input has ended.
    deadline: Instant,
}

impl Sending {
    fn new(args: Args, environment: &BTreeMap<String, String>) -> Sending {
        let mut origin = given(&args.run, ci::read(environment));
        let knows_itself = args.format == Format::Events;
        if origin.run.is_none() && !knows_itself && !args.files.is_empty() {
            origin.run = Some(run_by_hand(environment, now_ms()));
        }
        let folder = args.spool.clone().unwrap_or_else(|| spool::default_folder(environment));
        let packer = Packer::new(origin, args.run.variant.clone());
        let spool = Spool::new(folder, spool::BYTES_MAX);
        Sending { args, packer, spool, report: Report::default(), deadline: Instant::now() }
    }

    async fn send(mut self) -> Report {
        let (inputs, problems) = input::expand(&self.args.files);
        for (argument, error) in &problems {
            self.report.problem(&format!("{argument}: {}", chain(error)));
        }
        let stdin = inputs.contains(&Input::Stdin).then(|| Input::Stdin.read());
        let timeout = self.args.timeout.duration();
        // The last part is for the spool.
        self.deadline = Instant::now() + timeout.saturating_sub((timeout / 10).min(Duration::from_millis(500)));
        let parcels = self.pack(inputs, stdin).await;
        if parcels.is_empty() && !self.args.flush {
            if problems.is_empty() && self.args.files.is_empty() {
                self.report.problem("nothing to send: give files, --final, --shards or --flush");
            }
            return self.report;
        }
        let client = match Client::new(&self.args.to, self.args.token.as_deref()) {
            Ok(client) => client,
            Err(error) => {
                self.report.problem(&chain(&error));
                return self.report;
            }
        };
        if self.deliver_all(&client, parcels).await {
            self.deliver_spooled(&client).await;
        }
        if let (Some(run), false) = (self.packer.run(), self.args.flush) {
            self.report.page(&format!("{}{}", client.base(), run_path(self.packer.project(), run)));
        }
        self.report
    }

    /// Everything that is to be sent, in order.
    async fn pack(&mut self, inputs: Vec<Input>, mut stdin: Option<Result<Vec<u8>, InputError>>) -> Vec<Parcel> {
        let mut parcels = Vec::new();
        let run = self.packer.run().map(str::to_owned);
        if let (Some(shards), Some(run)) = (self.args.shards, &run) {
            self.announce(self.packer.run_started(run, shards, now_ms()), &mut parcels);
        }
        for input in inputs {
            let title = input.title();
            let bytes = match (&input, stdin.take()) {
                (Input::Stdin, Some(read)) => read,
                (_, kept) => {
                    stdin = kept;
                    self.read(input).await
                }
            };
            let packed = bytes
                .map_err(|error| chain(&error))
                .and_then(|bytes| self.packer.pack(&title, &bytes, self.args.format).map_err(|error| chain(&error)));
            match packed {
                Ok(packed) => parcels.extend(packed),
                Err(problem) => self.report.problem(&format!("{title}: {problem}")),
            }
        }
        if let (true, Some(run)) = (self.args.completes, &run) {
            self.announce(self.packer.run_completed(run, now_ms()), &mut parcels);
        }
        if run.is_none() && (self.args.shards.is_some() || self.args.completes) {
            self.report.problem("--shards and --final need to know the run: give --run");
        }
        parcels
    }

    fn announce(&mut self, packed: Result<Parcel, parcel::PackError>, parcels: &mut Vec<Parcel>) {
        match packed {
            Ok(parcel) => parcels.push(parcel),
            Err(error) => self.report.problem(&chain(&error)),
        }
    }

    /// Reads a file, however slow its disk is, by the deadline.
    async fn read(&self, input: Input) -> Result<Vec<u8>, InputError> {
        let reading = tokio::task::spawn_blocking(move || input.read());
        match timeout_at(self.deadline, reading).await {
            Ok(Ok(read)) => read,
            Ok(Err(broken)) => Err(InputError::Unreadable(std::io::Error::other(broken))),
            Err(_) => Err(InputError::Slow),
        }
    }

    /// Delivers in order; from the first one on that has to wait, all go to the spool. Whether the server is there.
    async fn deliver_all(&mut self, client: &Client, parcels: Vec<Parcel>) -> bool {
        let bar = report::bar(&parcels);
        let mut parcels = parcels.into_iter();
        while let Some(parcel) = parcels.next() {
            bar.set_message(parcel.title.clone());
            match deliver(client, &parcel, self.deadline).await {
                Delivered::Taken(receipt) => self.report.taken(&parcel.title, &receipt),
                Delivered::Refused { reason } => self.report.problem(&format!("{}: {reason}", parcel.title)),
                Delivered::Later { reason } => {
                    bar.finish_and_clear();
                    self.report.warn(&reason);
                    self.put_by(client.base(), std::iter::once(parcel).chain(parcels));
                    return false;
                }
            }
            bar.inc(parcel.body.len() as u64);
        }
        bar.finish_and_clear();
        true
    }

    fn put_by(&mut self, to: &str, parcels: impl Iterator<Item = Parcel>) {
        for parcel in parcels {
            match self.spool.put(&parcel, to) {
                Ok(dropped) => self.report.spooled(dropped),
                Err(error) => self.report.problem(&format!("{}: lost: {}", parcel.title, chain(&error))),
            }
        }
        self.report.spool_folder(self.spool.folder());
    }

    /// Delivers what waits for this server, oldest first, while there is time.
    async fn deliver_spooled(&mut self, client: &Client) {
        let claim = self.spool.claim();
        let (claim, waiting) = match claim.and_then(|claim| Ok((claim, self.spool.waiting()?))) {
            Ok(found) => found,
            Err(error) => return self.report.problem(&chain(&error)),
        };
        let Some(_claim) = claim else { return };
        let mut elsewhere = 0;
        for (index, one) in waiting.iter().enumerate() {
            match self.deliver_waiting(client, one).await {
                Next::On => {}
                Next::Elsewhere => elsewhere += 1,
                Next::Stop => {
                    self.report.still_waiting(waiting.len() - index);
                    break;
                }
            }
        }
        self.report.waiting_elsewhere(elsewhere, client.base());
    }

    async fn deliver_waiting(&mut self, client: &Client, waiting: &Waiting) -> Next {
        let (to, parcel) = match self.spool.open(waiting) {
            Ok(Some(opened)) => opened,
            Ok(None) => {
                self.report.problem(&format!("{} was damaged and is dropped", waiting.path.display()));
                return Next::On;
            }
            Err(error) => {
                self.report.problem(&chain(&error));
                return Next::Stop;
            }
        };
        if to != client.base() {
            return Next::Elsewhere;
        }
        match deliver(client, &parcel, self.deadline).await {
            Delivered::Taken(receipt) => self.report.taken_late(&parcel.title, &receipt),
            Delivered::Refused { reason } => self.report.problem(&format!("{}: {reason}", parcel.title)),
            Delivered::Later { reason } => {
                self.report.warn(&reason);
                return Next::Stop;
            }
        }
        if let Err(error) = self.spool.remove(waiting) {
            self.report.problem(&chain(&error));
        }
        Next::On
    }
}

/// What to do after one parcel of the spool.
enum Next {
    On,
    Elsewhere,
    Stop,
}

/// What was given, else what the CI system says.
fn given(args: &RunArgs, ci: Origin) -> Origin {
    let RunArgs { project, run, branch, commit, shard, attempt, user, worker, variant: _ } = args.clone();
    Origin {
        project: project.or(ci.project),
        run: run.or(ci.run),
        branch: branch.or(ci.branch),
        commit: commit.or(ci.commit),
        shard: shard.or(ci.shard),
        attempt: attempt.map(|attempt| attempt.to_string()).or(ci.attempt),
        user: user.or(ci.user),
        worker: worker.or(ci.worker),
    }
}

/// The run of files that somebody sends by hand without naming one.
fn run_by_hand(environment: &BTreeMap<String, String>, now_ms: u64) -> String {
    let user = environment.get("USER").filter(|user| !user.is_empty()).map_or("local", String::as_str);
    let at = i64::try_from(now_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
    format!("{user}-{}", at.strftime("%Y%m%dT%H%M%SZ"))
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
