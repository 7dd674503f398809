//! How a record stands in a segment file: a header of 32 bytes, then the data.
//!
//! ```text
//! checksum u32 │ length u32 │ partition u32 │ back u32 │ offset u64 │ appended_at u64 │ data
//! ```
//! Little-endian. The checksum is the CRC-32 of everything after it, started from the segment's salt, so neither a record of
//! another segment nor a payload that imitates a record passes for one. `back` is the distance to the first byte of the
//! commit that the record was written with: it tells a torn commit from a damaged one (see [`super::tail`]).
//!
//! # Invariants
//! No header is all zeros: `appended_at` never is.

use super::super::{LogError, Record};
use bytes::Bytes;
use std::path::Path;

/// Bytes before the data.
pub(super) const HEADER_BYTES: usize = 32;

/// What a record needs besides its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) checksum: u32,
    pub(super) length: u32,
    pub(super) partition: u32,
    pub(super) back: u32,
    pub(super) offset: u64,
    pub(super) appended_at: u64,
}

impl Header {
    /// Reads a header from the first [`HEADER_BYTES`] of `bytes`; none when there are fewer.
    pub(super) fn parse(bytes: &[u8]) -> Option<Header> {
        let (head, _) = bytes.split_first_chunk::<HEADER_BYTES>()?;
        let [c0, c1, c2, c3, l0, l1, l2, l3, p0, p1, p2, p3, b0, b1, b2, b3, o @ ..] = head;
        let [o0, o1, o2, o3, o4, o5, o6, o7, a @ ..] = o;
        Some(Header {
            checksum: u32::from_le_bytes([*c0, *c1, *c2, *c3]),
            length: u32::from_le_bytes([*l0, *l1, *l2, *l3]),
            partition: u32::from_le_bytes([*p0, *p1, *p2, *p3]),
            back: u32::from_le_bytes([*b0, *b1, *b2, *b3]),
            offset: u64::from_le_bytes([*o0, *o1, *o2, *o3, *o4, *o5, *o6, *o7]),
            appended_at: u64::from_le_bytes(*a),
        })
    }

    /// Bytes of the whole record.
    pub(super) fn frame_bytes(&self) -> u64 {
        HEADER_BYTES as u64 + u64::from(self.length)
    }
}

/// Writes the header of `data` to the end of `out`; its checksum field in `header` is ignored.
pub(super) fn encode_header(header: &Header, data: &[u8], salt: u32, out: &mut Vec<u8>) {
    let mut fields = [0; HEADER_BYTES - 4];
    fields[0..4].copy_from_slice(&header.length.to_le_bytes());
    fields[4..8].copy_from_slice(&header.partition.to_le_bytes());
    fields[8..12].copy_from_slice(&header.back.to_le_bytes());
    fields[12..20].copy_from_slice(&header.offset.to_le_bytes());
    fields[20..28].copy_from_slice(&header.appended_at.to_le_bytes());
    let mut checksum = crc32fast::Hasher::new_with_initial(salt);
    checksum.update(&fields);
    checksum.update(data);
    out.extend_from_slice(&checksum.finalize().to_le_bytes());
    out.extend_from_slice(&fields);
}

/// Whether `frame` (header and data, exactly) has the checksum that it claims.
pub(super) fn checksum_holds(header: &Header, frame: &[u8], salt: u32) -> bool {
    let mut checksum = crc32fast::Hasher::new_with_initial(salt);
    checksum.update(&frame[4..]);
    checksum.finalize() == header.checksum
}

/// The record at byte `at` of `bytes`, checked against the offsets that come next. Counts it in `expected`.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn decode(bytes: &Bytes, at: usize, salt: u32, expected: &mut [u64]) -> Result<Record, &'static str> {
    let header = Header::parse(&bytes[at..]).ok_or("a record's header is cut")?;
    let start = at + HEADER_BYTES;
    let end = start + header.length as usize;
    if end > bytes.len() {
        return Err("a record is longer than what is left");
    }
    if !checksum_holds(&header, &bytes[at..end], salt) {
        return Err("the checksum does not match");
    }
    let next = expected.get_mut(header.partition as usize).ok_or("a record names a partition that does not exist")?;
    if header.offset != *next {
        return Err("a record has another offset than the one that comes next");
    }
    *next += 1;
    let Header { partition, offset, appended_at, .. } = header;
    Ok(Record { partition, offset, appended_at, payload: bytes.slice(start..end), envelope: None })
}

/// The error for a bad record at byte `at` of a segment, of which `bytes` is what stands there.
pub(super) fn corrupt(segment: &Path, at: u64, bytes: &[u8], salt: u32, expected: &[u64], problem: &str) -> LogError {
    let partition = likely_partition(bytes, salt, expected);
    LogError::Corrupt {
        segment: segment.display().to_string(),
        at,
        partition: u32::try_from(partition).unwrap_or(u32::MAX),
        offset: expected.get(partition).copied().unwrap_or_default(),
        problem: problem.to_owned(),
    }
}

/// Whose record a damaged one was. Its partition or offset may be what is damaged: then the checksum holds with the right
/// ones put back. Otherwise they stand there as they were.
fn likely_partition(bytes: &[u8], salt: u32, expected: &[u64]) -> usize {
    let Some(claimed) = Header::parse(bytes) else { return 0 };
    let frame_bytes = usize::try_from(claimed.frame_bytes()).unwrap_or(usize::MAX);
    if let Some(frame) = bytes.get(..frame_bytes) {
        for (partition, offset) in expected.iter().enumerate() {
            let mut mended = frame.to_vec();
            mended[8..12].copy_from_slice(&u32::try_from(partition).unwrap_or(u32::MAX).to_le_bytes());
            mended[16..24].copy_from_slice(&offset.to_le_bytes());
            if checksum_holds(&claimed, &mended, salt) {
                return partition;
            }
        }
    }
    usize::try_from(claimed.partition).ok().filter(|claimed| *claimed < expected.len()).unwrap_or(0)
}
