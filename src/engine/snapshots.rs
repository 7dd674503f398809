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
pub(super) mod rows;
mod taking;

use blocks::{BlockReader, BlockWriter};
pub use manifest::{Cut, FileEntry, Manifest, OfLife, Position, ViewEntry};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The name of the file that makes a snapshot.
const MANIFEST: &str = "manifest.json";
/// What the name of a folder ends with that is none yet.
const DRAFT: &str = "draft";

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
        let unfinished =
            store.folders()?.into_iter().map(|(_, path)| path).filter(|path| !path.join(MANIFEST).exists());
        for path in store.drafts()?.into_iter().chain(unfinished) {
            gone(fs::remove_dir_all(&path)).map_err(SnapshotError::io(&path))?;
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
        // A name of its own: another process may make one of the same tick.
        let draft = self.folder.join(format!("{tick:013}.{:032x}.{DRAFT}", rand::random::<u128>()));
        fs::create_dir(&draft).map_err(SnapshotError::io(&draft))?;
        Ok(Draft { draft, folder })
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
    ///
    /// # Errors
    /// It cannot be read for the moment which one that is; what is damaged is none.
    pub fn oldest(&self) -> Result<Option<Snapshot>, SnapshotError> {
        for found in self.all()?.into_iter().rev() {
            match found {
                Ok(oldest) => return Ok(Some(oldest)),
                Err(error @ SnapshotError::Io { .. }) => return Err(error),
                Err(SnapshotError::Damaged { .. }) => {}
            }
        }
        Ok(None)
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
            gone(fs::remove_file(&manifest)).map_err(SnapshotError::io(&manifest))?;
            gone(fs::remove_dir_all(folder)).map_err(SnapshotError::io(folder))?;
        }
        Ok(keep)
    }

    /// The folders of those that were never finished.
    fn drafts(&self) -> Result<Vec<PathBuf>, SnapshotError> {
        let entries = fs::read_dir(&self.folder).map_err(SnapshotError::io(&self.folder))?;
        let paths = entries.map(|entry| entry.map(|entry| entry.path()).map_err(SnapshotError::io(&self.folder)));
        let paths = paths.collect::<Result<Vec<_>, _>>()?;
        Ok(paths.into_iter().filter(|path| path.extension().is_some_and(|end| end == DRAFT)).collect())
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

/// What is gone already is removed.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// A snapshot that is being written.
#[derive(Debug)]
pub struct Draft {
    /// Where it is written.
    draft: PathBuf,
    /// Where it will be.
    folder: PathBuf,
}

impl Draft {
    /// Begins one of its files.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn file(&self, name: &str) -> Result<BlockWriter, SnapshotError> {
        BlockWriter::create(&self.draft, name)
    }

    /// Makes it exist: its files are durable, then the manifest is.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn finish(self, manifest: &Manifest) -> Result<(), SnapshotError> {
        let Draft { draft, folder } = self;
        let sync = |path: &Path| fs::File::open(path).and_then(|file| file.sync_all()).map_err(SnapshotError::io(path));
        let path = draft.join(MANIFEST);
        fs::write(&path, manifest.encode()).map_err(SnapshotError::io(&path))?;
        sync(&path)?;
        sync(&draft)?;
        // One of the same tick, by another process, is as good; it goes as any does, its manifest first.
        for old in [folder.join(MANIFEST), folder.clone()] {
            let removed = if old == folder { fs::remove_dir_all(&old) } else { fs::remove_file(&old) };
            gone(removed).map_err(SnapshotError::io(&old))?;
        }
        fs::rename(&draft, &folder).map_err(SnapshotError::io(&folder))?;
        sync(folder.parent().unwrap_or(&folder))
    }

    /// Gives it up.
    pub fn abandon(self) {
        if let Err(error) = fs::remove_dir_all(&self.draft) {
            tracing::debug!(folder = %self.draft.display(), %error, "what was written of a snapshot is removed at the next start");
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

    /// Puts it aside: from now on it is none.
    pub fn put_aside(&self) {
        let manifest = self.folder.join(MANIFEST);
        if let Err(error) = gone(fs::rename(&manifest, self.folder.join("manifest.refused"))) {
            tracing::warn!(folder = %self.folder.display(), %error, "a snapshot cannot be put aside");
        }
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
        let cut = Cut { tick, ..Cut::default() };
        draft.finish(&Manifest { cut, files, ..Manifest::default() }).expect("exists");
    }

    fn ticks(store: &Store) -> Vec<u64> {
        store.all().expect("is read").into_iter().map(|found| found.expect("is whole").manifest.cut.tick).collect()
    }

    #[test]
    fn what_is_kept_reaches_back_over_the_span_and_what_was_not_finished_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store(folder.path(), 2, 250);
        for tick in [100, 200, 300, 400, 500] {
            make(&store, tick);
        }
        let unfinished = store.begin(600).expect("begins").draft;
        assert_eq!(store.prune().expect("prunes"), 4);
        assert_eq!(ticks(&store), [500, 400, 300, 200], "200 is the first that is 250 older");
        assert_eq!(store.oldest().expect("is read").expect("there is one").manifest.cut.tick, 200);
        assert!(unfinished.exists());
        let store = Store::open(folder.path(), Rule { keep: 2, span_ms: 0 }).expect("opens");
        assert!(!unfinished.exists());
        assert_eq!(store.prune().expect("prunes"), 2);
        assert_eq!(ticks(&store), [500, 400]);
    }

    #[test]
    fn two_that_are_made_of_one_tick_do_not_touch_each_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store(folder.path(), 2, 0);
        let abandoned = store.begin(100).expect("begins");
        make(&store, 100);
        abandoned.abandon();
        make(&store, 100);
        assert_eq!(ticks(&store), [100]);
        let snapshot = store.oldest().expect("is read").expect("there is one");
        snapshot.verify().expect("is whole");
        snapshot.put_aside();
        assert_eq!(ticks(&store), [0; 0]);
    }

    #[test]
    fn a_file_that_was_changed_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store(folder.path(), 2, 0);
        make(&store, 100);
        let snapshot = store.oldest().expect("is read").expect("there is one");
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
        assert_eq!(store.oldest().expect("is read"), None);
    }
}
