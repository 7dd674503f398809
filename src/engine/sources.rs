//! Where records come from: the partitions of all logs that the engine reads, as one list.
//!
//! Contract: a *source* is one partition of one topic. Sources are numbered from 0, topic by topic in the order in which the
//! logs are given, and whatever the engine keeps by partition (offsets, hashes, the parts of a batch, the ends in the ledger)
//! is a list by that number. Bindings name topic and partition, so the numbers live no longer than the process: only here one
//! becomes the other. What the records of a topic mean, and whether it keeps them for ever, is its [`Content`]; nothing else in
//! the engine tells topics apart but `feed`, which decodes them.
//!
//! # Invariants
//! A topic's number is its place in the configuration's list of topics, and stands in bindings and positions: a topic keeps
//! its number for ever, so new ones are appended to the list.

use super::bindings::Assigned;
use super::{EngineError, Logs};
use crate::log::{Bell, Log, LogError, Reader, Record};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// What the records of a topic are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Test events.
    Events,
    /// Rules and incidents: one partition, whose order is their meaning, kept for ever (`time.md`, D5).
    Control,
}

impl Content {
    /// Whether records stay for ever: then they outlive their bindings, and still hold.
    fn kept(self) -> bool {
        self == Content::Control
    }
}

/// One of the topics.
pub(super) struct Topic {
    log: Arc<dyn Log>,
    /// Its number in the configuration.
    pub(super) number: u16,
    pub(super) content: Content,
    /// Its sources.
    pub(super) sources: Range<usize>,
}

impl Topic {
    pub(super) fn name(&self) -> &str {
        self.log.topic()
    }
}

/// See the module.
pub(super) struct Sources {
    topics: Vec<Topic>,
    /// The topic of each source, as a place in `topics`.
    of: Vec<usize>,
    /// Rung by all logs.
    bell: Arc<Bell>,
}

impl Sources {
    /// The sources of these logs, of which each has its number in `configured`.
    ///
    /// # Errors
    /// A topic is not configured, or does not have the partitions that its content needs.
    pub(super) fn new(logs: &Logs, configured: &[String]) -> Result<Sources, EngineError> {
        let events = logs.events.iter().map(|log| (log, Content::Events));
        let mut sources = Sources { topics: Vec::new(), of: Vec::new(), bell: Arc::default() };
        for (log, content) in events.chain([(&logs.control, Content::Control)]) {
            let (topic, partitions) = (log.topic(), log.partitions());
            let number = configured.iter().position(|name| name == topic).and_then(|at| u16::try_from(at).ok());
            let number =
                number.ok_or_else(|| EngineError::Topic { topic: topic.to_owned(), topics: configured.to_vec() })?;
            if content == Content::Control && partitions != 1 {
                return Err(EngineError::Partitions { topic: topic.to_owned(), partitions });
            }
            log.ring(&sources.bell);
            let first = sources.of.len();
            sources.of.extend((0..partitions).map(|_| sources.topics.len()));
            let sources_of_it = first..sources.of.len();
            sources.topics.push(Topic { log: Arc::clone(log), number, content, sources: sources_of_it });
        }
        Ok(sources)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.of.len()
    }

    /// The topics.
    pub(super) fn topics(&self) -> &[Topic] {
        &self.topics
    }

    /// The topic that a source belongs to.
    pub(super) fn topic(&self, source: usize) -> &Topic {
        &self.topics[self.of[source]]
    }

    /// The name of the topic of this number.
    pub(super) fn topic_name(&self, number: u16) -> Option<&str> {
        self.topics.iter().find(|topic| topic.number == number).map(Topic::name)
    }

    /// The partition that a source is within its topic.
    pub(super) fn partition(&self, source: usize) -> u32 {
        u32::try_from(source - self.topic(source).sources.start).expect("partitions are numbered by u32")
    }

    /// The source of a topic's partition, where there is one.
    pub(super) fn find(&self, topic: u16, partition: u32) -> Option<usize> {
        let sources = &self.topics.iter().find(|known| known.number == topic)?.sources;
        sources.clone().nth(partition as usize)
    }

    /// Whether a source's records outlive their bindings and still hold.
    pub(super) fn kept(&self, source: usize) -> bool {
        self.topic(source).content.kept()
    }

    /// The first offset retained, by source.
    pub(super) fn starts(&self) -> Vec<u64> {
        self.topics.iter().flat_map(|topic| topic.log.starts()).collect()
    }

    /// The offset after the last durable record, by source.
    pub(super) fn ends(&self) -> Vec<u64> {
        self.topics.iter().flat_map(|topic| topic.log.ends()).collect()
    }

    /// The same of one source.
    pub(super) fn end(&self, source: usize) -> u64 {
        let topic = self.topic(source);
        topic.log.ends()[source - topic.sources.start]
    }

    /// The identities of all logs, as words.
    pub(super) fn identity(&self) -> String {
        self.topics.iter().map(|topic| format!("{:032x} ", topic.log.identity())).collect()
    }

    /// The topics as a `Start` names them.
    pub(super) fn assigned(&self) -> Vec<Assigned> {
        let assigned = |topic: &Topic| Assigned {
            number: topic.number,
            identity: topic.log.identity(),
            processes: vec![0; topic.sources.len()],
        };
        self.topics.iter().map(assigned).collect()
    }

    /// Whether a topic that an earlier life found is the one that is there now; one that is no longer read is not looked at.
    ///
    /// # Errors
    /// It was deleted and made again.
    pub(super) fn same(&self, assigned: &Assigned) -> Result<(), EngineError> {
        match self.topics.iter().find(|topic| topic.number == assigned.number) {
            Some(topic) if topic.log.identity() != assigned.identity => {
                Err(EngineError::AnotherTopic { topic: topic.name().to_owned() })
            }
            _ => Ok(()),
        }
    }

    /// How often it was said that some source may have more to read.
    pub(super) fn rung(&self) -> u64 {
        self.bell.rung()
    }

    /// Waits until that was said more often than `rung`, for the time given at most.
    pub(super) fn wait(&self, rung: u64, at_most: Duration) {
        self.bell.wait(rung, at_most);
    }

    /// A reader of all sources.
    pub(super) fn reader(&self, from: &[u64]) -> Result<SourceReader, EngineError> {
        let reader = |topic: &Topic| {
            let reader = topic.log.reader(&from[topic.sources.clone()])?;
            Ok(TopicReader { number: topic.number, sources: topic.sources.clone(), reader })
        };
        let readers = self.topics.iter().map(reader).collect::<Result<Vec<_>, LogError>>()?;
        Ok(SourceReader { readers, of: self.of.clone(), offsets: from.to_vec(), turn: 0 })
    }
}

struct TopicReader {
    number: u16,
    sources: Range<usize>,
    reader: Box<dyn Reader>,
}

/// Reads all sources, each in order.
pub(super) struct SourceReader {
    readers: Vec<TopicReader>,
    of: Vec<usize>,
    offsets: Vec<u64>,
    /// Which topic is asked first.
    turn: usize,
}

impl SourceReader {
    /// Appends durable records of one topic to `out`, at most so many, of about so many bytes; gives the topic's number, or
    /// `None` when nothing is there for the moment. Topics take turns, so none waits for another's backlog.
    pub(super) fn read(
        &mut self,
        records_max: usize,
        bytes_max: usize,
        out: &mut Vec<Record>,
    ) -> Result<Option<u16>, EngineError> {
        let topics = self.readers.len();
        for _ in 0..topics {
            let topic = &mut self.readers[self.turn];
            self.turn = (self.turn + 1) % topics;
            let count = topic.reader.read(records_max, bytes_max, out)?;
            self.offsets[topic.sources.clone()].copy_from_slice(topic.reader.offsets());
            if count > 0 {
                return Ok(Some(topic.number));
            }
        }
        Ok(None)
    }

    /// The same of one source only, up to but without offset `end`; gives where its next record may stand. Where that is not
    /// moved and not `end`, the source ends there.
    pub(super) fn read_source(&mut self, source: usize, end: u64, out: &mut Vec<Record>) -> Result<u64, EngineError> {
        let topic = &mut self.readers[self.of[source]];
        let partition = u32::try_from(source - topic.sources.start).expect("partitions are numbered by u32");
        topic.reader.read_partition(partition, end, out)?;
        self.offsets[source] = topic.reader.offsets()[partition as usize];
        Ok(self.offsets[source])
    }

    /// The next offset, by source.
    pub(super) fn offsets(&self) -> &[u64] {
        &self.offsets
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::NewRecord;
    use crate::log::embedded::{Embedded, EmbeddedConfig};
    use bytes::Bytes;
    use std::path::Path;

    fn log(folder: &Path, topic: &str, partitions: u32) -> Arc<dyn Log> {
        let config = EmbeddedConfig { partitions, ..EmbeddedConfig::new(folder.join(topic), topic) };
        Arc::new(Embedded::open(config, &mut |_, _| {}).expect("opens").0)
    }

    fn append(log: &Arc<dyn Log>, partition: u32, count: usize) {
        let record = NewRecord::new(partition, Bytes::from_static(b"record"));
        log.append(vec![record; count]).expect("is taken").wait().expect("is durable");
    }

    /// Two topics of events, numbered 2 and 0, and control as 1.
    fn three(folder: &Path) -> (Logs, Sources) {
        let logs = Logs {
            events: vec![log(folder, "a", 3), log(folder, "b", 2)],
            control: log(folder, "control", 1),
            bindings: log(folder, "bindings", 1),
        };
        let sources = Sources::new(&logs, &["b", "control", "a"].map(str::to_owned)).expect("fit");
        (logs, sources)
    }

    #[test]
    fn every_source_is_a_topics_partition_and_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let (_logs, sources) = three(folder.path());
        assert_eq!(sources.count(), 6);
        let named: Vec<_> = (0..6).map(|source| (sources.topic(source).number, sources.partition(source))).collect();
        assert_eq!(named, [(2, 0), (2, 1), (2, 2), (0, 0), (0, 1), (1, 0)]);
        for (source, (topic, partition)) in named.into_iter().enumerate() {
            assert_eq!(sources.find(topic, partition), Some(source));
            assert_eq!(sources.kept(source), source == 5);
        }
        for (topic, partition) in [(2, 3), (0, 2), (1, 1), (3, 0)] {
            assert_eq!(sources.find(topic, partition), None);
        }
        assert_eq!((sources.topic_name(2), sources.topic_name(3)), (Some("a"), None));
    }

    #[test]
    fn topics_take_turns_and_all_is_read_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let (logs, sources) = three(folder.path());
        append(&logs.events[0], 1, 30);
        append(&logs.events[1], 1, 10);
        append(&logs.control, 0, 1);
        assert_eq!(sources.ends(), [0, 30, 0, 0, 10, 1]);
        let mut reader = sources.reader(&[0; 6]).expect("opens");
        let (mut records, mut turns) = (Vec::new(), Vec::new());
        while let Some(topic) = reader.read(10, usize::MAX, &mut records).expect("reads") {
            turns.push((topic, records.drain(..).count()));
        }
        assert_eq!(turns, [(2, 10), (0, 10), (1, 1), (2, 10), (2, 10)]);
        assert_eq!(reader.offsets(), sources.ends());
        let mut reader = sources.reader(&[0, 5, 0, 0, 0, 0]).expect("opens");
        assert_eq!((reader.read_source(1, 9, &mut records).expect("reads"), records.len()), (9, 4));
        assert_eq!((reader.read_source(5, 1, &mut records).expect("reads"), records.len()), (1, 5));
        assert_eq!((reader.read_source(5, 9, &mut records).expect("reads"), records.len()), (1, 5), "it ends there");
        assert_eq!(reader.offsets(), [0, 9, 0, 0, 0, 1]);
    }

    #[test]
    fn whichever_topic_moves_wakes_who_waits() {
        let folder = tempfile::tempdir().expect("a folder");
        let (logs, sources) = three(folder.path());
        let patience = Duration::from_secs(60);
        for (log, seen) in [(&logs.events[1], [0; 6]), (&logs.control, [0, 0, 0, 1, 0, 0])] {
            let since = std::time::Instant::now();
            std::thread::scope(|threads| {
                threads.spawn(|| append(log, 0, 1));
                loop {
                    let rung = sources.rung();
                    if sources.ends().iter().zip(seen).any(|(end, seen)| *end > seen) {
                        break;
                    }
                    sources.wait(rung, patience);
                }
            });
            assert!(since.elapsed() < patience);
        }
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let (logs, _) = three(folder.path());
        let said = |logs: &Logs, topics: &[&str]| {
            let topics: Vec<String> = topics.iter().map(|topic| (*topic).to_owned()).collect();
            Sources::new(logs, &topics).err().expect("does not fit").to_string()
        };
        assert_eq!(said(&logs, &["a", "b"]), r#"topic "control" is not among the configured topics ["a", "b"]"#);
        let swapped = Logs { control: Arc::clone(&logs.events[1]), events: vec![], ..logs };
        assert_eq!(
            said(&swapped, &["b"]),
            "the topic b has 2 partitions, it must have one: the order of its records is their meaning"
        );
    }
}
