//! The spool: parcels that could not be delivered, on local disk until a later `weir send` delivers them.
//!
//! Contract: one file a parcel, in the order of their names: a line of JSON (where to, what) and the compressed body. A
//! file appears whole or not at all (written beside, synced, renamed). Together they have at most `bytes_max`
//! ([`BYTES_MAX`] unless told): where a new one would pass it, the oldest are dropped first, since what a person waits for
//! is the newest, and the caller is told how many. Tokens are never written.
//!
//! # Failure
//! A damaged file is dropped when it is met, and reported. Two processes may put at the same time; only one delivers
//! ([`Spool::claim`]), the other leaves it to it.

use super::parcel::Parcel;
use bytes::Bytes;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// All parcels of a spool together, at most.
pub const BYTES_MAX: u64 = 256 << 20;

const EXTENSION: &str = "parcel";
const UNFINISHED: &str = "unfinished";
/// What a process that died while writing left behind is removed after so long.
const UNFINISHED_AGE: Duration = Duration::from_hours(1);

/// A folder of parcels.
#[derive(Clone, Debug)]
pub struct Spool {
    folder: PathBuf,
    bytes_max: u64,
}

/// Why the spool cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The folder or a file in it cannot be used.
    #[error("cannot use the spool {}", folder.display())]
    Folder {
        /// The spool.
        folder: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// One parcel alone is more than the spool may have.
    #[error("{bytes} bytes are more than the spool {} may have", folder.display())]
    TooLarge {
        /// The spool.
        folder: PathBuf,
        /// Its size.
        bytes: u64,
    },
}

/// A parcel that waits.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Its file.
    pub path: PathBuf,
    /// Its size on disk.
    pub bytes: u64,
}

/// The right to deliver what waits; ends with the value.
#[derive(Debug)]
pub struct Claim {
    _lock: File,
}

#[derive(Serialize, Deserialize)]
struct Header {
    v: u32,
    to: String,
    title: String,
    path: String,
    content_type: String,
    body_bytes: u64,
    /// XXH3-64 of the body.
    body_hash: u64,
}

const VERSION: u32 = 1;

/// Where the spool is unless told: `WEIR_SPOOL`, else `weir/spool` in the user's cache folder.
pub fn default_folder(environment: &BTreeMap<String, String>) -> PathBuf {
    let set = |name: &str| environment.get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("WEIR_SPOOL").unwrap_or_else(|| {
        let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
        cache.unwrap_or_else(std::env::temp_dir).join("weir").join("spool")
    })
}

impl Spool {
    /// The spool in a folder, which is made when something is put into it.
    pub fn new(folder: PathBuf, bytes_max: u64) -> Spool {
        Spool { folder, bytes_max }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Keeps a parcel for the server at `to`; returns how many older ones had to be dropped for it.
    ///
    /// # Errors
    /// It cannot be written, or is too large by itself.
    pub fn put(&self, parcel: &Parcel, to: &str) -> Result<usize, SpoolError> {
        let header = Header {
            v: VERSION,
            to: to.to_owned(),
            title: parcel.title.clone(),
            path: parcel.path.clone(),
            content_type: parcel.content_type.clone(),
            body_bytes: parcel.body.len() as u64,
            body_hash: xxhash_rust::xxh3::xxh3_64(&parcel.body),
        };
        let mut head = serde_json::to_vec(&header).expect("a header is always JSON");
        head.push(b'\n');
        let bytes = (head.len() + parcel.body.len()) as u64;
        if bytes > self.bytes_max {
            return Err(SpoolError::TooLarge { folder: self.folder.clone(), bytes });
        }
        self.store(&head, &parcel.body, bytes).map_err(|source| self.unusable(source))
    }

    fn store(&self, head: &[u8], body: &[u8], bytes: u64) -> io::Result<usize> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let lock = self.lock_file("put.lock")?;
        flock(&lock, FlockOperation::LockExclusive)?;
        self.remove_unfinished()?;
        let dropped = self.make_room(bytes)?;
        let name = self.next_name()?;
        let unfinished = self.folder.join(format!("{name}.{UNFINISHED}"));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(head)?;
        file.write_all(body)?;
        file.sync_all()?;
        fs::rename(&unfinished, self.folder.join(format!("{name}.{EXTENSION}")))?;
        File::open(&self.folder)?.sync_all()?;
        Ok(dropped)
    }

    /// What waits, oldest first. A folder that is not there has nothing.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn waiting(&self) -> Result<Vec<Waiting>, SpoolError> {
        self.list().map_err(|source| self.unusable(source))
    }

    fn list(&self) -> io::Result<Vec<Waiting>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut waiting = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == EXTENSION) {
                // Another process may have delivered it meanwhile.
                if let Ok(metadata) = fs::metadata(&path) {
                    waiting.push(Waiting { path, bytes: metadata.len() });
                }
            }
        }
        waiting.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(waiting)
    }

    /// Reads a parcel back: for which server, and itself; nothing when it was damaged, and is gone now.
    ///
    /// # Errors
    /// The file cannot be read or removed.
    pub fn open(&self, waiting: &Waiting) -> Result<Option<(String, Parcel)>, SpoolError> {
        let bytes = match fs::read(&waiting.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.map_err(|source| self.unusable(source))?,
        };
        let opened = decode(bytes);
        if opened.is_none() {
            self.remove(waiting)?;
        }
        Ok(opened)
    }

    /// Removes a parcel; one that is gone already is no error.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn remove(&self, waiting: &Waiting) -> Result<(), SpoolError> {
        match fs::remove_file(&waiting.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.unusable(error)),
            _ => Ok(()),
        }
    }

    /// Claims the right to deliver; nothing while another process has it, or nothing ever waited.
    ///
    /// # Errors
    /// The folder cannot be used.
    pub fn claim(&self) -> Result<Option<Claim>, SpoolError> {
        if !self.folder.is_dir() {
            return Ok(None);
        }
        let lock = self.lock_file("deliver.lock").map_err(|source| self.unusable(source))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Claim { _lock: lock })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(self.unusable(errno.into())),
        }
    }

    fn lock_file(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(self.folder.join(name))
    }

    /// Drops the oldest until `bytes` more fit.
    fn make_room(&self, bytes: u64) -> io::Result<usize> {
        let waiting = self.list()?;
        let mut total: u64 = waiting.iter().map(|parcel| parcel.bytes).sum();
        let mut dropped = 0;
        for parcel in waiting {
            if total + bytes <= self.bytes_max {
                break;
            }
            fs::remove_file(&parcel.path)?;
            total -= parcel.bytes;
            dropped += 1;
        }
        Ok(dropped)
    }

    /// A name that stands after all others, whatever the clock does.
    fn next_name(&self) -> io::Result<String> {
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let last = self.list()?.pop();
        let last = last.and_then(|parcel| parcel.path.file_stem()?.to_str()?.parse::<u128>().ok());
        Ok(format!("{:020}", last.map_or(now_ms, |last| now_ms.max(last + 1))))
    }

    fn remove_unfinished(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let unfinished = entry.path().extension().is_some_and(|extension| extension == UNFINISHED);
            let age = entry.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|at| at.elapsed().ok());
            if unfinished && age.is_some_and(|age| age > UNFINISHED_AGE) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn unusable(&self, source: io::Error) -> SpoolError {
        SpoolError::Folder { folder: self.folder.clone(), source }
    }
}

fn decode(bytes: Vec<u8>) -> Option<(String, Parcel)> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let header: Header = serde_json::from_slice(&bytes[..end]).ok()?;
    let body = Bytes::from(bytes).slice(end + 1..);
    let sound = header.v == VERSION
        && header.body_bytes == body.len() as u64
        && header.body_hash == xxhash_rust::xxh3::xxh3_64(&body);
    let Header { to, title, path, content_type, .. } = header;
    sound.then_some((to, Parcel { title, path, content_type, body }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parcel(name: &str, bytes: usize) -> Parcel {
        let body = Bytes::from(vec![7; bytes]);
        Parcel { title: name.to_owned(), path: "/v1/reports?a=b".to_owned(), content_type: "x/y".to_owned(), body }
    }

    fn titles(spool: &Spool) -> Vec<String> {
        let opened = |waiting: &Waiting| spool.open(waiting).expect("reads").expect("sound").1.title;
        spool.waiting().expect("lists").iter().map(opened).collect()
    }

    #[test]
    fn parcels_come_back_in_order_and_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let spool = Spool::new(folder.path().join("a/b"), BYTES_MAX);
        assert!(spool.waiting().expect("lists").is_empty());
        for name in ["one", "two", "three"] {
            assert_eq!(spool.put(&parcel(name, 100), "http://x").expect("puts"), 0);
        }
        assert_eq!(titles(&spool), ["one", "two", "three"]);
        let first = &spool.waiting().expect("lists")[0];
        let (to, opened) = spool.open(first).expect("reads").expect("sound");
        assert_eq!((to.as_str(), &opened), ("http://x", &parcel("one", 100)));
        spool.remove(first).expect("removes");
        spool.remove(first).expect("is gone already");
        assert_eq!(titles(&spool), ["two", "three"]);
    }

    #[test]
    fn the_oldest_make_room() {
        let folder = tempfile::tempdir().expect("a folder");
        let spool = Spool::new(folder.path().to_owned(), 4_000);
        for name in ["one", "two", "three"] {
            assert_eq!(spool.put(&parcel(name, 1_000), "http://x").expect("puts"), 0);
        }
        assert_eq!(spool.put(&parcel("four", 2_000), "http://x").expect("puts"), 2);
        assert_eq!(titles(&spool), ["three", "four"]);
        assert!(matches!(spool.put(&parcel("five", 4_000), "http://x"), Err(SpoolError::TooLarge { .. })));
        assert_eq!(titles(&spool), ["three", "four"], "what does not fit drops nothing");
    }

    #[test]
    fn a_damaged_parcel_is_dropped_wherever_it_is_damaged() {
        let folder = tempfile::tempdir().expect("a folder");
        let spool = Spool::new(folder.path().to_owned(), BYTES_MAX);
        spool.put(&parcel("one", 50), "http://x").expect("puts");
        let waiting = spool.waiting().expect("lists").remove(0);
        let sound = fs::read(&waiting.path).expect("reads");
        for length in 0..sound.len() {
            fs::write(&waiting.path, &sound[..length]).expect("writes");
            assert!(spool.open(&waiting).expect("reads").is_none(), "cut at {length}");
            assert!(!waiting.path.exists());
        }
        let mut flipped = sound.clone();
        *flipped.last_mut().expect("bytes") ^= 1;
        fs::write(&waiting.path, &flipped).expect("writes");
        assert!(spool.open(&waiting).expect("reads").is_none());
    }

    #[test]
    fn one_process_delivers_at_a_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let spool = Spool::new(folder.path().to_owned(), BYTES_MAX);
        let claim = spool.claim().expect("claims").expect("is free");
        assert!(spool.claim().expect("claims").is_none());
        drop(claim);
        assert!(spool.claim().expect("claims").is_some());
        assert!(Spool::new(folder.path().join("none"), 1).claim().expect("claims").is_none());
    }
}
