//! The demo's data folder: made anew and removed at the end, unless it is to be kept.

use crate::commands::{Exit, Failure, say};
use std::io;
use std::path::{Path, PathBuf};

/// What other demos left behind under the same name stays as it is.
const FOLDERS_TRIED: u32 = 1_000;

/// A data folder; removed by [`Folder::close`], or when dropped on the way out of an error, if it is of our making.
pub(super) struct Folder {
    path: PathBuf,
    removes: bool,
    named: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot use the folder {}", path.display())]
struct Unusable {
    path: PathBuf,
    #[source]
    source: io::Error,
}

fn failure(path: &Path, source: io::Error) -> Failure {
    Failure::new(Exit::Environment, &Unusable { path: path.to_owned(), source })
        .with_remedy("choose another with --data")
}

impl Folder {
    /// The folder of that name, which is never removed, or a new one.
    pub(super) fn open(given: Option<PathBuf>, keep: bool) -> Result<Folder, Failure> {
        if let Some(path) = given {
            return Ok(Folder { path, removes: false, named: true });
        }
        let base = std::env::temp_dir();
        for number in 1..=FOLDERS_TRIED {
            let path = base.join(format!("weir-demo-{}-{number}", std::process::id()));
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(Folder { path, removes: !keep, named: false }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failure(&path, error)),
            }
        }
        Err(failure(&base, io::Error::from(io::ErrorKind::AlreadyExists)))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it, or says where it is.
    pub(super) fn close(mut self) -> Result<(), Failure> {
        if std::mem::take(&mut self.removes) {
            return std::fs::remove_dir_all(&self.path).map_err(|error| failure(&self.path, error));
        }
        if !self.named {
            let path = self.path.display();
            say::result(&format!("The data is kept in {path}; `weir demo --data` goes on with it."));
        }
        Ok(())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.removes {
            // Only on the way out of an error, which is what will be told.
            let _removed = std::fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_demo_made_is_removed() {
        let fresh = Folder::open(None, false).expect("opens");
        let path = fresh.path().to_owned();
        std::fs::write(path.join("file"), "x").expect("writes");
        fresh.close().expect("closes");
        assert!(!path.exists());

        let kept = Folder::open(None, true).expect("opens");
        let path = kept.path().to_owned();
        kept.close().expect("closes");
        assert!(path.exists());

        let given = Folder::open(Some(path.clone()), false).expect("opens");
        given.close().expect("closes");
        drop(Folder::open(Some(path.clone()), false).expect("opens"));
        assert!(path.exists(), "a folder that somebody named is theirs");
        std::fs::remove_dir_all(path).expect("removes");
    }
}
