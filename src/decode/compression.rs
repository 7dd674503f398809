//! Compressed bytes: gzip and zstd, known by name or by their first bytes, and expanded within a limit.
//!
//! Contract: an [`Encoding`] opens a reader of what the bytes were; who reads it stops at a limit of its own, so a bomb costs no
//! more than an honest body. No JSON and no XML begins as compressed bytes do.

use std::io::{self, Read};

/// The window that a zstd body may ask for, as a power of two: 8 MiB, what RFC 8878 asks every decoder to support.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// The first bytes of gzip (RFC 1952) and of a frame of zstd (RFC 8878).
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// How bytes are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// gzip, of one or more members.
    Gzip,
    /// zstd.
    Zstd,
}

impl Encoding {
    /// The word of HTTP and of record headers; `Ok(None)`: not compressed.
    ///
    /// # Errors
    /// The word, where it is none that is known.
    pub fn named(word: &str) -> Result<Option<Encoding>, String> {
        let word = word.trim().to_ascii_lowercase();
        match word.as_str() {
            "" | "identity" => Ok(None),
            "gzip" | "x-gzip" => Ok(Some(Encoding::Gzip)),
            "zstd" => Ok(Some(Encoding::Zstd)),
            _ => Err(word),
        }
    }

    /// By the first bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Encoding> {
        match bytes {
            bytes if bytes.starts_with(GZIP) => Some(Encoding::Gzip),
            bytes if bytes.starts_with(ZSTD) => Some(Encoding::Zstd),
            _ => None,
        }
    }

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Encoding::Gzip => "gzip",
            Encoding::Zstd => "zstd",
        }
    }

    /// Reads what the bytes were. Whoever reads has a limit.
    ///
    /// # Errors
    /// No decompressor can be made.
    pub fn reader(self, bytes: &[u8]) -> io::Result<Box<dyn Read + '_>> {
        Ok(match self {
            Encoding::Gzip => Box::new(flate2::read::MultiGzDecoder::new(bytes)),
            Encoding::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
        })
    }

    /// What the bytes were, if that is no more than `limit`; `Ok(None)`: it is.
    ///
    /// # Errors
    /// The bytes are not whole, or not of this kind.
    pub fn expand(self, bytes: &[u8], limit: usize) -> io::Result<Option<Vec<u8>>> {
        let mut expanded = Vec::new();
        self.reader(bytes)?.take(limit as u64 + 1).read_to_end(&mut expanded)?;
        Ok((expanded.len() <= limit).then_some(expanded))
    }
}
