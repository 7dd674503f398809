//! The exclusive lock on a log's folder: one process, and in it one log, at a time.
//!
//! Contract: the lock belongs to the open file, so the system gives it back however the process ends. The file holds the
//! process id of its holder, for the message that the second one prints.

use super::super::LogError;
use super::io_error;
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

const NAME: &str = "lock";

/// Holds a folder until dropped.
#[derive(Debug)]
pub(super) struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Takes the folder.
    ///
    /// # Errors
    /// [`LogError::Locked`] when somebody has it.
    pub(super) fn take(folder: &Path) -> Result<Self, LogError> {
        let path = folder.join(NAME);
        let options = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = options.map_err(io_error("open", &path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(Self::locked(folder, &mut file)),
            Err(error) => return Err(io_error("lock", &path)(error.into())),
        }
        let holder = format!("process {}\n", std::process::id());
        let written = file.set_len(0).and_then(|()| file.write_all_at(holder.as_bytes(), 0));
        // A full disk must not keep a log from being opened and read: the name of the holder is a courtesy.
        if let Err(error) = written {
            tracing::warn!(path = %path.display(), %error, "the lock is held, but its holder could not be written down");
        }
        Ok(FolderLock { _file: file })
    }

    fn locked(folder: &Path, file: &mut File) -> LogError {
        let mut holder = String::new();
        let holder = match file.read_to_string(&mut holder) {
            Ok(_) if !holder.trim().is_empty() => holder.trim().to_owned(),
            _ => "an unnamed process".to_owned(),
        };
        LogError::Locked { path: folder.display().to_string(), holder }
    }
}
