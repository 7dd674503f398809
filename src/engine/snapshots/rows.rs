//! The rows of every view in a snapshot: shown again at the next start, as if all frames up to the cut had been.
//!
//! Layout: in the file [`ROWS_FILE`], blocks with the name of a view; in a block one row after the other, its length (u32, little-endian)
//! and its bytes.

use super::{BlockWriter, Snapshot, SnapshotError, ViewEntry};
use weir_schemas::row::Row;
use weir_schemas::update::Digest;
use weir_schemas::view::VIEWS;

/// The file of all rows.
pub(super) const ROWS_FILE: &str = "rows";
/// So long a block becomes, about.
const BLOCK_BYTES: usize = 1 << 20;

/// The rows of every view at a cut, and their digests, both in the order of `VIEWS`.
pub(in crate::engine) struct Rows {
    pub(in crate::engine) rows: Vec<Vec<Row>>,
    pub(in crate::engine) digests: Vec<u128>,
}

impl Rows {
    /// Writes them, one block after the other; gives what the manifest says of each view.
    pub(super) fn write(self, file: &mut BlockWriter) -> Result<Vec<ViewEntry>, SnapshotError> {
        let Rows { rows, digests } = self;
        let (mut views, mut block) = (Vec::with_capacity(VIEWS.len()), Vec::new());
        for ((view, rows), digest) in VIEWS.iter().zip(rows).zip(digests) {
            for (count, row) in (1..).zip(&rows) {
                let bytes = row.as_bytes();
                block.extend(u32::try_from(bytes.len()).expect("a row is shorter than 4 GiB").to_le_bytes());
                block.extend(bytes);
                if block.len() >= BLOCK_BYTES || count == rows.len() {
                    file.block(view.name, &block)?;
                    block.clear();
                }
            }
            views.push(ViewEntry { name: view.name.to_owned(), digest, rows: rows.len() as u64 });
        }
        Ok(views)
    }

    /// Those of a snapshot, if they are the ones whose digests its manifest has.
    pub(super) fn read(snapshot: &Snapshot) -> Result<Rows, SnapshotError> {
        let path = snapshot.folder().join(ROWS_FILE);
        let damaged = |problem: String| SnapshotError::damaged(&path, problem);
        let (mut file, mut block) = (snapshot.file(ROWS_FILE)?, Vec::new());
        let mut rows: Vec<Vec<Row>> = VIEWS.iter().map(|_| Vec::new()).collect();
        while let Some(name) = file.next(&mut block)? {
            let view = VIEWS
                .iter()
                .position(|view| view.name == name)
                .ok_or_else(|| damaged(format!("there is no view {name}")))?;
            let mut rest = &block[..];
            while let Some((length, after)) = rest.split_first_chunk() {
                let row = after.split_at_checked(u32::from_le_bytes(*length) as usize);
                let (row, after) = row.ok_or_else(|| damaged("it ends within a row".to_owned()))?;
                let row = Row::from_bytes(row, VIEWS[view].columns.len());
                rows[view].push(row.map_err(|_| damaged(format!("a row of {name} is malformed")))?);
                rest = after;
            }
        }
        let mut digests = Vec::with_capacity(VIEWS.len());
        for (view, rows) in VIEWS.iter().zip(&rows) {
            let mut digest = Digest::default();
            rows.iter().for_each(|row| digest.apply(row, 1));
            if snapshot.manifest.digest(view) != Some(digest) {
                return Err(damaged(format!("the rows of {} are not those whose digest was written", view.name)));
            }
            digests.push(digest.0);
        }
        Ok(Rows { rows, digests })
    }
}
