//! Where in a segment which offsets stand: one entry for each chunk of about [`CHUNK_BYTES`].
//!
//! Contract: entry k holds the byte at which chunk k begins and the offset that comes next there, by partition. Chunks are
//! the unit of reading, so all partitions of a reader, and all readers, cut a segment at the same bytes.
//!
//! # Cost
//! 8 + 8 × partitions bytes for each 256 KiB of log; kept in memory for the active segment only.

/// A chunk ends with the record that takes it to this size.
pub(super) const CHUNK_BYTES: u64 = 256 << 10;

/// The chunks of one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Index {
    starts: Vec<u64>,
    /// `partitions` offsets for each start.
    offsets: Vec<u64>,
    partitions: usize,
}

impl Index {
    /// The index of a segment without records: one chunk, empty, at `at`.
    pub(super) fn new(at: u64, offsets: &[u64]) -> Self {
        Index { starts: vec![at], offsets: offsets.to_vec(), partitions: offsets.len() }
    }

    /// Says that a record begins at `at`, and which offsets come next there; it begins a chunk when the last one has its size.
    pub(super) fn record_at(&mut self, at: u64, offsets: &[u64]) {
        if self.starts.last().is_none_or(|start| at - start >= CHUNK_BYTES) {
            self.starts.push(at);
            self.offsets.extend_from_slice(offsets);
        }
    }

    /// How many chunks there are.
    pub(super) fn chunks(&self) -> usize {
        self.starts.len()
    }

    /// The byte at which chunk `chunk` begins.
    pub(super) fn start(&self, chunk: usize) -> Option<u64> {
        self.starts.get(chunk).copied()
    }

    /// The offset that comes next at the beginning of chunk `chunk`, by partition.
    pub(super) fn offsets(&self, chunk: usize) -> &[u64] {
        &self.offsets[chunk * self.partitions..(chunk + 1) * self.partitions]
    }

    /// The last chunk that begins at or before `offset` of `partition`.
    pub(super) fn find(&self, partition: usize, offset: u64) -> usize {
        let (mut low, mut high) = (0, self.chunks());
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.offsets(middle)[partition] <= offset { low = middle } else { high = middle }
        }
        low
    }

    /// Writes all entries to the end of `out`.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        for (chunk, start) in self.starts.iter().enumerate() {
            out.extend_from_slice(&start.to_le_bytes());
            for offset in self.offsets(chunk) {
                out.extend_from_slice(&offset.to_le_bytes());
            }
        }
    }

    /// Reads entries as [`Index::encode`] wrote them.
    pub(super) fn parse(bytes: &[u8], partitions: usize) -> Self {
        let (words, _) = bytes.as_chunks::<8>();
        let mut index = Index { starts: Vec::new(), offsets: Vec::new(), partitions };
        for (at, word) in words.iter().enumerate() {
            let word = u64::from_le_bytes(*word);
            if at % (partitions + 1) == 0 { index.starts.push(word) } else { index.offsets.push(word) }
        }
        index
    }
}
