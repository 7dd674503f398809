//! Which alert rules hold for a project: its own, those for all projects, and the built-in ones, by id in this order.
//!
//! Contract: a rule hides those of its id that come after it, whatever view they look at; one that is disabled only hides.
//!
//! # Cost
//! A lookup is one tree operation. A list a project that has rules of its own and view; made anew when rules change.

use super::watch::Watch;
use crate::input::Text;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weir_schemas::control::{ControlChange, ControlRecord, builtin};
use weir_schemas::view::{VIEWS, view_index};

type ById = BTreeMap<Text, Arc<Watch>>;
type ByView = Vec<Vec<Arc<Watch>>>;

/// Alert rules by project and id; the project of those that hold for all is empty.
#[derive(Clone, Debug)]
pub struct Rules {
    builtin: ById,
    /// What people have put.
    said: BTreeMap<Text, BTreeMap<Text, Arc<ControlRecord>>>,
    watches: BTreeMap<Text, ById>,
    /// Those that can fire, by view, of projects that have rules of their own and (empty) of all others.
    lists: BTreeMap<Text, ByView>,
    /// By view, whether any project has a rule that can fire for its rows.
    looked_at: Vec<bool>,
}

impl Default for Rules {
    fn default() -> Self {
        Rules::new()
    }
}

impl Rules {
    /// The built-in ones.
    #[must_use]
    pub fn new() -> Rules {
        let watch = |(id, rule)| Some((Text::from(id), Arc::new(Watch::new(id, &rule)?)));
        let builtin = builtin::alerts().into_iter().filter_map(watch).collect();
        let (said, watches, lists, looked_at) = Default::default();
        let mut rules = Rules { builtin, said, watches, lists, looked_at };
        rules.list();
        rules
    }

    /// Takes in what is said to hold, or is taken back; what is no alert rule is left out. Call [`Rules::list`] afterwards.
    pub fn say(&mut self, record: &Arc<ControlRecord>, holds: bool) {
        let (project, id) = (Text::from(&*record.project), Text::from(&*record.id));
        let watch = match &record.change {
            ControlChange::Alert(rule) if holds => Watch::new(&record.id, rule),
            _ => None,
        };
        match watch {
            Some(watch) => {
                self.said.entry(Arc::clone(&project)).or_default().insert(Arc::clone(&id), Arc::clone(record));
                self.watches.entry(project).or_default().insert(id, Arc::new(watch));
            }
            None => {
                forget(&mut self.said, &project, &id);
                forget(&mut self.watches, &project, &id);
            }
        }
    }

    /// Makes the lists by which rules are looked up.
    pub fn list(&mut self) {
        let projects: BTreeSet<Text> = self.watches.keys().cloned().chain([Text::from("")]).collect();
        let ids = |project: &Text| -> BTreeSet<&Text> {
            let own = self.watches.get(project).into_iter().flat_map(BTreeMap::keys);
            let all = self.watches.get("").into_iter().flat_map(BTreeMap::keys);
            own.chain(all).chain(self.builtin.keys()).collect()
        };
        let list = |project: &Text| {
            let mut by_view: ByView = vec![Vec::new(); VIEWS.len()];
            for watch in ids(project).into_iter().filter_map(|id| self.of(project, id)) {
                if let Some(index) = view_index(watch.view().name) {
                    by_view[index].push(Arc::clone(watch));
                }
            }
            by_view
        };
        self.lists = projects.iter().map(|project| (Arc::clone(project), list(project))).collect();
        let any = |view: usize| self.lists.values().any(|by_view| !by_view[view].is_empty());
        self.looked_at = (0..VIEWS.len()).map(any).collect();
    }

    /// Whether any rule of any project can fire for rows of a view.
    #[must_use]
    pub fn look_at(&self, view: usize) -> bool {
        self.looked_at[view]
    }

    /// The rule of an id that holds for a project, if it can fire.
    #[must_use]
    pub fn of(&self, project: &str, id: &str) -> Option<&Arc<Watch>> {
        let said = |project: &str| self.watches.get(project).and_then(|rules| rules.get(id));
        let holds = said(project).or_else(|| said("")).or_else(|| self.builtin.get(id));
        holds.filter(|watch| !watch.disabled())
    }

    /// The rules that can fire for rows of a project in a view, by id.
    #[must_use]
    pub fn over(&self, project: &str, view: usize) -> &[Arc<Watch>] {
        let list = self.lists.get(project).or_else(|| self.lists.get(""));
        list.and_then(|by_view| by_view.get(view)).map_or(&[], Vec::as_slice)
    }

    /// What people have put.
    pub fn said(&self) -> impl Iterator<Item = &Arc<ControlRecord>> {
        self.said.values().flat_map(BTreeMap::values)
    }
}

fn forget<V>(by_project: &mut BTreeMap<Text, BTreeMap<Text, V>>, project: &Text, id: &Text) {
    if let Some(rules) = by_project.get_mut(project) {
        rules.remove(id);
        if rules.is_empty() {
            by_project.remove(project);
        }
    }
}
