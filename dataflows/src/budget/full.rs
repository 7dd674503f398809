//! Who has no room for new keys of a kind, as a worker was last told.

use super::Room;
use crate::input::Text;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// See the module. The same on every worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Full {
    all: bool,
    projects: BTreeSet<Text>,
}

impl Full {
    /// Takes in what was decided.
    pub fn apply(&mut self, room: &Room) {
        match &room.project {
            None => self.all = room.full,
            Some(project) if room.full => {
                self.projects.insert(Text::clone(project));
            }
            Some(project) => {
                self.projects.remove(project);
            }
        }
    }

    /// Whether new keys of a project are left out. Asked for each event, and hardly ever so.
    #[must_use]
    #[inline]
    pub fn leaves_out(&self, project: &str) -> bool {
        self.all || !self.projects.is_empty() && self.projects.contains(project)
    }
}
