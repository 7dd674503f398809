//! `rejects` against an oracle.

use crate::common::oracle::rejects::{Rejected, rows as oracle};
use crate::harness::{BASE, ByHand, cases, check};
use proptest::prelude::*;
use std::sync::Arc;
use timely::dataflow::operators::vec::Map as _;
use weir_dataflows::Config;
use weir_dataflows::context::Context;
use weir_dataflows::facts::{Late, Rows};
use weir_dataflows::input::{Position, Refusal, RejectKind, Text};
use weir_dataflows::keyed::{Collection, Updates};
use weir_dataflows::views::rejects::{Entry, Local, Rejects, render};

fn view<'s>(cx: &Context<'s>, data: Collection<'s, Rejected>) -> Rows<'s> {
    let refusals = data.clone().flat_map(|(datum, time, diff)| match datum {
        Rejected::Refusal(refusal) => Some((refusal, time, diff)),
        Rejected::Late(_) => None,
    });
    let late = data.flat_map(|(datum, time, diff)| match datum {
        Rejected::Late(late) => Some((late, time, diff)),
        Rejected::Refusal(_) => None,
    });
    render(cx, refusals, late)
}

fn history() -> impl Strategy<Value = Updates<Rejected>> {
    let kind = prop_oneof![
        2 => Just(RejectKind::Malformed), 1 => Just(RejectKind::Conflict), 2 => Just(RejectKind::Duplicate), 1 => Just(RejectKind::Late)
    ];
    let withdrawn = prop_oneof![2 => Just(None), 1 => (0u64..1_000).prop_map(Some)];
    prop::collection::vec((0u64..3_000, kind, 0u8..2, any::<bool>(), withdrawn), 0..50).prop_map(|items| {
        let mut updates = Vec::new();
        for (number, (tick, kind, project, refusal, withdrawn)) in items.into_iter().enumerate() {
            let (time, project) = (BASE + tick * 10, Text::from(format!("p{project}")));
            // Offsets that do not follow the ticks: the order is (tick, position).
            let position = Position {
                topic: 0,
                partition: u32::try_from(number % 3).expect("small"),
                offset: (number as u64) ^ 5,
                index: u32::try_from(number % 2).expect("small"),
            };
            let message = Text::from(format!("message {number}"));
            if kind == RejectKind::Late && !refusal {
                updates.push((Rejected::Late(Late { project: Arc::clone(&project) }), time, 1));
                updates.extend(withdrawn.map(|after| (Rejected::Late(Late { project }), time + after * 10, -1)));
            } else {
                let refusal = Refusal { position, kind, project, stream: "s".into(), message, expected: None };
                updates.push((Rejected::Refusal(Arc::new(refusal)), time, 1));
            }
        }
        updates
    })
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn rows_are_those_of_the_oracle_at_every_cadence_point(history in history(), seed: u64, limit in 1usize..12, memory in 5u64..60) {
        // Withdrawals wait for up to 10 s: some reach what was forgotten.
        let config = Config { rejects: limit, late_memory_ms: memory * 1_000, ..Config::default() };
        let points: Vec<u64> = (0..120).map(|second| BASE + second * 1_000).collect();
        let known = config.clone();
        check(seed, &config, history, &points, 1_000, view, move |updates, now| oracle(updates, now, &known))?;
    }

    #[test]
    fn state_written_down_goes_on_the_same(counts in prop::collection::vec((0u8..3, 1i64..5), 1..30), stop in 0usize..30) {
        let config = Arc::new(Config { rejects: 3, late_memory_ms: 7_000, ..Config::default() });
        let new = || Rejects::new(Arc::clone(&config));
        let (mut whole, mut broken) = (ByHand::new(new()), ByHand::new(new()));
        for (number, (project, count)) in counts.iter().enumerate() {
            let (time, project) = (BASE + number as u64 * 2_000, Text::from(format!("p{project}")));
            let position = Position { offset: number as u64, ..Position::default() };
            let refusal = Refusal { position, kind: RejectKind::Invalid, project: Arc::clone(&project), stream: "s".into(), message: "m".into(), expected: None };
            let data = vec![(Local::Count(project, RejectKind::Late, *count), 1), (Local::Row(time - 10, Arc::new(refusal)), 1)];
            whole.step(time, data.clone(), |_| 0);
            broken.step(time, data, |_| 0);
            if number == stop {
                broken.restore(vec![new()], |_: &Entry| 0);
            }
        }
        let end = BASE + 200_000;
        whole.step(end, Vec::new(), |_| 0);
        broken.step(end, Vec::new(), |_| 0);
        prop_assert_eq!(whole.out, broken.out);
    }
}
