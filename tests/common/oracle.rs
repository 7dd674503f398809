//! What clients of a server saw, held against an independent account: an engine of the test's own replays the server's log
//! through its bindings, and its frames, summed up by filter, say what every client must have seen at every time.

use crate::client::Fold;
use crate::client::rows::{row_of, wanted};
use crate::rig::{self, Logs, Running, server_config};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use weir_schemas::update::{Digest, Frame};
use weir_schemas::view::{VIEWS, view_index};

/// One view under one filter, and its digest at each time at which anybody saw it.
#[derive(Debug, Default)]
struct Watched {
    filters: Map<String, Value>,
    at: BTreeMap<u64, Digest>,
}

/// Everything that was seen of one epoch.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) epoch: String,
    /// By view and the JSON of the filters.
    watched: BTreeMap<(usize, String), Watched>,
}

impl Seen {
    /// What a client has whose subscriptions that move are exactly their views.
    pub(crate) fn fold(&mut self, fold: &Fold) {
        for kept in fold.kept.values().filter(|kept| kept.moving) {
            for (view, digest) in &kept.digests {
                self.note(&fold.epoch, fold.time, view, &kept.filters, *digest);
            }
        }
    }

    /// What `/v1/digests` said.
    pub(crate) fn digests(&mut self, said: &Value) {
        let (epoch, time) = place(said);
        for (view, digest) in said["views"].as_object().expect("by view") {
            let digest = u128::from_str_radix(digest.as_str().expect("is text"), 16).expect("is hexadecimal");
            self.note(epoch, time, view, &Map::new(), Digest(digest));
        }
    }

    /// What `/v1/views/{view}` said, of all its rows.
    pub(crate) fn page(&mut self, said: &Value) {
        let (epoch, time) = place(said);
        let view = said["view"].as_str().expect("is text");
        assert!(said["cursor"].is_null(), "{view} has more rows than a page");
        let mut digest = Digest::default();
        for row in said["rows"].as_array().expect("a list") {
            let row = row_of(VIEWS[view_index(view).expect("a view")], row.as_array().expect("a row"));
            digest.apply(&row, 1);
        }
        self.note(epoch, time, view, &Map::new(), digest);
    }

    fn note(&mut self, epoch: &str, time: u64, view: &str, filters: &Map<String, Value>, digest: Digest) {
        if self.epoch.is_empty() {
            epoch.clone_into(&mut self.epoch);
        }
        assert_eq!(self.epoch, epoch, "positions are of one epoch");
        if time == 0 {
            // Before the first tick of all, nothing is there.
            assert_eq!(digest, Digest::default(), "{view} {filters:?}");
            return;
        }
        let text = serde_json::to_string(filters).expect("JSON");
        let watched = self.watched.entry((view_index(view).expect("a view"), text)).or_default();
        watched.filters.clone_from(filters);
        let before = *watched.at.entry(time).or_insert(digest);
        assert_eq!(before, digest, "{view} {filters:?} at {time}: what was seen before and what is seen now");
    }

    /// How many digests were seen, and at how many times.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.watched.values().map(|watched| watched.at.len()).sum(), self.times().len())
    }

    fn times(&self) -> BTreeSet<u64> {
        self.watched.values().flat_map(|watched| watched.at.keys().copied()).collect()
    }

    /// Replays a copy of the data folder of a server that has ended, and holds all that was seen against it. Returns what
    /// the replay comes to.
    pub(crate) fn check(self: &Arc<Seen>, folder: &Path, workers: usize) -> Arc<rig::Fold> {
        let copy = tempfile::tempdir().expect("a folder");
        rig::copy(folder, copy.path());
        self.check_over(Logs::of_server(copy.path()).all(), workers)
    }

    /// The same over any logs that no server has open.
    pub(crate) fn check_over(self: &Arc<Seen>, logs: weir::engine::Logs, workers: usize) -> Arc<rig::Fold> {
        let account = Arc::new(Mutex::new(Account::new(self)));
        let (listening, seen) = (Arc::clone(&account), Arc::clone(self));
        let fold = rig::Fold::with(Box::new(move |frame| listening.lock().expect("no panic").frame(&seen, frame)));
        let engine = Running::over(server_config(workers), logs, fold);
        engine.fold.wait("the past is replayed", |folded| folded.live);
        // Views with a cadence are exact once a whole second has passed.
        let replayed = engine.fold.look(|folded| folded.time);
        engine.fold.wait("a second has passed", |folded| folded.time >= replayed + 1_000);
        let fold = engine.end();
        let account = account.lock().expect("no panic");
        let wrong: Vec<&String> = account.wrong.iter().take(10).collect();
        assert!(wrong.is_empty(), "with {workers} workers, {} differ, such as {wrong:#?}", account.wrong.len());
        let missing: Vec<u64> = self.times().into_iter().filter(|time| !account.times.contains(time)).collect();
        assert!(missing.is_empty(), "every time is a position with {workers} workers, but for {missing:?}");
        assert_eq!(account.checked, self.counts().0);
        fold.look(|folded| assert_eq!(folded.epoch, self.epoch));
        fold
    }
}

/// The replay's own digests.
struct Account {
    digests: Vec<Digest>,
    checked: usize,
    times: BTreeSet<u64>,
    wrong: Vec<String>,
}

impl Account {
    fn new(seen: &Seen) -> Account {
        Account {
            digests: vec![Digest::default(); seen.watched.len()],
            checked: 0,
            times: BTreeSet::new(),
            wrong: Vec::new(),
        }
    }

    fn frame(&mut self, seen: &Seen, frame: &Frame) {
        self.times.insert(frame.upper);
        for (((index, _), watched), digest) in seen.watched.iter().zip(&mut self.digests) {
            let view = VIEWS[*index];
            for update in &frame.views[*index].updates {
                if wanted(view, &update.row, &watched.filters) {
                    digest.apply(&update.row, update.diff);
                }
            }
            if let Some(shown) = watched.at.get(&frame.upper) {
                self.checked += 1;
                if shown != digest {
                    let Watched { filters, .. } = watched;
                    let said = format!("{} {filters:?} at {}: {shown}, not {digest}", view.name, frame.upper);
                    self.wrong.push(said);
                }
            }
        }
    }
}

fn place(said: &Value) -> (&str, u64) {
    (said["epoch"].as_str().expect("is text"), said["time"].as_u64().expect("is a number"))
}
