//! Texts and origins that are one piece of memory stay one when a state is written down and taken up.
//!
//! Contract: within [`sharing`], fields marked `#[serde(with = "crate::sharing::…")]` are written in full once a part and then by number,
//! and whoever reads the part gets one piece for all that had one. Outside of it each is written in full.
//!
//! # Invariants
//! What has a number is held until the part ends: an address is not another's as long as it is known here.
//!
//! # Cost
//! A look-up by address a field; 40 bytes a piece and part.

use crate::input::{Origin, Text};
use crate::map::Map;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;
use weir_schemas::id::Id;

/// What is known of one type in a part.
struct Table<T: ?Sized> {
    known: Vec<Arc<T>>,
    numbers: Map<Id, u32>,
}

impl<T: ?Sized> Default for Table<T> {
    fn default() -> Self {
        Table { known: Vec::new(), numbers: Map::default() }
    }
}

impl<T: ?Sized> Table<T> {
    /// The number of a piece that is known; one that is not is from now on.
    fn number(&mut self, piece: &Arc<T>) -> Option<u32> {
        let address = Id(Arc::as_ptr(piece).cast::<()>().addr() as u128);
        if let Some(number) = self.numbers.get(&address) {
            return Some(*number);
        }
        self.numbers.insert(address, u32::try_from(self.known.len()).ok()?);
        self.known.push(Arc::clone(piece));
        None
    }

    fn clear(&mut self) {
        self.known.clear();
        self.numbers.clear();
    }
}

/// What is known in a part.
#[derive(Default)]
pub(crate) struct Tables {
    texts: Table<str>,
    origins: Table<Origin>,
}

impl Tables {
    /// Another part begins.
    pub(crate) fn clear(&mut self) {
        self.texts.clear();
        self.origins.clear();
    }
}

thread_local! {
    /// Those of the part that this thread writes or reads.
    static TABLES: RefCell<Option<Tables>> = const { RefCell::new(None) };
}

/// Runs `run` while what it writes, or reads, shares what is in `tables`.
pub(crate) fn sharing<R>(tables: &mut Tables, run: impl FnOnce() -> R) -> R {
    let outer = TABLES.replace(Some(std::mem::take(tables)));
    let result = run();
    *tables = TABLES.replace(outer).unwrap_or_default();
    result
}

/// A piece in a part.
#[derive(Serialize, Deserialize)]
enum Shared<T> {
    New(T),
    Known(u32),
}

/// Writes a piece. `table`: where its type is known.
fn write<T, S, W>(
    piece: &Arc<T>,
    table: fn(&mut Tables) -> &mut Table<T>,
    full: impl FnOnce() -> W,
    serializer: S,
) -> Result<S::Ok, S::Error>
where
    T: ?Sized,
    S: Serializer,
    W: Serialize,
{
    let known = TABLES.with_borrow_mut(|tables| table(tables.as_mut()?).number(piece));
    known.map_or_else(|| Shared::New(full()), Shared::Known).serialize(serializer)
}

/// What a piece was read as.
fn read<T, E: serde::de::Error>(shared: Shared<Arc<T>>, table: fn(&mut Tables) -> &mut Table<T>) -> Result<Arc<T>, E>
where
    T: ?Sized,
{
    match shared {
        Shared::New(piece) => {
            TABLES.with_borrow_mut(|tables| {
                tables.iter_mut().for_each(|tables| table(tables).known.push(Arc::clone(&piece)));
            });
            Ok(piece)
        }
        Shared::Known(number) => TABLES
            .with_borrow_mut(|tables| table(tables.as_mut()?).known.get(number as usize).cloned())
            .ok_or_else(|| E::custom("a number of something that did not come before it")),
    }
}

/// For a [`Text`].
pub(crate) mod text {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(text: &Text, serializer: S) -> Result<S::Ok, S::Error> {
        write(text, |tables| &mut tables.texts, || Cow::Borrowed(&**text), serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        read(Shared::<Text>::deserialize(deserializer)?, |tables| &mut tables.texts)
    }
}

/// For a [`Text`] that may be absent.
pub(crate) mod maybe_text {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Field(#[serde(with = "super::text")] Text);

    #[expect(clippy::ref_option, reason = "as serde calls it")]
    pub(crate) fn serialize<S: Serializer>(text: &Option<Text>, serializer: S) -> Result<S::Ok, S::Error> {
        text.clone().map(Field).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Text>, D::Error> {
        Ok(Option::<Field>::deserialize(deserializer)?.map(|Field(text)| text))
    }
}

/// For an `Arc<Origin>`.
pub(crate) mod origin {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(origin: &Arc<Origin>, serializer: S) -> Result<S::Ok, S::Error> {
        write(origin, |tables| &mut tables.origins, || &**origin, serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<Origin>, D::Error> {
        read(Shared::<Arc<Origin>>::deserialize(deserializer)?, |tables| &mut tables.origins)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Two(#[serde(with = "super::text")] Text, #[serde(with = "super::origin")] Arc<Origin>);

    fn two(text: &Text, origin: &Arc<Origin>) -> Two {
        Two(Arc::clone(text), Arc::clone(origin))
    }

    #[test]
    fn what_was_one_piece_is_one_again_and_outside_of_a_part_all_is_written() {
        let (text, origin) = (Text::from("a text that is long"), Arc::new(Origin::default()));
        let (mut tables, mut part) = (Tables::default(), Vec::new());
        let all = [two(&text, &origin), two(&text, &origin), two(&Text::from("other"), &Arc::default())];
        let mut ends = Vec::new();
        for one in &all {
            let bytes = std::mem::take(&mut part);
            part = sharing(&mut tables, || postcard::to_extend(one, bytes)).expect("is written");
            ends.push(part.len());
        }
        assert!(ends[1] - ends[0] < 10 && ends[0] > 20, "{ends:?}");
        let (mut tables, mut rest, mut read) = (Tables::default(), &part[..], Vec::<Two>::new());
        while !rest.is_empty() {
            let (one, after) = sharing(&mut tables, || postcard::take_from_bytes(rest)).expect("is read");
            (rest, read) = (after, read.into_iter().chain([one]).collect());
        }
        assert_eq!(read, all);
        assert!(Arc::ptr_eq(&read[0].0, &read[1].0) && Arc::ptr_eq(&read[0].1, &read[1].1));
        assert!(!Arc::ptr_eq(&read[0].1, &read[2].1));
        let alone = postcard::to_allocvec(&all[1]).expect("is written");
        assert_eq!(postcard::from_bytes::<Two>(&alone).expect("is read"), all[1]);
        assert!(postcard::from_bytes::<Two>(&part[ends[0]..ends[1]]).is_err(), "a number needs its part");
    }
}
