//! Random histories of a log against a model: vectors of payloads.

#![allow(clippy::unwrap_used, reason = "helpers of tests: a failure is a panic")]

#[path = "common/log.rs"]
mod log_common;

use log_common::{append, config, drain, frames, open, payload, segments};
use proptest::prelude::*;
use std::path::Path;
use weir::log::embedded::{Embedded, EmbeddedConfig};
use weir::log::{Log, NewRecord, Reader};

/// What may happen to a log.
#[derive(Clone, Debug)]
enum Step {
    /// One batch of records, as (partition, seed of the payload).
    Append(Vec<(u32, u64)>),
    /// Several batches that may share a commit.
    AppendMany(Vec<Vec<(u32, u64)>>),
    /// Closed and opened again.
    Reopen,
    /// The last segment loses this share of its bytes behind the header (in 1/65,536) while the log is closed.
    Truncate(u16),
    /// Up to so many records are read by the reader that lives through the history.
    Read(usize),
    /// That reader goes on in one partition by this many records.
    ReadPartition(u32, u64),
    /// Everything that may is dropped, down to a floor at this share (in 1/256) of each partition.
    Retain(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let batch = || proptest::collection::vec((0..4_u32, any::<u64>()), 0..20);
    let step = prop_oneof![
        6 => batch().prop_map(Step::Append),
        2 => proptest::collection::vec(batch(), 1..6).prop_map(Step::AppendMany),
        1 => Just(Step::Reopen),
        1 => any::<u16>().prop_map(Step::Truncate),
        2 => (1..200_usize).prop_map(Step::Read),
        2 => (0..4_u32, 0..60_u64).prop_map(|(partition, count)| Step::ReadPartition(partition, count)),
        1 => any::<u8>().prop_map(Step::Retain),
    ];
    proptest::collection::vec(step, 1..60)
}

/// What a log should be: all payloads ever acknowledged, and where what is kept begins.
struct Model {
    payloads: Vec<Vec<u64>>,
    starts: Vec<u64>,
}

struct World {
    config: EmbeddedConfig,
    log: Option<Embedded>,
    reader: Option<Box<dyn Reader>>,
    model: Model,
}

impl World {
    fn new(folder: &Path) -> Self {
        let mut config = config(folder);
        config.segment_bytes = 24 << 10;
        config.retention_bytes = 1;
        let model = Model { payloads: vec![Vec::new(); 4], starts: vec![0; 4] };
        World { log: Some(open(config.clone()).0), config, reader: None, model }
    }

    fn log(&self) -> &Embedded {
        self.log.as_ref().unwrap()
    }

    fn took(&mut self, batch: &[(u32, u64)]) {
        for (partition, seed) in batch {
            self.model.payloads[*partition as usize].push(*seed);
        }
    }

    fn reopen(&mut self) {
        (self.log, self.reader) = (None, None);
        self.log = Some(open(self.config.clone()).0);
    }

    fn truncate(&mut self, share: u16) {
        (self.log, self.reader) = (None, None);
        let last = segments(&self.config.folder).pop().unwrap();
        let bytes = std::fs::read(&last).unwrap();
        let kept = bytes.len() - (bytes.len() - log_common::SEGMENT_HEADER_BYTES) * usize::from(share) / 65_536;
        for frame in frames(&bytes).iter().filter(|frame| frame.end > kept) {
            let payloads = &mut self.model.payloads[frame.partition as usize];
            payloads.truncate(usize::try_from(frame.offset).unwrap().min(payloads.len()));
        }
        std::fs::File::options().write(true).open(&last).unwrap().set_len(kept as u64).unwrap();
        self.reopen();
    }

    /// The reader, begun anew where there is none or retention overtook it.
    fn reader(&mut self) -> &mut Box<dyn Reader> {
        let starts = self.log().starts();
        let overtaken = self
            .reader
            .as_ref()
            .is_none_or(|reader| reader.offsets().iter().zip(&starts).any(|(at, start)| at < start));
        if overtaken {
            self.reader = Some(self.log().reader(&starts).unwrap());
        }
        self.reader.as_mut().unwrap()
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Append(batch) => {
                append(self.log(), batch.iter().map(new_record).collect());
                self.took(&batch);
            }
            Step::AppendMany(batches) => {
                let commits: Vec<_> = batches
                    .iter()
                    .map(|batch| self.log().append(batch.iter().map(new_record).collect()).unwrap())
                    .collect();
                for (commit, batch) in commits.into_iter().zip(batches) {
                    let positions = commit.wait().unwrap();
                    let mut next: Vec<u64> = self.model.payloads.iter().map(|all| all.len() as u64).collect();
                    assert_eq!(positions.len(), batch.len());
                    for (position, (partition, _)) in positions.iter().zip(&batch) {
                        let next = &mut next[*partition as usize];
                        assert_eq!((position.partition, position.offset), (*partition, *next));
                        *next += 1;
                    }
                    self.took(&batch);
                }
            }
            Step::Reopen => self.reopen(),
            Step::Truncate(share) => self.truncate(share),
            Step::Read(records) => {
                let mut out = Vec::new();
                let from = self.reader().offsets().to_vec();
                let count = self.reader().read(records, usize::MAX, &mut out).unwrap();
                let left: u64 = self.model.payloads.iter().zip(&from).map(|(all, from)| all.len() as u64 - from).sum();
                assert_eq!(count as u64, left.min(records as u64));
                self.check(&from, &out);
            }
            Step::ReadPartition(partition, count) => {
                let mut out = Vec::new();
                let from = self.reader().offsets().to_vec();
                let end = (from[partition as usize] + count).min(self.model.payloads[partition as usize].len() as u64);
                let got = self.reader().read_partition(partition, from[partition as usize] + count, &mut out).unwrap();
                assert_eq!(got as u64, end - from[partition as usize]);
                self.check(&from, &out);
            }
            Step::Retain(share) => {
                let floor: Vec<u64> =
                    self.model.payloads.iter().map(|all| all.len() as u64 * u64::from(share) / 256).collect();
                let starts = self.log().retain(0, &floor).unwrap().starts;
                for ((start, before), floor) in starts.iter().zip(&self.model.starts).zip(&floor) {
                    assert!(start >= before && (start <= floor || start == before));
                }
                self.model.starts = starts;
            }
        }
    }

    /// Records as read from `from` on are the model's.
    fn check(&self, from: &[u64], records: &[weir::log::Record]) {
        let mut next = from.to_vec();
        for record in records {
            let partition = record.partition as usize;
            assert_eq!(record.offset, next[partition]);
            let seed = self.model.payloads[partition][usize::try_from(record.offset).unwrap()];
            assert_eq!(record.payload, payload(seed));
            next[partition] += 1;
        }
    }

    /// Everything that is kept is the model's.
    fn check_all(&self) {
        let ends: Vec<u64> = self.model.payloads.iter().map(|all| all.len() as u64).collect();
        assert_eq!((self.log().starts(), self.log().ends()), (self.model.starts.clone(), ends));
        let all = drain(self.log(), &self.model.starts);
        let count: usize = all.iter().map(Vec::len).sum();
        let kept: u64 = self.log().ends().iter().zip(&self.model.starts).map(|(end, start)| end - start).sum();
        assert_eq!(count as u64, kept);
        self.check(&self.model.starts, &all.concat());
    }
}

fn new_record((partition, seed): &(u32, u64)) -> NewRecord {
    NewRecord::new(*partition, payload(*seed))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if std::env::var("WEIR_LONG").is_ok() { 2_000 } else { 60 }))]

    #[test]
    fn any_history_leaves_what_the_model_has(steps in steps()) {
        let folder = tempfile::tempdir().unwrap();
        let mut world = World::new(folder.path());
        for step in steps {
            world.step(step);
        }
        world.check_all();
        world.reopen();
        world.check_all();
    }
}
