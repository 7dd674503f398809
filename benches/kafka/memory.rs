//! A log in memory, of one partition, that has at once what it is given: bindings in it count as soon as they are written.

use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;
use weir::log::{AppendError, Bell, Commit, Log, LogError, NewRecord, Position, Reader, Record};

#[derive(Default)]
struct Kept {
    records: Mutex<Vec<Record>>,
    bells: Mutex<Vec<Arc<Bell>>>,
}

/// See the module.
pub(crate) struct Memory {
    topic: &'static str,
    kept: Arc<Kept>,
}

impl Memory {
    pub(crate) fn new(topic: &'static str) -> Memory {
        Memory { topic, kept: Arc::default() }
    }
}

impl Log for Memory {
    fn topic(&self) -> &str {
        self.topic
    }
    fn identity(&self) -> u128 {
        1
    }
    fn partitions(&self) -> u32 {
        1
    }
    fn partition_of(&self, _: &[u8]) -> u32 {
        0
    }
    fn append(&self, records: Vec<NewRecord>) -> Result<Commit, AppendError> {
        let (tell, told) = oneshot::channel();
        let mut kept = self.kept.records.lock().expect("unpoisoned");
        let mut positions = Vec::new();
        for NewRecord { payload, .. } in records {
            let offset = kept.len() as u64;
            kept.push(Record { partition: 0, offset, appended_at: 0, payload, envelope: None });
            positions.push(Position { partition: 0, offset });
        }
        drop(kept);
        drop(tell.send(Ok(positions)));
        self.kept.bells.lock().expect("unpoisoned").iter().for_each(|bell| bell.ring());
        Ok(Commit::new(told))
    }
    fn starts(&self) -> Vec<u64> {
        vec![0]
    }
    fn ends(&self) -> Vec<u64> {
        vec![self.kept.records.lock().expect("unpoisoned").len() as u64]
    }
    fn wait_past(&self, _: &[u64], _: Duration) -> Vec<u64> {
        self.ends()
    }
    fn ring(&self, bell: &Arc<Bell>) {
        self.kept.bells.lock().expect("unpoisoned").push(Arc::clone(bell));
    }
    fn reader(&self, from: &[u64]) -> Result<Box<dyn Reader>, LogError> {
        Ok(Box::new(InMemory { kept: Arc::clone(&self.kept), next: from.to_vec() }))
    }
    fn close(&self) {}
}

struct InMemory {
    kept: Arc<Kept>,
    next: Vec<u64>,
}

impl Reader for InMemory {
    fn read(&mut self, records_max: usize, _: usize, out: &mut Vec<Record>) -> Result<usize, LogError> {
        self.read_partition(0, self.next[0] + records_max as u64, out)
    }
    fn read_partition(&mut self, _: u32, end: u64, out: &mut Vec<Record>) -> Result<usize, LogError> {
        let kept = self.kept.records.lock().expect("unpoisoned");
        let end = end.min(kept.len() as u64);
        let found = &kept[self.next[0] as usize..(end as usize).max(self.next[0] as usize)];
        out.extend_from_slice(found);
        self.next[0] += found.len() as u64;
        Ok(found.len())
    }
    fn offsets(&self) -> &[u64] {
        &self.next
    }
}
