//! What `weir watch` has been told: the rows of its subscription.
//!
//! Contract: [`Fold::take`] applies one server message and returns what changed. A snapshot becomes visible with its last
//! part, a batch likewise, so [`Fold::rows`] are always those of one moment, [`Fold::position`], from which a new
//! connection resumes.
//!
//! # Invariants
//! A batch is applied only where the rows stand; one that does not follow on is a [`Gap`], and the rows stay as they are.

use serde_json::Value;
use std::collections::BTreeMap;
use weir_schemas::protocol::{
    Batch, Entry, InitialData, Mode, ServerMessage, Since, SubscriptionConfirmed, ViewSchema,
};

/// One row, in the order of its schema's columns.
pub(super) type Row = Vec<Value>;

/// The rows of one view.
#[derive(Clone, Debug)]
pub(super) struct ViewRows {
    /// Its columns.
    pub(super) schema: ViewSchema,
    /// By key, as JSON.
    pub(super) rows: BTreeMap<String, Row>,
}

/// One change of the rows.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    /// All rows are gone; what follows are all that there are.
    Reset,
    /// A row is new or has changed.
    Up {
        /// Its view, by place in [`Fold::views`].
        view: usize,
        /// The row.
        row: Row,
    },
    /// A row is gone.
    Del {
        /// Its view, by place in [`Fold::views`].
        view: usize,
        /// Its key columns.
        key: Row,
    },
}

/// A message does not follow on what is held: the remedy is to connect again and resume.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a batch from {from} does not follow on {held}")]
pub(super) struct Gap {
    from: u64,
    held: u64,
}

/// The rows of one subscription.
#[derive(Clone, Debug, Default)]
pub(super) struct Fold {
    views: Vec<ViewRows>,
    position: Option<Since>,
    /// The server's name of the subscription, on this connection.
    name: String,
    /// Whether batches move the rows: from the entry with its own `from` on.
    moving: bool,
    snapshot: Vec<(String, Vec<Row>)>,
    parts: Vec<Entry>,
}

impl Fold {
    /// All views.
    pub(super) fn views(&self) -> &[ViewRows] {
        &self.views
    }

    /// The moment of the rows.
    pub(super) fn position(&self) -> Option<&Since> {
        self.position.as_ref()
    }

    /// Forgets the connection; rows and position stay.
    pub(super) fn disconnect(&mut self) {
        self.name.clear();
        self.moving = false;
        self.snapshot.clear();
        self.parts.clear();
    }

    /// Takes a message in; what it changed, in order.
    ///
    /// # Errors
    /// It does not follow on what is held.
    pub(super) fn take(&mut self, message: ServerMessage) -> Result<Vec<Change>, Gap> {
        match message {
            ServerMessage::SubscriptionConfirmed(confirmed) => self.confirm(confirmed),
            ServerMessage::InitialData(part) => return Ok(self.take_snapshot(part)),
            ServerMessage::Batch(batch) => return self.take_batch(batch),
            ServerMessage::Progress(progress) => {
                if let (true, Some(position)) = (self.moving, &mut self.position)
                    && position.epoch == progress.epoch
                {
                    position.time = position.time.max(progress.time);
                }
            }
            ServerMessage::Welcome { .. } | ServerMessage::Error(_) | ServerMessage::Pong { .. } => {}
        }
        Ok(Vec::new())
    }

    fn confirm(&mut self, confirmed: SubscriptionConfirmed) {
        self.name = confirmed.subscription;
        self.moving = false;
        if confirmed.mode == Mode::Snapshot || self.views.is_empty() {
            self.views =
                confirmed.schemas.into_iter().map(|schema| ViewRows { schema, rows: BTreeMap::new() }).collect();
        }
    }

    fn take_snapshot(&mut self, part: InitialData) -> Vec<Change> {
        if part.part == 0 {
            self.snapshot.clear();
        }
        self.snapshot.push((part.view, part.rows));
        if !part.last {
            return Vec::new();
        }
        self.views.iter_mut().for_each(|view| view.rows.clear());
        self.position = Some(Since { epoch: part.epoch, time: part.time });
        let mut changes = vec![Change::Reset];
        for (view, rows) in std::mem::take(&mut self.snapshot) {
            for row in rows {
                changes.extend(self.put(&view, row));
            }
        }
        changes
    }

    fn take_batch(&mut self, batch: Batch) -> Result<Vec<Change>, Gap> {
        self.parts.extend(batch.messages);
        if batch.last == Some(false) {
            return Ok(Vec::new());
        }
        let mut entries = std::mem::take(&mut self.parts);
        entries.retain(|entry| entry.subscription == self.name);
        let held = self.position.as_ref().map_or(0, |position| position.time);
        let follows = |from| if from == held { Ok(()) } else { Err(Gap { from, held }) };
        if self.moving {
            follows(batch.from)?;
        }
        let mut changes = Vec::new();
        for entry in entries {
            if let (Some(from), false) = (entry.from, self.moving) {
                follows(from)?;
                self.moving = true;
            }
            if self.moving {
                let Entry { view, up, del, .. } = entry;
                changes.extend(del.into_iter().filter_map(|key| self.remove(&view, key)));
                changes.extend(up.into_iter().filter_map(|row| self.put(&view, row)));
            }
        }
        if self.moving {
            self.position = Some(Since { epoch: batch.epoch, time: batch.time });
        }
        Ok(changes)
    }

    fn put(&mut self, view: &str, row: Row) -> Option<Change> {
        let index = self.views.iter().position(|rows| rows.schema.view == view)?;
        let ViewRows { schema, rows } = &mut self.views[index];
        let key = schema.key.iter().map(|column| row.get(*column)).collect::<Option<Vec<_>>>()?;
        rows.insert(key_text(&key), row.clone());
        Some(Change::Up { view: index, row })
    }

    fn remove(&mut self, view: &str, key: Row) -> Option<Change> {
        let index = self.views.iter().position(|rows| rows.schema.view == view)?;
        self.views[index].rows.remove(&key_text(&key.iter().collect::<Vec<_>>()))?;
        Some(Change::Del { view: index, key })
    }
}

fn key_text(key: &[&Value]) -> String {
    serde_json::to_string(key).expect("values are always JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(json: &str) -> ServerMessage {
        serde_json::from_str(json).expect(json)
    }

    fn confirmed(mode: &str) -> ServerMessage {
        message(&format!(
            r#"{{"type":"subscription_confirmed","subscriptionId":"s","subscription":"n","channel":"c","filterId":"f","mode":"{mode}","epoch":"e","time":5,"group":1,"schemas":[{{"view":"v","version":1,"key":[0],"columns":[["project","str"],["count","int"]]}}]}}"#
        ))
    }

    fn part(part: u32, last: bool, rows: &str) -> ServerMessage {
        message(&format!(
            r#"{{"type":"initial_data","subscriptionId":"s","subscription":"n","view":"v","epoch":"e","time":5,"part":{part},"last":{last},"rows":{rows}}}"#
        ))
    }

    fn batch(from: u64, time: u64, more: &str, entry: &str) -> ServerMessage {
        message(&format!(
            r#"{{"type":"batch","sequence":1,"timestamp":1,"epoch":"e","group":1,"from":{from},"time":{time},"net":true{more},"messages":[{{"subscription":"n","view":"v"{entry}}}]}}"#
        ))
    }

    fn held(fold: &Fold) -> (String, u64) {
        let rows: Vec<&Row> = fold.views().iter().flat_map(|view| view.rows.values()).collect();
        (serde_json::to_string(&rows).expect("JSON"), fold.position().map_or(0, |position| position.time))
    }

    fn loaded() -> Fold {
        let mut fold = Fold::default();
        for message in [confirmed("snapshot"), part(0, false, r#"[["a",1]]"#)] {
            assert_eq!(fold.take(message), Ok(Vec::new()));
        }
        assert_eq!(held(&fold), ("[]".to_owned(), 0), "half a snapshot is not shown");
        assert_eq!(fold.take(part(1, true, r#"[["b",2]]"#)).expect("follows").len(), 3);
        assert_eq!(held(&fold), (r#"[["a",1],["b",2]]"#.to_owned(), 5));
        fold
    }

    #[test]
    fn batches_move_the_rows_from_the_entry_that_names_their_place() {
        let mut fold = loaded();
        assert_eq!(fold.take(batch(3, 6, "", r#","up":[["a",9]]"#)), Ok(Vec::new()), "before its own from");
        assert_eq!(held(&fold).1, 5);
        let changes = fold.take(batch(6, 8, "", r#","from":5,"up":[["a",3]],"del":[["b"]]"#)).expect("follows");
        assert_eq!(changes.len(), 2);
        assert_eq!(held(&fold), (r#"[["a",3]]"#.to_owned(), 8));
        fold.take(batch(8, 10, r#","part":0,"last":false"#, r#","up":[["c",1]]"#)).expect("follows");
        assert_eq!(held(&fold), (r#"[["a",3]]"#.to_owned(), 8), "half a batch is not shown");
        fold.take(batch(8, 10, r#","part":1,"last":true"#, r#","up":[["d",1]]"#)).expect("follows");
        assert_eq!(held(&fold), (r#"[["a",3],["c",1],["d",1]]"#.to_owned(), 10));
    }

    #[test]
    fn what_does_not_follow_is_a_gap_and_changes_nothing() {
        let mut fold = loaded();
        assert_eq!(fold.take(batch(5, 8, "", r#","from":4,"up":[["a",3]]"#)), Err(Gap { from: 4, held: 5 }));
        fold.take(batch(5, 8, "", r#","from":5"#)).expect("follows");
        assert_eq!(fold.take(batch(9, 12, "", r#","up":[["a",3]]"#)), Err(Gap { from: 9, held: 8 }));
        assert_eq!(held(&fold), (r#"[["a",1],["b",2]]"#.to_owned(), 8));
    }

    #[test]
    fn a_new_connection_resumes_or_begins_anew() {
        let mut fold = loaded();
        fold.take(batch(5, 8, "", r#","from":5"#)).expect("follows");
        fold.disconnect();
        fold.take(confirmed("resumed")).expect("follows");
        assert_eq!(held(&fold).0, r#"[["a",1],["b",2]]"#);
        fold.take(batch(8, 9, "", r#","from":8,"del":[["a"]]"#)).expect("follows");
        assert_eq!(held(&fold), (r#"[["b",2]]"#.to_owned(), 9));
        fold.disconnect();
        fold.take(confirmed("snapshot")).expect("follows");
        assert_eq!(fold.take(part(0, true, "[]")), Ok(vec![Change::Reset]));
        assert_eq!(held(&fold), ("[]".to_owned(), 5));
    }
}
