//! What a snapshot is: the tick, where logs stood there, and its files.

use crate::engine::bindings::Silence;
use serde::{Deserialize, Serialize};
use weir_schemas::update::Digest;
use weir_schemas::view::View;
use xxhash_rust::xxh3::xxh3_128;

/// Raised when a manifest, or a file that it names, has another layout.
const FORMAT: u32 = 1;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The layout.
    pub format: u32,
    /// What all snapshots of a life have in common.
    pub life: OfLife,
    /// What the state is as of.
    pub cut: Cut,
    /// Of each view the name, the digest and the number of rows.
    pub views: Vec<ViewEntry>,
    /// Its files.
    pub files: Vec<FileEntry>,
    /// XXH3-128 of all of this with a hash of zero.
    #[serde(with = "hex")]
    pub hash: u128,
}

/// What all snapshots of a life have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfLife {
    /// The name of the history that it belongs to.
    pub epoch: String,
    /// What the state depends on besides the records: logs, definitions, configuration. Of no use to anybody with another.
    #[serde(with = "hex")]
    pub basis: u128,
    /// Whose bindings counted.
    #[serde(with = "hex")]
    pub incarnation: u128,
    /// Where the past that it is made of began, if that was shortened: a tick, and the first offset of each partition.
    pub past: Option<(u64, Vec<u64>)>,
    /// How many workers wrote.
    pub workers: usize,
}

/// Where everything was bound.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// All ticks up to here are in it, and no later one.
    pub tick: u64,
    /// The first offset of the bindings log that is not in it.
    pub bindings_offset: u64,
    /// Where each partition stood.
    pub positions: Vec<Position>,
    /// What the bindings said of silence.
    pub silence: Silence,
    /// What the dataflow was last told of silence.
    pub silence_told: bool,
}

/// Where a partition stood.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The topic's number in the configuration.
    pub topic: u16,
    /// The partition.
    pub partition: u32,
    /// The first offset that is not in it.
    pub next_offset: u64,
    /// The hash of the last part of a binding; none where that was not known.
    #[serde(with = "maybe_hex")]
    pub hash: Option<u128>,
}

/// A view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewEntry {
    /// Its name.
    pub name: String,
    /// Its digest.
    #[serde(with = "hex")]
    pub digest: u128,
    /// How many rows it has.
    pub rows: u64,
}

/// A file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// XXH3-128 of its bytes.
    #[serde(with = "hex")]
    pub hash: u128,
}

impl Manifest {
    /// The digest of a view; none of one that it does not know.
    #[must_use]
    pub fn digest(&self, view: &View) -> Option<Digest> {
        self.views.iter().find(|entry| entry.name == view.name).map(|entry| Digest(entry.digest))
    }

    /// As it is written.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let manifest = Manifest { format: FORMAT, ..self.clone() };
        Manifest { hash: manifest.hashed(), ..manifest }.json()
    }

    fn json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("a manifest can be written as JSON")
    }

    /// The hash that it should have.
    fn hashed(&self) -> u128 {
        xxh3_128(&Manifest { hash: 0, ..self.clone() }.json())
    }

    /// Reads it back.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<Manifest, String> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let Format { format } = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if format != FORMAT {
            return Err(format!("it has format {format}, this version reads {FORMAT}"));
        }
        let manifest: Manifest = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let whole = manifest.hash == manifest.hashed();
        if whole { Ok(manifest) } else { Err("its hash is not that of what was written".to_owned()) }
    }
}

/// Numbers of 128 bits as 32 hexadecimal digits.
mod hex {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{value:032x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
        let text = String::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}

/// The same, of numbers that may be absent.
mod maybe_hex {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Hex(#[serde(with = "super::hex")] u128);

    #[expect(clippy::ref_option, reason = "as serde calls it")]
    pub(super) fn serialize<S: Serializer>(value: &Option<u128>, serializer: S) -> Result<S::Ok, S::Error> {
        value.map(Hex).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u128>, D::Error> {
        Ok(Option::<Hex>::deserialize(deserializer)?.map(|Hex(value)| value))
    }
}
