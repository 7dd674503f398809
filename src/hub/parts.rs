//! A snapshot as messages: parts of bounded size, written one at a time when the client can take one.

use crate::hub::encoding::{PART_BYTES, PartHead, close_part, open_part};
use crate::hub::query::Query;
use crate::hub::scan::Snapshot;
use std::collections::VecDeque;
use std::sync::Arc;
use weir_schemas::row::Row;
use weir_schemas::view::View;

/// Room for a separator and the end of a part.
const CLOSING_BYTES: usize = 24;

/// The parts of a snapshot that are not written yet; rows leave memory as they are written.
#[derive(Debug)]
pub struct Parts {
    epoch: Arc<str>,
    time: u64,
    views: VecDeque<(&'static View, std::vec::IntoIter<Row>)>,
    next: u32,
}

impl Parts {
    /// All parts of a snapshot; at least one.
    #[must_use]
    pub fn new(snapshot: Snapshot) -> Parts {
        let mut views: VecDeque<_> = snapshot.views.into_iter().map(|(view, rows)| (view, rows.into_iter())).collect();
        let first = views.front().map(|(view, _)| *view);
        views.retain(|(_, rows)| rows.len() > 0);
        if let (true, Some(view)) = (views.is_empty(), first) {
            views.push_back((view, Vec::new().into_iter()));
        }
        Parts { epoch: snapshot.epoch, time: snapshot.time, views, next: 0 }
    }

    /// When the rows held.
    #[must_use]
    pub fn time(&self) -> u64 {
        self.time
    }

    /// The next part and the number of its rows; `None` after the last.
    pub fn next_part(&mut self, subscription_id: &str, query: &Query) -> Option<(String, usize)> {
        let (view, rows) = self.views.front_mut()?;
        let mut text = open_part(PartHead {
            subscription_id,
            subscription: &query.name,
            view: view.name,
            epoch: &self.epoch,
            time: self.time,
            part: self.next,
        });
        let (mut row_json, mut count) = (String::new(), 0);
        while let Some(row) = rows.as_slice().first() {
            row_json.clear();
            row.write_json(view, &mut row_json);
            if count > 0 && text.len() + row_json.len() + CLOSING_BYTES > PART_BYTES {
                break;
            }
            if count > 0 {
                text.push(',');
            }
            text.push_str(&row_json);
            rows.next();
            count += 1;
        }
        if rows.len() == 0 {
            self.views.pop_front();
        }
        close_part(&mut text, self.views.is_empty());
        self.next += 1;
        Some((text, count))
    }
}
