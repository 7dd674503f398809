//! The bytes that clients get: entries of batches, batches, and parts of snapshots.
//!
//! Contract: an entry (one view of one subscription in one frame) is the same bytes for everybody with the same
//! subscription, so it is written once; batches put shared entries behind a short prefix of the connection's own. Each is
//! the JSON of the type of the same name in `weir_schemas::protocol`.
//!
//! # Invariants
//! Within an entry the keys of `up` and `del` are disjoint: a −1 and +1 of one key, both wanted, are one `up`. A long entry is
//! several chunks, each whole JSON.

use crate::hub::query::{Query, ViewQuery};
use bytes::Bytes;
use std::fmt::Write as _;
use weir_schemas::protocol::GROUP;
use weir_schemas::row::{Row, write_json_str};
use weir_schemas::update::{Update, ViewFrame};

/// An entry is cut into chunks of about this size.
pub const CHUNK_BYTES: usize = 64 << 10;
/// A batch goes in parts of at most about this size.
pub const BATCH_BYTES: usize = 256 << 10;
/// A part of a snapshot is at most this large, unless a single row is larger.
pub const PART_BYTES: usize = 16 << 10;

/// Appends the entries of one view of a frame to `chunks`.
pub(crate) fn encode_view(query: &Query, view: &ViewQuery, part: &ViewFrame, chunks: &mut Vec<Bytes>) {
    let mut writer = EntryWriter { query, view, up: String::new(), del: String::new(), chunks };
    let mut updates = part.updates.iter().peekable();
    while let Some(update) = updates.next() {
        if update.diff > 0 {
            if view.matches(&update.row) {
                writer.up(&update.row);
            }
            continue;
        }
        let key = update.row.prefix(view.view.key);
        let replaced_by = updates.next_if(|next| next.diff > 0 && next.row.prefix(view.view.key) == key);
        match replaced_by {
            Some(Update { row, .. }) if view.matches(row) => writer.up(row),
            _ if view.matches(&update.row) => writer.del(&update.row),
            _ => {}
        }
    }
    writer.flush();
}

struct EntryWriter<'a> {
    query: &'a Query,
    view: &'a ViewQuery,
    up: String,
    del: String,
    chunks: &'a mut Vec<Bytes>,
}

impl EntryWriter<'_> {
    fn up(&mut self, row: &Row) {
        separate(&mut self.up);
        row.write_json(self.view.view, &mut self.up);
        self.flush_if_long();
    }

    fn del(&mut self, row: &Row) {
        separate(&mut self.del);
        row.write_key_json(self.view.view, &mut self.del);
        self.flush_if_long();
    }

    fn flush_if_long(&mut self) {
        if self.up.len() + self.del.len() >= CHUNK_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.up.is_empty() && self.del.is_empty() {
            return;
        }
        let mut entry = entry_prefix(&self.query.name, self.view.view.name, self.up.len() + self.del.len() + 32);
        for (name, rows) in [("up", &mut self.up), ("del", &mut self.del)] {
            if !rows.is_empty() {
                let _infallible = write!(entry, ",\"{name}\":[{rows}]");
                rows.clear();
            }
        }
        entry.push('}');
        self.chunks.push(Bytes::from(entry));
    }
}

fn separate(list: &mut String) {
    if !list.is_empty() {
        list.push(',');
    }
}

fn entry_prefix(subscription: &str, view: &str, more: usize) -> String {
    let mut entry = String::with_capacity(subscription.len() + view.len() + 32 + more);
    entry.push_str("{\"subscription\":");
    write_json_str(subscription, &mut entry);
    let _infallible = write!(entry, ",\"view\":\"{view}\"");
    entry
}

/// The first entry after a snapshot or resume: says where the subscription was, and changes nothing.
#[must_use]
pub fn encode_from(query: &Query, from: u64) -> Bytes {
    let mut entry = entry_prefix(&query.name, query.views[0].view.name, 48);
    let _infallible = write!(entry, ",\"from\":{from},\"up\":[],\"del\":[]}}");
    Bytes::from(entry)
}

/// What a batch's prefix says.
#[derive(Clone, Copy, Debug)]
pub struct BatchHead<'a> {
    /// Rises by one a message.
    pub sequence: u64,
    /// Epoch ms.
    pub timestamp: u64,
    /// The history.
    pub epoch: &'a str,
    /// Where the group was.
    pub from: u64,
    /// Where it is.
    pub time: u64,
    /// The part, and whether it is the last, in a batch of several.
    pub part: Option<(u32, bool)>,
}

/// One batch message around shared entries.
#[must_use]
pub fn encode_batch(head: BatchHead<'_>, entries: &[Bytes]) -> String {
    let bytes: usize = entries.iter().map(|entry| entry.len() + 1).sum();
    let mut text = String::with_capacity(bytes + 224 + head.epoch.len());
    let _infallible =
        write!(text, "{{\"type\":\"batch\",\"sequence\":{},\"timestamp\":{},\"epoch\":", head.sequence, head.timestamp);
    write_json_str(head.epoch, &mut text);
    let _infallible = write!(text, ",\"group\":{GROUP},\"from\":{},\"time\":{},\"net\":false", head.from, head.time);
    if let Some((part, last)) = head.part {
        let _infallible = write!(text, ",\"part\":{part},\"last\":{last}");
    }
    text.push_str(",\"messages\":[");
    for (index, entry) in entries.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(std::str::from_utf8(entry).expect("entries are written as text"));
    }
    text.push_str("]}");
    text
}

/// What a snapshot part's prefix says.
#[derive(Clone, Copy, Debug)]
pub struct PartHead<'a> {
    /// The client's name.
    pub subscription_id: &'a str,
    /// The server's.
    pub subscription: &'a str,
    /// The view of the rows.
    pub view: &'a str,
    /// The history.
    pub epoch: &'a str,
    /// When the rows held.
    pub time: u64,
    /// From 0.
    pub part: u32,
}

/// Opens a part; rows follow, then [`close_part`].
#[must_use]
pub(crate) fn open_part(head: PartHead<'_>) -> String {
    let mut text = String::with_capacity(PART_BYTES);
    text.push_str("{\"type\":\"initial_data\",\"subscriptionId\":");
    write_json_str(head.subscription_id, &mut text);
    text.push_str(",\"subscription\":");
    write_json_str(head.subscription, &mut text);
    let _infallible = write!(text, ",\"view\":\"{}\",\"epoch\":", head.view);
    write_json_str(head.epoch, &mut text);
    let _infallible = write!(text, ",\"time\":{},\"part\":{},\"rows\":[", head.time, head.part);
    text
}

/// Ends a part.
pub(crate) fn close_part(text: &mut String, last: bool) {
    let _infallible = write!(text, "],\"last\":{last}}}");
}
