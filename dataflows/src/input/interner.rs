//! Shares strings, names and origins among the events that show them.
//!
//! Contract: what it gives is a function of the event and the limits alone; that equal texts are one piece of memory only saves
//! some, and shows in no result.
//!
//! # Cost
//! A hash and a look-up each for what an event names and for where it comes from.

use super::{Names, Origin, Text};
use crate::map::Map;
use std::borrow::Cow;
use std::sync::Arc;
use weir_schemas::event::{Severity, TestEvent};
use weir_schemas::id::{Id, run_id, shorten, test_name_text, test_text};
use weir_schemas::limits::{Limits, cut};

/// Shares strings, names and origins among the events that show them.
///
/// Two generations: when the young one is full it becomes the old one and the old one is dropped; whatever is still in
/// use is carried over when it is next seen. So memory is bounded and what is current stays shared.
pub struct Interner {
    texts: [Map<Id, Text>; 2],
    names: [Map<Id, Arc<Names>>; 2],
    origins: [Map<Id, Arc<Origin>>; 2],
    capacity: usize,
}

impl Default for Interner {
    fn default() -> Self {
        Interner::with_capacity(1 << 17)
    }
}

impl Interner {
    /// One that holds at most twice `capacity` strings, and as many names and origins.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Interner { texts: Default::default(), names: Default::default(), origins: Default::default(), capacity }
    }

    /// The shared form of a string.
    pub fn text(&mut self, text: &str) -> Text {
        shared(&mut self.texts, self.capacity, Id::of(&[text]), || Text::from(text))
    }

    /// The names of an event of `project`, which is cut already, and the identities behind them.
    pub(super) fn names(&mut self, project: &str, event: &TestEvent<'_>, limits: &Limits) -> Arc<Names> {
        let suite_name = event.data.test_suite_name.as_deref().filter(|name| !name.is_empty());
        let variant = event.metadata.variant.as_deref().unwrap_or_default();
        // What is empty is absent, so these seven say all.
        let words = [event.suite(), suite_name, event.test_id(), event.test_name()].map(Option::unwrap_or_default);
        let [suite, _, test_id, test_name] = words;
        let key = Id::of(&[project, event.run(), words[0], words[1], words[2], words[3], variant]);
        let Interner { texts, names, capacity, .. } = self;
        shared(names, *capacity, key, || {
            let test = match (test_id, test_name) {
                ("", "") => String::new(),
                ("", name) => test_name_text(project, suite, name, variant),
                (id, _) => test_text(id, variant, limits.name),
            };
            let suite = shorten(suite, limits.name);
            let suite_name = suite_name.map_or(Cow::Borrowed(&*suite), |name| cut(name, limits.name));
            let mut text = |text: &str| shared(texts, *capacity, Id::of(&[text]), || Text::from(text));
            Arc::new(Names {
                run_id: run_id(project, event.run()),
                suite_id: if suite.is_empty() { Id::default() } else { Id::of(&["suite", project, &suite]) },
                test_id: (!test.is_empty()).then(|| weir_schemas::id::test_id(project, &test)),
                project: text(project),
                run: text(event.run()),
                suite: text(&suite),
                suite_name: text(&suite_name),
                test: text(&test),
                test_name: text(&cut(test_name, limits.name)),
            })
        })
    }

    pub(super) fn origin(&mut self, event: &TestEvent<'_>, limits: &Limits) -> Arc<Origin> {
        let metadata = &event.metadata;
        let mut words: [&str; 9] = [""; 9];
        words[0] = &event.stream_id;
        words[1] = &metadata.project;
        words[2] = metadata.severity.map_or("", Severity::as_str);
        let optional = [
            &metadata.framework,
            &metadata.user_id,
            &metadata.branch,
            &metadata.commit,
            &metadata.worker,
            &metadata.shard,
        ];
        for (word, field) in words[3..].iter_mut().zip(optional) {
            // An absent field and an empty one are the same to every view.
            *word = field.as_deref().unwrap_or_default();
        }
        let mut key = Id::of(&words);
        for tag in metadata.tags.iter().take(limits.tags) {
            key = key.with(tag);
        }
        let name = |text: &str| Text::from(&*cut(text, limits.name));
        let some = |text: &str| if text.is_empty() { None } else { Some(name(text)) };
        shared(&mut self.origins, self.capacity, key, || {
            Arc::new(Origin {
                stream: Id::of(&["stream", &event.stream_id]),
                stream_name: Text::from(&*event.stream_id),
                project: name(words[1]),
                framework: some(words[3]),
                user: some(words[4]),
                branch: some(words[5]),
                commit: some(words[6]),
                worker: some(words[7]),
                shard: some(words[8]),
                severity: metadata.severity,
                tags: metadata.tags.iter().take(limits.tags).map(|tag| name(tag)).collect(),
            })
        })
    }
}

fn shared<V: Clone>(generations: &mut [Map<Id, V>; 2], capacity: usize, key: Id, make: impl FnOnce() -> V) -> V {
    let [young, old] = generations;
    if let Some(value) = young.get(&key) {
        return value.clone();
    }
    let value = old.get(&key).cloned().unwrap_or_else(make);
    if young.len() >= capacity {
        // The old one's memory becomes the young one's.
        std::mem::swap(young, old);
        young.clear();
    }
    young.insert(key, value.clone());
    value
}
