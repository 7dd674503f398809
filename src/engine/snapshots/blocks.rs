//! The files of a snapshot: blocks, each with a name, compressed.
//!
//! Layout: the eight bytes of [`MAGIC`]; then for each block the length of its name (u16), the length of its bytes (u32) and of its
//! compressed bytes (u32), all little-endian; its name; its bytes as a zstd frame.
//!
//! # Invariants
//! A file's hash, XXH3-128 of all of its bytes, stands in the manifest; a file is read only after it was found to be that.
//!
//! # Cost
//! One block at a time is in memory, when written as when read.

use super::{FileEntry, SnapshotError};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::Xxh3;

/// What a file begins with.
const MAGIC: &[u8; 8] = b"weirsnp1";
/// zstd's quickest: strings that repeat are most of what it finds.
const LEVEL: i32 = 1;
/// So much may be written and not durable: whoever else syncs, as the log does with every commit, waits for no more of it.
const UNSYNCED_BYTES: u64 = 4 << 20;
/// A block that claims to be longer is not read.
const BLOCK_BYTES_MAX: usize = 1 << 30;

/// Writes a file.
pub struct BlockWriter {
    path: PathBuf,
    name: String,
    file: BufWriter<File>,
    hasher: Xxh3,
    bytes: u64,
    /// How many of them are durable.
    synced: u64,
    packed: Vec<u8>,
}

impl BlockWriter {
    pub(super) fn create(folder: &Path, name: &str) -> Result<BlockWriter, SnapshotError> {
        let path = folder.join(name);
        let file = File::create_new(&path).map_err(SnapshotError::io(&path))?;
        let file = BufWriter::with_capacity(1 << 20, file);
        let name = name.to_owned();
        let mut writer = BlockWriter { path, name, file, hasher: Xxh3::new(), bytes: 0, synced: 0, packed: Vec::new() };
        writer.write(MAGIC)?;
        Ok(writer)
    }

    /// Writes a block.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn block(&mut self, name: &str, bytes: &[u8]) -> Result<(), SnapshotError> {
        let mut packed = std::mem::take(&mut self.packed);
        packed.clear();
        zstd::stream::copy_encode(bytes, &mut packed, LEVEL).map_err(SnapshotError::io(&self.path))?;
        let length = |bytes: usize| u32::try_from(bytes).expect("a block is shorter than 4 GiB").to_le_bytes();
        let name_bytes = u16::try_from(name.len()).expect("a name is short").to_le_bytes();
        for part in [&name_bytes[..], &length(bytes.len()), &length(packed.len()), name.as_bytes(), &packed] {
            self.write(part)?;
        }
        self.packed = packed;
        if self.bytes - self.synced >= UNSYNCED_BYTES {
            self.synced = self.bytes;
            let synced = self.file.flush().and_then(|()| self.file.get_ref().sync_data());
            synced.map_err(SnapshotError::io(&self.path))?;
        }
        Ok(())
    }

    /// Makes it durable; gives its entry in the manifest.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn finish(self) -> Result<FileEntry, SnapshotError> {
        let BlockWriter { path, name, file, hasher, bytes, .. } = self;
        let file = file.into_inner().map_err(|error| SnapshotError::io(&path)(error.into_error()))?;
        file.sync_all().map_err(SnapshotError::io(&path))?;
        Ok(FileEntry { name, bytes, hash: hasher.digest128() })
    }

    fn write(&mut self, part: &[u8]) -> Result<(), SnapshotError> {
        self.hasher.update(part);
        self.bytes += part.len() as u64;
        self.file.write_all(part).map_err(SnapshotError::io(&self.path))
    }
}

/// Reads a file.
pub struct BlockReader {
    path: PathBuf,
    file: BufReader<File>,
    packed: Vec<u8>,
}

impl BlockReader {
    pub(super) fn open(path: &Path) -> Result<BlockReader, SnapshotError> {
        let file = File::open(path).map_err(SnapshotError::io(path))?;
        let mut file = BufReader::with_capacity(1 << 20, file);
        let mut magic = [0; MAGIC.len()];
        file.read_exact(&mut magic).map_err(SnapshotError::io(path))?;
        if magic != *MAGIC {
            return Err(SnapshotError::damaged(path, "it is no file of a snapshot of this version"));
        }
        Ok(BlockReader { path: path.to_owned(), file, packed: Vec::new() })
    }

    /// The next block, into `bytes`: its name; `None` at the end.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn next(&mut self, bytes: &mut Vec<u8>) -> Result<Option<String>, SnapshotError> {
        let mut lengths = [0; 10];
        if self.file.read(&mut lengths[..1]).map_err(SnapshotError::io(&self.path))? == 0 {
            return Ok(None);
        }
        self.fill(&mut lengths[1..])?;
        let length =
            |at: usize| u32::from_le_bytes([lengths[at], lengths[at + 1], lengths[at + 2], lengths[at + 3]]) as usize;
        let (name_bytes, plain, packed) = (u16::from_le_bytes([lengths[0], lengths[1]]), length(2), length(6));
        if plain > BLOCK_BYTES_MAX || packed > BLOCK_BYTES_MAX {
            return Err(SnapshotError::damaged(&self.path, "a block is too long"));
        }
        let mut name = vec![0; name_bytes.into()];
        self.fill(&mut name)?;
        let mut buffer = std::mem::take(&mut self.packed);
        buffer.resize(packed, 0);
        self.fill(&mut buffer)?;
        bytes.clear();
        let decoder = zstd::stream::Decoder::with_buffer(&buffer[..]).map_err(SnapshotError::io(&self.path))?;
        // No more than it says to have.
        let read = decoder.take(plain as u64 + 1).read_to_end(bytes).map_err(SnapshotError::io(&self.path))?;
        self.packed = buffer;
        if read != plain {
            return Err(SnapshotError::damaged(&self.path, "a block is not as long as it says"));
        }
        let name = String::from_utf8(name).map_err(|_| SnapshotError::damaged(&self.path, "a name is no text"))?;
        Ok(Some(name))
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), SnapshotError> {
        self.file.read_exact(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => SnapshotError::damaged(&self.path, "it ends within a block"),
            _ => SnapshotError::io(&self.path)(error),
        })
    }
}

/// Whether a file is what the manifest says.
pub(super) fn verify(path: &Path, entry: &FileEntry) -> Result<(), SnapshotError> {
    let mut file = File::open(path).map_err(SnapshotError::io(path))?;
    let (mut hasher, mut buffer, mut bytes) = (Xxh3::new(), vec![0; 1 << 20], 0);
    loop {
        match file.read(&mut buffer).map_err(SnapshotError::io(path))? {
            0 => break,
            read => {
                hasher.update(&buffer[..read]);
                bytes += read as u64;
            }
        }
    }
    if bytes != entry.bytes {
        return Err(SnapshotError::damaged(path, format!("it has {bytes} bytes where {} were written", entry.bytes)));
    }
    if hasher.digest128() != entry.hash {
        return Err(SnapshotError::damaged(path, "its hash is not that of what was written"));
    }
    Ok(())
}
