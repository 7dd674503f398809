//! `weir send`: gives test results to a server, at the end of a job or by hand.
//!
//! Contract: reads the files, delivers them in order, first what announces the run and last what ends it, and ends within
//! `--timeout` in all; what could not be delivered by then goes to the spool, from which the next `weir send` delivers it
//! after its own. What a server refuses for the token's or the address's sake is kept as well: only what no server would
//! take is dropped. Standard output has the address of the run's page and nothing else; everything for people goes to
//! standard error. A failure to deliver never fails the build unless `--strict`.

pub mod ci;
pub mod delivery;
pub mod input;
pub mod parcel;
mod report;
mod sending;
pub mod spool;
mod spooled;

use super::{Exit, Failure};
use crate::config::units::Period;
use ci::Origin;
use parcel::Format;
use sending::Sending;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

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
    #[command(flatten)]
    coverage: CoverageArgs,
}

/// What is known of coverage reports.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Coverage reports")]
pub struct CoverageArgs {
    /// The kind of tests that covered: unit, e2e, …; each kind is merged by itself
    #[arg(long, value_name = "NAME")]
    flag: Option<String>,
    /// The repository's root: paths in the report that begin with it are seen from there [default: as the CI system
    /// says, else the Git work tree around the current folder]
    #[arg(long, value_name = "DIR")]
    root: Option<String>,
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
  weir send coverage.info --flag unit                   # coverage: LCOV or Cobertura
  weir send --shards 4 report.xml                       # each of four shards says that there are four
  weir send --final                                     # the last job says that the run is over
  my-reporter | weir send -                             # events, one a line
  weir send --flush --timeout 5m                        # deliver what waits since the server was down

Exit codes:
  0  done, or kept in the spool for the next time, or --strict was not given
  1  with --strict: something could not be delivered, or was not acceptable
  2  the command line is wrong; an unusable --to or token only with --strict

See `weir send --help` for the variables that are read.";

fn long_help() -> String {
    format!(
        "{}\n\nThe spool holds at most 256 MiB; the oldest results are dropped first. Only one `weir send` delivers from\n\
         it at a time, and only what was meant for the server at --to; what was kept while --to was no address goes\n\
         with --flush. What is refused for the token or the address is kept; what no server takes (an unreadable\n\
         file) is reported and not kept. Sending the same file to the same run again changes nothing.\n\n{}",
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

/// What was given, else what the CI system says.
fn given(args: &RunArgs, root: Option<&str>, ci: Origin) -> Origin {
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
        root: root.map(str::to_owned).or(ci.root).or_else(work_tree),
    }
}

/// The Git work tree around the current folder; where there is none, that folder.
fn work_tree() -> Option<String> {
    let here = std::env::current_dir().ok()?;
    let root = here.ancestors().find(|folder| folder.join(".git").exists()).unwrap_or(&here);
    root.to_str().map(str::to_owned)
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
