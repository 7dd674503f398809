//! Snapshots: the engine's state at one tick, in files, from which the next start goes on.
//!
//! Contract: a snapshot is a folder named by its tick. It exists once its manifest stands in it, which is written last and names
//! every other file with its length and hash ([`manifest`]). [`Store::begin`] begins one; [`Store::all`] gives those that exist, the
//! newest first; [`Store::prune`] removes what is no longer kept, and whatever was never finished.
//!
//! # Invariants
//! What is in a file that a manifest names never changes. At least [`Rule::keep`] are kept, and one that is older than the newest by
//! the span of the hub's ring: from that one the ring is rebuilt.
//!
//! # Failure
//! A snapshot that cannot be written is given up and said; the engine goes on. One that cannot be read is passed over for the next
//! older one.

pub mod blocks;
pub(super) mod choice;
pub(super) mod maker;
pub mod manifest;

use super::bindings::Silence;
use blocks::{BlockReader, BlockWriter};
pub use manifest::{FileEntry, Manifest, Position, ViewEntry};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The name of the file that makes a snapshot.
const MANIFEST: &str = "manifest.json";

/// What is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// So many at least.
    pub keep: usize,
    /// And one that is older than the newest by so much, in ms.
    pub span_ms: u64,
}

/// A folder of snapshots; cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    folder: Arc<Path>,
    rule: Rule,
}

/// Why a snapshot cannot be used or written.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file system refuses.
    #[error("{path}", path = path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is not what the manifest says.
    #[error("{path} is damaged: {problem}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl SnapshotError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> SnapshotError {
        let path = path.to_owned();
        move |source| SnapshotError::Io { path, source }
    }

    pub(crate) fn damaged(path: &Path, problem: impl Into<String>) -> SnapshotError {
        SnapshotError::Damaged { path: path.to_owned(), problem: problem.into() }
    }
}

impl Store {
    /// Opens a folder, making it where it is not, and removes what was never finished.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn open(folder: &Path, rule: Rule) -> Result<Store, SnapshotError> {
        fs::create_dir_all(folder).map_err(SnapshotError::io(folder))?;
        let store = Store { folder: folder.into(), rule };
        for (_, path) in store.folders()?.into_iter().filter(|(_, path)| !path.join(MANIFEST).exists()) {
            fs::remove_dir_all(&path).map_err(SnapshotError::io(&path))?;
        }
        Ok(store)
    }

    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// How much older than the newest one must be that the ring can be rebuilt from, in ms.
    #[must_use]
    pub fn span_ms(&self) -> u64 {
        self.rule.span_ms
    }

    /// Begins the snapshot of a tick.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn begin(&self, tick: u64) -> Result<Draft, SnapshotError> {
        let folder = self.folder.join(format!("{tick:013}"));
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(SnapshotError::io(&folder))?;
        }
        fs::create_dir(&folder).map_err(SnapshotError::io(&folder))?;
        Ok(Draft { folder })
    }

    /// All that exist, the newest first, and the reason why a folder that has a manifest is none.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn all(&self) -> Result<Vec<Result<Snapshot, SnapshotError>>, SnapshotError> {
        let mut all = Vec::new();
        for (_, folder) in self.folders()?.into_iter().rev() {
            let path = folder.join(MANIFEST);
            match fs::read(&path) {
                Ok(bytes) => all.push(
                    Manifest::decode(&bytes)
                        .map(|manifest| Snapshot { folder, manifest })
                        .map_err(|problem| SnapshotError::damaged(&path, problem)),
                ),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => all.push(Err(SnapshotError::Io { path, source })),
            }
        }
        Ok(all)
    }

    /// The oldest that is kept.
    #[must_use]
    pub fn oldest(&self) -> Option<Snapshot> {
        self.all().ok()?.into_iter().rev().find_map(Result::ok)
    }

    /// Removes what is no longer kept; gives how many are left.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn prune(&self) -> Result<usize, SnapshotError> {
        let folders: Vec<(u64, PathBuf)> =
            self.folders()?.into_iter().rev().filter(|(_, folder)| folder.join(MANIFEST).exists()).collect();
        let Some(newest) = folders.first().map(|(tick, _)| *tick) else { return Ok(0) };
        // Up to the first one that is old enough.
        let old = folders.iter().position(|(tick, _)| tick + self.rule.span_ms <= newest);
        let keep = old.map_or(folders.len(), |old| old + 1).max(self.rule.keep).min(folders.len());
        for (_, folder) in &folders[keep..] {
            // Without its manifest it is none, whatever else happens.
            let manifest = folder.join(MANIFEST);
            fs::remove_file(&manifest).map_err(SnapshotError::io(&manifest))?;
            fs::remove_dir_all(folder).map_err(SnapshotError::io(folder))?;
        }
        Ok(keep)
    }

    /// The folders of ticks, the oldest first.
    fn folders(&self) -> Result<Vec<(u64, PathBuf)>, SnapshotError> {
        let mut folders = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(SnapshotError::io(&self.folder))? {
            let entry = entry.map_err(SnapshotError::io(&self.folder))?;
            let tick = entry.file_name().to_str().and_then(|name| name.parse().ok());
            folders.extend(tick.map(|tick| (tick, entry.path())));
        }
        folders.sort_unstable();
        Ok(folders)
    }
}

/// A snapshot that is being written.
#[derive(Debug)]
pub struct Draft {
    folder: PathBuf,
}

impl Draft {
    /// Begins one of its files.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn file(&self, name: &str) -> Result<BlockWriter, SnapshotError> {
        BlockWriter::create(&self.folder, name)
    }

    /// Makes it exist: its files are durable, then the manifest is.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn finish(self, manifest: &Manifest) -> Result<(), SnapshotError> {
        let (path, draft) = (self.folder.join(MANIFEST), self.folder.join("manifest.draft"));
        let written = fs::write(&draft, manifest.encode()).and_then(|()| fs::File::open(&draft)?.sync_all());
        written.map_err(SnapshotError::io(&draft))?;
        fs::rename(&draft, &path).map_err(SnapshotError::io(&path))?;
        let parent = self.folder.parent().unwrap_or(&self.folder);
        for folder in [&*self.folder, parent] {
            fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(SnapshotError::io(folder))?;
        }
        Ok(())
    }

    /// Gives it up.
    pub fn abandon(self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            tracing::debug!(folder = %self.folder.display(), %error, "what was written of a snapshot is removed at the next start");
        }
    }
}

/// A snapshot that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    folder: PathBuf,
    /// What it is.
    pub manifest: Manifest,
}

impl Snapshot {
    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Reads one of its files, which [`Snapshot::verify`] has found to be what the manifest says.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn file(&self, name: &str) -> Result<BlockReader, SnapshotError> {
        BlockReader::open(&self.folder.join(name))
    }

    /// Whether all files are what the manifest says.
    ///
    /// # Errors
    /// One is not.
    pub fn verify(&self) -> Result<(), SnapshotError> {
        self.manifest.files.iter().try_for_each(|file| blocks::verify(&self.folder.join(&file.name), file))
    }

    /// How many bytes its files have.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.manifest.files.iter().map(|file| file.bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(folder: &Path, keep: usize, span_ms: u64) -> Store {
        Store::open(folder, Rule { keep, span_ms }).expect("opens")
    }

    fn make(store: &Store, tick: u64) {
        let draft = store.begin(tick).expect("begins");
        let mut file = draft.file("states-0").expect("is made");
        file.block("Machine", &[7; 3_000]).expect("is written");
        let files = vec![file.finish().expect("is durable")];
        draft.finish(&Manifest { tick, files, ..Manifest::default() }).expect("exists");
    }

    fn ticks(store: &Store) -> Vec<u64> {
        store.all().expect("is read").into_iter().map(|found| found.expect("is whole").manifest.tick).collect()
    }

    #[test]
    fn what_is_kept_reaches_back_over_the_span_and_what_was_not_finished_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store(folder.path(), 2, 250);
        for tick in [100, 200, 300, 400, 500] {
            make(&store, tick);
        }
        store.begin(600).expect("begins");
        assert_eq!(store.prune().expect("prunes"), 4);
        assert_eq!(ticks(&store), [500, 400, 300, 200], "200 is the first that is 250 older");
        assert_eq!(store.oldest().expect("there is one").manifest.tick, 200);
        assert!(folder.path().join("0000000000600").exists());
        let store = Store::open(folder.path(), Rule { keep: 2, span_ms: 0 }).expect("opens");
        assert!(!folder.path().join("0000000000600").exists());
        assert_eq!(store.prune().expect("prunes"), 2);
        assert_eq!(ticks(&store), [500, 400]);
    }

    #[test]
    fn a_file_that_was_changed_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store(folder.path(), 2, 0);
        make(&store, 100);
        let snapshot = store.oldest().expect("there is one");
        snapshot.verify().expect("is whole");
        let path = snapshot.folder().join("states-0");
        let whole = fs::read(&path).expect("is there");
        let mut changed = whole.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        for (bytes, said) in [(&changed[..], "hash"), (&whole[..whole.len() - 1], "bytes")] {
            fs::write(&path, bytes).expect("is written");
            let error = snapshot.verify().expect_err("is damaged").to_string();
            assert!(error.contains("states-0 is damaged") && error.contains(said), "{error}");
        }
        fs::write(folder.path().join("0000000000100").join(MANIFEST), b"{").expect("is written");
        assert!(store.all().expect("is read")[0].is_err());
        assert_eq!(store.oldest(), None);
    }
}
