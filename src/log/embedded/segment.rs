//! One segment file: header, records of all partitions in the order of their commits, and, once sealed, a footer.
//!
//! ```text
//! header   magic │ format u32 │ partitions u32 │ identity u128 │ sequence u64 │ created_at u64 │ next offsets │ crc u32
//! records  see `frame`
//! footer   index entries │ ends │ newest_at u64 │ crc u32 │ chunks u32 │ records end at u64 │ magic
//! ```
//! Contract: a segment appears under its name with its header durable (temporary file, sync, rename, sync of the folder),
//! and its successor is made only after its footer is durable. So every segment but the last has a valid footer, and
//! anything else is damage. The header's checksum is the salt of the segment's records.

use super::super::LogError;
use super::index::Index;
use super::{FORMAT, io_error, now_ms, sync_folder};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

const HEADER_MAGIC: &[u8; 8] = b"weirlog\0";
const FOOTER_MAGIC: &[u8; 8] = b"weirseal";
const HEADER_FIXED_BYTES: usize = 8 + 4 + 4 + 16 + 8 + 8;
const TRAILER_BYTES: usize = 4 + 4 + 8 + 8;
const SUFFIX: &str = ".segment";
const SUFFIX_NEW: &str = ".segment.new";

/// One segment: what never changes of it, and how far it goes.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) sequence: u64,
    pub(super) path: PathBuf,
    /// The first offset in it, by partition.
    pub(super) starts: Vec<u64>,
    /// What the records' checksums start from.
    pub(super) salt: u32,
    pub(super) created_at: u64,
    extent: RwLock<Extent>,
}

/// How far a segment goes: what of it is durable.
#[derive(Clone, Debug)]
pub(super) struct Extent {
    /// The byte after the last durable record.
    pub(super) len: u64,
    /// The offset after the last durable record, by partition.
    pub(super) ends: Vec<u64>,
    /// The largest `appended_at` in it; 0 without records.
    pub(super) newest_at: u64,
    /// The chunks, while the segment is active. Sealed, they stand in its footer.
    pub(super) index: Option<Index>,
}

impl Segment {
    /// How far it goes now.
    pub(super) fn extent(&self) -> RwLockReadGuard<'_, Extent> {
        self.extent.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn extent_mut(&self) -> RwLockWriteGuard<'_, Extent> {
        self.extent.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes before the first record.
    pub(super) fn header_bytes(partitions: usize) -> u64 {
        (HEADER_FIXED_BYTES + partitions * 8 + 4) as u64
    }

    /// An error that names this segment's header or footer.
    fn damaged(path: &Path, at: u64, offset: u64, problem: &str) -> LogError {
        LogError::Corrupt { segment: path.display().to_string(), at, partition: 0, offset, problem: problem.to_owned() }
    }

    /// Makes a segment durable under its name, without records, and opens it.
    ///
    /// # Errors
    /// What the system says. Nothing is left under the segment's name then, unless it was the folder that could not be
    /// synced: a segment without records, which the next try replaces and the next start takes for the active one.
    pub(super) fn create(
        folder: &Path,
        identity: u128,
        sequence: u64,
        starts: &[u64],
    ) -> std::io::Result<(Self, File)> {
        let created_at = now_ms();
        let mut header = Vec::new();
        header.extend_from_slice(HEADER_MAGIC);
        header.extend_from_slice(&FORMAT.to_le_bytes());
        header.extend_from_slice(&u32::try_from(starts.len()).unwrap_or(u32::MAX).to_le_bytes());
        header.extend_from_slice(&identity.to_le_bytes());
        header.extend_from_slice(&sequence.to_le_bytes());
        header.extend_from_slice(&created_at.to_le_bytes());
        starts.iter().for_each(|start| header.extend_from_slice(&start.to_le_bytes()));
        let salt = crc32fast::hash(&header);
        header.extend_from_slice(&salt.to_le_bytes());

        let path = folder.join(file_name(sequence));
        let temporary = folder.join(format!("{sequence:020}{SUFFIX_NEW}"));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&temporary)?;
        file.write_all_at(&header, 0)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &path)?;
        sync_folder(folder)?;
        let index = Some(Index::new(header.len() as u64, starts));
        let extent = Extent { len: header.len() as u64, ends: starts.to_vec(), newest_at: 0, index };
        let starts = starts.to_vec();
        Ok((Segment { sequence, path, starts, salt, created_at, extent: RwLock::new(extent) }, file))
    }

    /// Opens a segment by its header. Its extent is that of one without records, until the footer or a scan tells more.
    ///
    /// # Errors
    /// A header that is damaged, of another version or of another log.
    pub(super) fn open(
        path: &Path,
        sequence: u64,
        identity: u128,
        partitions: usize,
    ) -> Result<(Self, File), LogError> {
        let file = File::options().read(true).write(true).open(path).map_err(io_error("open", path))?;
        let mut header = vec![0; HEADER_FIXED_BYTES + partitions * 8 + 4];
        file.read_exact_at(&mut header, 0).map_err(|_| Self::damaged(path, 0, 0, "the header is cut"))?;
        let words = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("a slice of eight bytes"));
        let format = u32::from_le_bytes(header[8..12].try_into().expect("a slice of four bytes"));
        let (body, checksum) = header.split_at(header.len() - 4);
        let salt = crc32fast::hash(body);
        if !header.starts_with(HEADER_MAGIC) || (format == FORMAT && checksum != salt.to_le_bytes()) {
            return Err(Self::damaged(path, 0, 0, "the header's checksum does not match"));
        }
        if format != FORMAT {
            return Err(LogError::Version { path: path.display().to_string(), found: format, expected: FORMAT });
        }
        if body[16..32] != identity.to_le_bytes() || words(32) != sequence {
            return Err(Self::damaged(path, 16, 0, "the segment belongs to another log or another place in it"));
        }
        let starts: Vec<u64> = (0..partitions).map(|partition| words(HEADER_FIXED_BYTES + partition * 8)).collect();
        let len = header.len() as u64;
        let extent = Extent { len, ends: starts.clone(), newest_at: 0, index: Some(Index::new(len, &starts)) };
        let created_at = words(40);
        let path = path.to_owned();
        Ok((Segment { sequence, path, starts, salt, created_at, extent: RwLock::new(extent) }, file))
    }

    /// The footer for the segment as it is now, to be written at its extent's `len`.
    pub(super) fn footer(&self) -> Vec<u8> {
        let extent = self.extent();
        let index = extent.index.as_ref().expect("only an active segment is sealed");
        let mut footer = Vec::new();
        index.encode(&mut footer);
        extent.ends.iter().for_each(|end| footer.extend_from_slice(&end.to_le_bytes()));
        footer.extend_from_slice(&extent.newest_at.to_le_bytes());
        let chunks = u32::try_from(index.chunks()).expect("a segment has fewer chunks than 32 bits count");
        let mut checksum = crc32fast::Hasher::new_with_initial(self.salt);
        checksum.update(&footer);
        checksum.update(&chunks.to_le_bytes());
        checksum.update(&extent.len.to_le_bytes());
        footer.extend_from_slice(&checksum.finalize().to_le_bytes());
        footer.extend_from_slice(&chunks.to_le_bytes());
        footer.extend_from_slice(&extent.len.to_le_bytes());
        footer.extend_from_slice(FOOTER_MAGIC);
        footer
    }

    /// Reads the footer of `file`: the extent, with its index; none when there is no sound one.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn read_footer(&self, file: &File) -> Result<Option<Extent>, LogError> {
        let partitions = self.starts.len();
        let size = file.metadata().map_err(io_error("read", &self.path))?.len();
        let Some(trailer_at) = size.checked_sub(TRAILER_BYTES as u64) else { return Ok(None) };
        let mut trailer = [0; TRAILER_BYTES];
        file.read_exact_at(&mut trailer, trailer_at).map_err(io_error("read", &self.path))?;
        let word = |at: usize| u64::from_le_bytes(trailer[at..at + 8].try_into().expect("a slice of eight bytes"));
        let chunks = (word(0) >> 32) * 8 * (partitions as u64 + 1);
        let (len, body_bytes) = (word(8), chunks + 8 * (partitions as u64 + 1));
        if trailer[16..] != *FOOTER_MAGIC || len.checked_add(body_bytes) != Some(trailer_at) {
            return Ok(None);
        }
        let mut body = vec![0; super::size(body_bytes)];
        file.read_exact_at(&mut body, len).map_err(io_error("read", &self.path))?;
        let mut checksum = crc32fast::Hasher::new_with_initial(self.salt);
        checksum.update(&body);
        checksum.update(&trailer[4..16]);
        if checksum.finalize().to_le_bytes() != trailer[..4] {
            return Ok(None);
        }
        let (entries, rest) = body.split_at(super::size(chunks));
        let words: Vec<u64> = rest.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
        let (newest_at, ends) = words.split_last().expect("the footer's length was checked");
        let index = Some(Index::parse(entries, partitions));
        Ok(Some(Extent { len, ends: ends.to_vec(), newest_at: *newest_at, index }))
    }

    /// Like [`Segment::read_footer`], of a segment that must have one.
    ///
    /// # Errors
    /// Damage.
    pub(super) fn sealed_extent(&self, file: &File) -> Result<Extent, LogError> {
        let size = || file.metadata().map_or(0, |metadata| metadata.len());
        let first = self.starts.first().copied().unwrap_or_default();
        self.read_footer(file)?
            .ok_or_else(|| Self::damaged(&self.path, size(), first, "the footer is missing or damaged"))
    }
}

/// The file name of a segment.
pub(super) fn file_name(sequence: u64) -> String {
    format!("{sequence:020}{SUFFIX}")
}

/// The segments of a folder, by sequence. Leftovers of a segment that was being made are removed.
///
/// # Errors
/// The folder cannot be read.
pub(super) fn list(folder: &Path) -> Result<Vec<u64>, LogError> {
    let mut sequences = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io_error("read", folder))? {
        let path = entry.map_err(io_error("read", folder))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if name.ends_with(SUFFIX_NEW) {
            std::fs::remove_file(&path).map_err(io_error("remove", &path))?;
        } else if let Some(sequence) = name.strip_suffix(SUFFIX).and_then(|digits| digits.parse().ok()) {
            sequences.push(sequence);
        }
    }
    sequences.sort_unstable();
    Ok(sequences)
}
