//! What is fixed when a topic is made: format version, name, identity and number of partitions.
//!
//! Contract: one small JSON file, `topic.json`, written once, after the first segment: a folder without it has no log in it
//! yet. It carries a checksum, so a changed identity is damage and not another log.

use super::super::LogError;
use super::{FORMAT, io_error, sync_folder};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::Path;

const NAME: &str = "topic.json";

/// The fixed facts of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Meta {
    pub(super) format: u32,
    pub(super) topic: String,
    /// 32 hexadecimal digits.
    identity: String,
    pub(super) partitions: u32,
    checksum: u32,
}

/// What every version of the file has.
#[derive(Deserialize)]
struct AnyVersion {
    format: u32,
}

impl Meta {
    /// The facts of a new topic, with a random identity.
    pub(super) fn new(topic: &str, partitions: u32) -> Self {
        use rand::RngExt;
        let identity: u128 = rand::make_rng::<rand::rngs::StdRng>().random();
        let mut meta = Meta {
            format: FORMAT,
            topic: topic.to_owned(),
            identity: format!("{identity:032x}"),
            partitions,
            checksum: 0,
        };
        meta.checksum = meta.expected_checksum();
        meta
    }

    fn expected_checksum(&self) -> u32 {
        crc32fast::hash(format!("{}\n{}\n{}\n{}", self.format, self.topic, self.identity, self.partitions).as_bytes())
    }

    /// The identity as a number.
    pub(super) fn identity(&self) -> u128 {
        u128::from_str_radix(&self.identity, 16).unwrap_or_default()
    }

    /// Reads a folder's facts; none when no topic was made in it.
    ///
    /// # Errors
    /// An unreadable, damaged or newer file.
    pub(super) fn load(folder: &Path) -> Result<Option<Self>, LogError> {
        let path = folder.join(NAME);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("read", &path)(error)),
        };
        if let Ok(AnyVersion { format }) = serde_json::from_slice(&text)
            && format != FORMAT
        {
            return Err(LogError::Version { path: path.display().to_string(), found: format, expected: FORMAT });
        }
        let sound = |meta: &Meta| meta.checksum == meta.expected_checksum() && meta.partitions > 0;
        match serde_json::from_slice(&text) {
            Ok(meta) if sound(&meta) => Ok(Some(meta)),
            Ok(_) => Err(damaged(&path, "its checksum does not match".to_owned())),
            Err(error) => Err(damaged(&path, error.to_string())),
        }
    }

    /// Makes the facts durable.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn store(&self, folder: &Path) -> Result<(), LogError> {
        let path = folder.join(NAME);
        let temporary = folder.join(format!("{NAME}.new"));
        let text = serde_json::to_vec_pretty(self).expect("numbers and strings have a JSON form");
        let write = || {
            let mut file = std::fs::File::create(&temporary)?;
            file.write_all(&text)?;
            file.sync_all()?;
            std::fs::rename(&temporary, &path)?;
            sync_folder(folder)
        };
        write().map_err(io_error("write", &path))
    }
}

fn damaged(path: &Path, problem: String) -> LogError {
    LogError::Corrupt { segment: path.display().to_string(), at: 0, partition: 0, offset: 0, problem }
}
