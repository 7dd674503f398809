//! Snapshots of the engine's state over real logs: a life that goes on from one shows what one that replays everything does, for
//! any number of workers; what cannot be used is passed over, and a log that was shortened behind one is no loss.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail as the test does")]

#[path = "common/engine.rs"]
mod rig;

use rig::{Folded, Load, Logs, Running, config, counted, with_snapshots};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use weir::engine::snapshots::{Rule, Snapshot, Store};
use weir::engine::{Body, EngineConfig, Entry};
use weir::log::{Log, NewRecord};
use weir_schemas::update::Digest;

fn store(folder: &Path) -> Store {
    Store::open(&folder.join("snapshots"), Rule { keep: 2, span_ms: 0 }).unwrap()
}

/// The snapshots below a folder, the newest first.
fn snapshots(folder: &Path) -> Vec<Snapshot> {
    store(folder).all().unwrap().into_iter().map(Result::unwrap).collect()
}

/// Waits until a snapshot of a tick at or after this one was made.
fn wait_for_snapshot(engine: &Running, from: u64) -> u64 {
    engine.fold.wait("a snapshot is made", |_| engine.status.get().snapshot_at >= from);
    engine.status.get().snapshot_at
}

/// One life under load, which ends in order once it has made a snapshot of what it was given. Gives what it showed.
fn live(folder: &Path, logs: &Logs, load: &mut Load, config: EngineConfig) -> (Folded, u64) {
    let engine = Running::live(with_snapshots(config, folder, 0), logs);
    for _ in 0..4 {
        engine.wait_released(&logs.append(&load.next(500)));
    }
    let shown_at = engine.fold.look(|folded| folded.time);
    let snapshot_at = wait_for_snapshot(&engine, shown_at);
    // And something that is in none.
    engine.wait_released(&logs.append(&load.next(500)));
    let fold = engine.end();
    (std::sync::Arc::into_inner(fold).unwrap().into_folded(), snapshot_at)
}

/// What a life without snapshots shows of a copy of a folder of logs.
fn replayed(folder: &Path, workers: usize) -> Folded {
    let copied = tempfile::tempdir().unwrap();
    rig::copy(folder, copied.path());
    let logs = Logs::open(copied.path());
    let fold = Running::live(config(workers), &logs).end();
    std::sync::Arc::into_inner(fold).unwrap().into_folded()
}

fn assert_known(history: &BTreeMap<u64, Vec<Digest>>, of: &BTreeMap<u64, Vec<Digest>>, which: &str) {
    for (time, digests) in of {
        assert_eq!(history.get(time), Some(digests), "{which}: position {time}");
    }
}

#[test]
fn a_life_that_goes_on_from_a_snapshot_shows_what_one_that_replays_everything_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut load = Load::new(3, 3_000);
    let (mut lives, mut last_snapshot) = (Vec::new(), 0);
    for workers in [2, 2, 1, 4] {
        let logs = Logs::open(folder.path());
        let (folded, snapshot_at) = live(folder.path(), &logs, &mut load, config(workers));
        assert_eq!(folded.restored_at, last_snapshot, "goes on from the newest one");
        assert!(folded.history.keys().all(|time| *time > folded.restored_at), "and replays nothing before it");
        last_snapshot = snapshots(folder.path())[0].manifest.cut.tick;
        assert!(last_snapshot >= snapshot_at);
        assert!(folded.rows.iter().map(BTreeSet::len).sum::<usize>() > 100);
        lives.push(folded);
    }
    let whole = replayed(folder.path(), 2);
    assert!(whole.restored_at == 0 && whole.history.len() > 20);
    for (life, folded) in lives.iter().enumerate() {
        assert_known(&whole.history, &folded.history, &format!("life {life}"));
        assert_eq!(folded.epoch, whole.epoch, "life {life}");
    }
}

#[test]
fn while_none_is_old_enough_a_short_log_is_replayed_so_that_the_ring_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::open(folder.path());
    let span = 3_600_000;
    let engine = Running::live(with_snapshots(config(2), folder.path(), span), &logs);
    engine.wait_released(&logs.append(&[counted("s", 1)]));
    wait_for_snapshot(&engine, 1);
    let first = engine.end().look(|folded| *folded.history.keys().next().unwrap());
    let fold = Running::live(with_snapshots(config(2), folder.path(), span), &logs).end();
    fold.look(|folded| {
        assert_eq!((folded.restored_at, *folded.history.keys().next().unwrap()), (0, first));
        assert_eq!(folded.sum("run_progress", "counted", "finished"), 1);
    });
}

#[test]
fn an_older_one_is_taken_whose_frames_fill_the_ring() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::open(folder.path());
    let span = 2_500;
    let engine = Running::live(with_snapshots(config(2), folder.path(), span), &logs);
    engine.wait_released(&logs.append(&[counted("s", 1)]));
    let first = wait_for_snapshot(&engine, 1);
    wait_for_snapshot(&engine, first + 5_000);
    let last = engine.end().look(|folded| folded.time);
    let kept: Vec<u64> = snapshots(folder.path()).iter().map(|snapshot| snapshot.manifest.cut.tick).collect();
    assert!(kept[0] - kept[kept.len() - 1] >= span && kept.len() < 6, "{kept:?}");
    let fold = Running::live(with_snapshots(config(2), folder.path(), span), &logs).end();
    let restored_at = fold.look(|folded| folded.restored_at);
    let wanted = kept.iter().copied().find(|tick| tick + span <= last).unwrap();
    assert_eq!(restored_at, wanted, "of {kept:?}, the last tick is {last}");
}

/// Changes a byte in the middle of a file.
fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn what_is_damaged_or_of_another_configuration_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let mut load = Load::new(5, 2_000);
    // The last position that is bound: whoever replays the logs comes to it.
    let mut last = 0;
    for _ in 0..2 {
        let logs = Logs::open(folder.path());
        last = live(folder.path(), &logs, &mut load, config(2)).0.time;
    }
    let whole = replayed(folder.path(), 1);
    let made = snapshots(folder.path());
    assert_eq!(made.len(), 2);
    let file = |snapshot: &Snapshot, name: &str| snapshot.folder().join(name);
    // A copy for each case, since a life changes the folder.
    let restored = |change: &dyn Fn(&[Snapshot]), config: EngineConfig| {
        let copied = tempfile::tempdir().unwrap();
        rig::copy(folder.path(), copied.path());
        change(&snapshots(copied.path()));
        let logs = Logs::open(copied.path());
        let fold = Running::live(with_snapshots(config, copied.path(), 0), &logs).end();
        fold.look(|folded| {
            let bound = folded.history.range(..=last);
            assert_eq!(bound.clone().next_back().map(|(time, _)| *time), Some(last));
            for (time, digests) in bound.filter(|_| folded.epoch == whole.epoch) {
                assert_eq!(whole.history.get(time), Some(digests), "position {time}");
            }
            folded.restored_at
        })
    };
    let ticks = [made[0].manifest.cut.tick, made[1].manifest.cut.tick];
    assert_eq!(restored(&|_| {}, config(2)), ticks[0]);
    assert_eq!(restored(&|made| damage(&file(&made[0], "states-1")), config(2)), ticks[1]);
    assert_eq!(restored(&|made| damage(&file(&made[0], "rows")), config(2)), ticks[1]);
    assert_eq!(restored(&|made| std::fs::remove_file(file(&made[0], "states-0")).unwrap(), config(2)), ticks[1]);
    assert_eq!(restored(&|made| damage(&file(&made[0], "manifest.json")), config(2)), ticks[1]);
    let all = |made: &[Snapshot]| made.iter().for_each(|snapshot| damage(&file(snapshot, "rows")));
    assert_eq!(restored(&all, config(2)), 0, "replays the log");
    // Rows that are whole, and not those of the state.
    let exchanged = |made: &[Snapshot]| {
        let mut manifest = made[0].manifest.clone();
        manifest.views[0].digest ^= 1;
        std::fs::write(file(&made[0], "manifest.json"), manifest.encode()).unwrap();
    };
    assert_eq!(restored(&exchanged, config(2)), ticks[1]);
    let dataflow = weir_dataflows::Config { slow_tests: 7, ..weir_dataflows::Config::default() };
    assert_eq!(restored(&|_| {}, EngineConfig { dataflow, ..config(2) }), 0, "another configuration");
}

#[test]
fn a_log_that_was_shortened_behind_a_snapshot_is_no_loss() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::with(folder.path(), 4_000);
    let engine = Running::live(with_snapshots(config(2), folder.path(), 0), &logs);
    for number in 1..=60 {
        engine.wait_released(&logs.append(&[counted("s", number)]));
    }
    // So that both that are kept have it all.
    let shown_at = engine.fold.look(|folded| folded.time);
    let first = wait_for_snapshot(&engine, shown_at);
    wait_for_snapshot(&engine, first + 1);
    let fold = engine.end();
    let (epoch, floor) = (fold.look(|folded| folded.epoch.clone()), snapshots(folder.path()).pop().unwrap());
    let mut floors = logs.events.starts();
    for position in floor.manifest.cut.positions.iter().filter(|position| position.topic == 0) {
        floors[position.partition as usize] = position.next_offset;
    }
    logs.events.retain(u64::MAX, &floors).unwrap();
    logs.bindings.retain(u64::MAX, &[floor.manifest.cut.bindings_offset]).unwrap();
    assert!(logs.events.starts().iter().any(|start| *start > 0) && logs.bindings.starts()[0] > 0);
    let finished = |folded: &Folded| folded.sum("run_progress", "counted", "finished");
    let engine = Running::live(with_snapshots(config(1), folder.path(), 0), &logs);
    engine.wait_released(&logs.append(&[counted("s", 61)]));
    engine.end().look(|folded| {
        assert_eq!((finished(folded), &folded.epoch), (61, &epoch), "all of the past, in the same epoch");
        assert!(folded.restored_at > 0);
    });
    // Without it, the past begins where the log does.
    let engine = Running::live(config(1), &logs);
    engine.wait_released(&logs.append(&[counted("s", 62)]));
    engine.end().look(|folded| {
        assert!(finished(folded) < 61 && folded.epoch != epoch, "{}", finished(folded));
    });
}

#[test]
fn one_whose_log_has_lost_what_follows_it_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::with(folder.path(), 4_000);
    let engine = Running::live(with_snapshots(config(2), folder.path(), 0), &logs);
    wait_for_snapshot(&engine, 1);
    engine.end();
    let kept = tempfile::tempdir().unwrap();
    rig::copy(&folder.path().join("snapshots"), &kept.path().join("snapshots"));
    assert!(!snapshots(kept.path()).is_empty());
    let engine = Running::live(config(1), &logs);
    for number in 1..=60 {
        engine.wait_released(&logs.append(&[counted("s", number)]));
    }
    engine.end();
    logs.events.retain(u64::MAX, &logs.events.ends()).unwrap();
    assert!(logs.events.starts().iter().any(|start| *start > 0));
    let fold = Running::live(with_snapshots(config(1), kept.path(), 0), &logs).end();
    fold.look(|folded| assert_eq!(folded.restored_at, 0));
}

#[test]
fn a_folder_that_cannot_be_written_costs_nothing_but_the_snapshots() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::open(folder.path());
    let engine = Running::live(with_snapshots(config(2), folder.path(), 0), &logs);
    wait_for_snapshot(&engine, 1);
    std::fs::remove_dir_all(folder.path().join("snapshots")).unwrap();
    std::fs::write(folder.path().join("snapshots"), b"in the way").unwrap();
    let failures = || {
        let text = weir::telemetry::metrics().render();
        text.lines().any(|line| line.starts_with("weir_snapshot_failures_total "))
    };
    engine.fold.wait("one fails", |_| failures());
    engine.wait_released(&logs.append(&[counted("s", 1)]));
    let before = engine.status.get().snapshot_at;
    std::fs::remove_file(folder.path().join("snapshots")).unwrap();
    std::fs::create_dir(folder.path().join("snapshots")).unwrap();
    assert!(wait_for_snapshot(&engine, before + 1) > before, "and the next one is made once it can be");
    engine.end().look(|folded| assert_eq!(folded.sum("run_progress", "counted", "finished"), 1));
}

#[test]
fn what_a_fenced_incarnation_did_not_release_is_in_no_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::open(folder.path());
    let engine = Running::live(with_snapshots(config(2), folder.path(), 0), &logs);
    engine.wait_released(&logs.append(&[counted("before", 1)]));
    wait_for_snapshot(&engine, 1);
    let newer = Entry { incarnation: 42, body: Body::Start { topics: Vec::new() } }.encode();
    logs.bindings.append(vec![NewRecord::new(0, newer.into())]).unwrap().wait().unwrap();
    logs.append(&[counted("after", 1)]);
    let (_, fold) = engine.fails();
    let released = fold.look(|folded| folded.time);
    let made = snapshots(folder.path());
    assert!(made.iter().all(|snapshot| snapshot.manifest.cut.tick < released), "released up to {released}");
    let engine = Running::live(with_snapshots(config(2), folder.path(), 0), &logs);
    engine.wait_released(&logs.append(&[counted("last", 1)]));
    engine.end().look(|folded| {
        assert!(folded.restored_at > 0);
        assert_eq!(folded.sum("run_progress", "counted", "finished"), 3);
    });
}
