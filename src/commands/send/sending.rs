//! One call of `weir send`, from the files to the report.
//!
//! Contract: a file is delivered as soon as it is packed; the first parcel that has to wait sends itself and all that
//! come after it to the spool. Nothing is asked of a server after the deadline; files are read and kept until the end,
//! which comes soon after it. A file that does not let itself be read holds up no other after the deadline.
//!
//! # Cost
//! The bytes of one file at a time, and its parcels.

use super::ci::{self, Origin};
use super::delivery::{Delivered, deliver};
use super::input::{self, Input, InputError};
use super::parcel::{Format, PackError, Packer, Parcel};
use super::report::{self, Report};
use super::spool::{self, Spool};
use super::{Args, given, now_ms, run_by_hand, spooled};
use crate::client::{self, Client, ClientError};
use crate::error::chain;
use crate::gateway::page::run_path;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout_at};

/// What is kept back of the time for the spool, at most.
const RESERVE_MAX: Duration = Duration::from_secs(1);

/// One call of `weir send`.
pub(super) struct Sending {
    args: Args,
    packer: Arc<Packer>,
    spool: Spool,
    report: Report,
    /// Whether there was anything to send.
    any: bool,
    /// Who takes parcels; nobody from the first one on that has to wait.
    client: Option<Client>,
    /// The server's address, or what was given instead of one.
    to: String,
    /// No more is asked of the server then; known only once standard input has ended.
    deadline: Instant,
    /// No more is read then.
    end: Instant,
}

/// A file that is being read and packed.
struct Packing {
    title: String,
    task: JoinHandle<Result<Vec<Parcel>, String>>,
}

impl Sending {
    pub(super) fn new(args: Args, environment: &BTreeMap<String, String>) -> Sending {
        let mut origin: Origin = given(&args.run, args.coverage.root.as_deref(), ci::read(environment));
        let knows_itself = args.format == Format::Events;
        if origin.run.is_none() && !knows_itself && !args.files.is_empty() {
            origin.run = Some(run_by_hand(environment, now_ms()));
        }
        let folder = args.spool.clone().unwrap_or_else(|| spool::default_folder(environment));
        let packer = Arc::new(Packer::new(origin, args.run.variant.clone(), args.coverage.flag.clone()));
        let spool = Spool::new(folder, spool::BYTES_MAX);
        let (now, to) = (Instant::now(), args.to.trim().to_owned());
        Sending {
            args,
            packer,
            spool,
            report: Report::default(),
            any: false,
            client: None,
            to,
            deadline: now,
            end: now,
        }
    }

    pub(super) async fn send(mut self) -> Report {
        let (inputs, problems) = input::expand(&self.args.files);
        for (argument, error) in &problems {
            self.report.problem(&format!("{argument}: {}", chain(error)));
        }
        let stdin = inputs.contains(&Input::Stdin).then(|| Input::Stdin.read());
        let timeout = self.args.timeout.duration();
        self.end = Instant::now() + timeout;
        self.deadline = self.end - (timeout / 10).min(RESERVE_MAX);
        let announces = self.args.shards.is_some() || self.args.completes;
        if inputs.is_empty() && !announces && !self.args.flush {
            if problems.is_empty() {
                self.report.problem("nothing to send: give files, --final, --shards or --flush");
            }
            return self.report;
        }
        let usable = self.connect();
        self.send_all(inputs, stdin).await;
        let next = match usable {
            true => "the next `weir send` delivers it",
            false => "with the right address `weir send --flush` delivers it",
        };
        self.report.spool_folder(self.spool.folder(), next);
        if let Some(client) = self.client.take().filter(|_| self.any || self.args.flush) {
            let calling = spooled::Calling { client: &client, flush: self.args.flush, deadline: self.deadline };
            spooled::deliver_all(&self.spool, &calling, &mut self.report).await;
        }
        if let (Some(run), true) = (self.packer.run(), usable && self.any && !self.args.flush) {
            self.report.page(&format!("{}{}", self.to, run_path(self.packer.project(), run)));
        }
        self.report
    }

    /// Makes the client, if one can be made; whether the address is one.
    fn connect(&mut self) -> bool {
        let base = client::base(&self.to);
        let usable = base.is_ok();
        self.to = base.unwrap_or_else(|_| self.to.clone());
        match Client::new(&self.to, self.args.token.as_deref()) {
            Ok(client) => self.client = Some(client),
            Err(error @ ClientError::Tls(_)) => self.report.problem(&chain(&error)),
            Err(error) => self.report.unusable(&chain(&error)),
        }
        usable
    }

    /// Everything that is to be sent, in order.
    async fn send_all(&mut self, inputs: Vec<Input>, stdin: Option<Result<Vec<u8>, InputError>>) {
        let run = self.packer.run().map(str::to_owned);
        if run.is_none() && (self.args.shards.is_some() || self.args.completes) {
            self.report.problem("--shards and --final need to know the run: give --run");
        }
        if let (Some(shards), Some(run)) = (self.args.shards, &run) {
            self.announce(self.packer.run_started(run, shards, now_ms())).await;
        }
        self.send_files(inputs, stdin).await;
        if let (true, Some(run)) = (self.args.completes, &run) {
            self.announce(self.packer.run_completed(run, now_ms())).await;
        }
    }

    async fn announce(&mut self, packed: Result<Parcel, PackError>) {
        match packed {
            Ok(parcel) => self.hand_over(parcel).await,
            Err(error) => self.report.problem(&chain(&error)),
        }
    }

    async fn send_files(&mut self, inputs: Vec<Input>, mut stdin: Option<Result<Vec<u8>, InputError>>) {
        let bar = report::bar(inputs.iter().map(Input::bytes).sum());
        let mut slow = Vec::new();
        for input in inputs {
            let bytes = input.bytes();
            let read = if input == Input::Stdin { stdin.take() } else { None };
            let mut packing = self.begin(input, read);
            bar.set_message(packing.title.clone());
            let by = if Instant::now() < self.deadline { self.deadline } else { self.end };
            match timeout_at(by, &mut packing.task).await {
                Ok(packed) => self.hand_over_all(&packing.title, packed).await,
                // The others are not to wait for it; it may be there at the end.
                Err(_) => slow.push(packing),
            }
            bar.inc(bytes);
        }
        for mut packing in slow {
            match timeout_at(self.end, &mut packing.task).await {
                Ok(packed) => self.hand_over_all(&packing.title, packed).await,
                Err(_) => self.report.problem(&format!("{}: {}", packing.title, InputError::Slow)),
            }
        }
        bar.finish_and_clear();
    }

    /// Begins to read and pack a file, on a thread of its own; `read` is what was read of it already.
    fn begin(&self, input: Input, read: Option<Result<Vec<u8>, InputError>>) -> Packing {
        let (packer, format, title) = (Arc::clone(&self.packer), self.args.format, input.title());
        let called = title.clone();
        let task = spawn_blocking(move || {
            let bytes = read.unwrap_or_else(|| input.read()).map_err(|error| chain(&error))?;
            packer.pack(&called, &bytes, format).map_err(|error| chain(&error))
        });
        Packing { title, task }
    }

    async fn hand_over_all(&mut self, title: &str, packed: Result<Result<Vec<Parcel>, String>, JoinError>) {
        match packed.unwrap_or_else(|broken| Err(broken.to_string())) {
            Ok(parcels) => {
                for parcel in parcels {
                    self.hand_over(parcel).await;
                }
            }
            Err(problem) => self.report.problem(&format!("{title}: {problem}")),
        }
    }

    /// Delivers a parcel, or keeps it: from the first one on that has to wait, all are kept.
    async fn hand_over(&mut self, parcel: Parcel) {
        self.any = true;
        if let Some(client) = &self.client {
            match deliver(client, &parcel, self.deadline).await {
                Delivered::Taken(receipt) => return self.report.taken(&parcel.title, &receipt),
                Delivered::Refused { reason } => return self.report.problem(&format!("{}: {reason}", parcel.title)),
                Delivered::Misdirected { reason } => self.report.problem(&format!("{}: {reason}", parcel.title)),
                Delivered::Later { reason } => self.report.warn(&reason),
            }
            self.client = None;
        }
        match self.spool.put(&parcel, &self.to) {
            Ok(dropped) => self.report.spooled(dropped),
            Err(error) => self.report.problem(&format!("{}: lost: {}", parcel.title, chain(&error))),
        }
    }
}
