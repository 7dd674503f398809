//! The embedded log's cost: appends made durable every 20 ms, then read back.
//!
//! Run: `cargo bench --bench log`. `WEIR_BENCH_RECORDS` (default 2,000,000) sets the size, `WEIR_BENCH_FOLDER` the disk.
//! The clock stops when the last record is durable. Two shapes: batches of 100, as an ingest request or the engine makes
//! them, and one record an append, where the cost of a commit's answer is the largest; the last line syncs as often as the
//! disk lets it, where every log is bound by the disk.

use bytes::Bytes;
use std::collections::VecDeque;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use weir::log::embedded::{Embedded, EmbeddedConfig};
use weir::log::{AppendError, Commit, Log, NewRecord};

const RECORD_BYTES: usize = 500;
/// Records that may be on their way; the bench waits for the oldest then.
const IN_FLIGHT: usize = 40_000;

fn main() -> Result<(), Box<dyn Error>> {
    let records: u64 = std::env::var("WEIR_BENCH_RECORDS").map_or(Ok(2_000_000), |records| records.parse())?;
    let folder = std::env::var_os("WEIR_BENCH_FOLDER").map_or_else(std::env::temp_dir, PathBuf::from);
    println!("{records} records of {RECORD_BYTES} B, 4 partitions, in {}", folder.display());
    let every_20_ms = Duration::from_millis(20);
    let (appended, read) = (
        run(&folder, "batches of 100, commit every 20 ms", records, 100, every_20_ms)?,
        run(&folder, "one by one, commit every 20 ms", records, 1, every_20_ms)?,
    );
    run(&folder, "batches of 100, a sync after the other", records / 4, 100, Duration::ZERO)?;
    println!("peak resident {:.1} MB", peak_resident_mb()?);
    println!("append: {:.0}/s and {:.0}/s (want 300,000)", appended.0, read.0);
    println!("replay: {:.0}/s and {:.0}/s (want 400,000)", appended.1, read.1);
    Ok(())
}

/// Appends, then reads back as the engine replays: by bindings, all partitions in turn. Returns both rates.
fn run(
    folder: &Path,
    what: &str,
    records: u64,
    batch: usize,
    commit_interval: Duration,
) -> Result<(f64, f64), Box<dyn Error>> {
    let folder = tempfile::tempdir_in(folder)?;
    let mut config = EmbeddedConfig::new(folder.path(), "bench");
    config.commit_interval = commit_interval;
    let (log, _) = Embedded::open(config.clone(), &mut |_, _| {})?;
    let (cpu, begun) = (cpu_us()?, Instant::now());
    append(&log, records, batch)?;
    let (seconds, cpu) = (begun.elapsed().as_secs_f64(), cpu_us()? - cpu);
    let append_rate = records as f64 / seconds;
    let stats = log.stats();
    println!("{what}");
    println!(
        "  append   {append_rate:>9.0} records/s   {:.2} µs CPU a record   {} commits, sync p50 ≤ {:.1} ms, p99 ≤ {:.1} ms",
        cpu / records as f64,
        stats.commits,
        stats.sync_quantile(0.5).as_secs_f64() * 1e3,
        stats.sync_quantile(0.99).as_secs_f64() * 1e3,
    );
    let ends = log.ends();
    drop(log);

    let begun = Instant::now();
    let (log, _) = Embedded::open(config, &mut |_, _| {})?;
    let opened = begun.elapsed();
    let (cpu, begun) = (cpu_us()?, Instant::now());
    let mut reader = log.reader(&log.starts())?;
    let (mut read, mut out) = (0, Vec::new());
    // A tick of 50 ms at 100,000 events/s.
    while reader.offsets() != ends {
        for partition in 0..log.partitions() {
            let end = (reader.offsets()[partition as usize] + 1_250).min(ends[partition as usize]);
            read += reader.read_partition(partition, end, &mut out)? as u64;
        }
        out.clear();
    }
    let replay_rate = read as f64 / begun.elapsed().as_secs_f64();
    println!(
        "  replay   {replay_rate:>9.0} records/s   {:.2} µs CPU a record   opened in {:.0} ms",
        (cpu_us()? - cpu) / records as f64,
        opened.as_secs_f64() * 1e3,
    );
    if read != records {
        return Err(format!("{read} of {records} records came back").into());
    }
    Ok((append_rate, replay_rate))
}

fn append(log: &Embedded, records: u64, batch: usize) -> Result<(), Box<dyn Error>> {
    let payload = Bytes::from((0..RECORD_BYTES).map(|n| (n % 251).to_le_bytes()[0]).collect::<Vec<u8>>());
    let mut commits: VecDeque<Commit> = VecDeque::new();
    let mut sent = 0;
    while sent < records {
        let count = records.min(sent + batch as u64) - sent;
        // The payload is copied, as if it had just been received.
        let new = |n: u64| NewRecord::new((n % 4) as u32, Bytes::copy_from_slice(&payload));
        match log.append((sent..sent + count).map(new).collect()) {
            Ok(commit) => {
                commits.push_back(commit);
                sent += count;
            }
            Err(AppendError::Busy) => {}
            Err(error) => return Err(error.into()),
        }
        while commits.len() * batch > IN_FLIGHT {
            if let Some(oldest) = commits.pop_front() {
                oldest.wait()?;
            }
        }
    }
    commits.into_iter().try_for_each(|commit| commit.wait().map(|_| ()))?;
    Ok(())
}

/// CPU time of this process so far, user and system, in µs.
fn cpu_us() -> Result<f64, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    let ticks: f64 = after_name.split(' ').skip(11).take(2).map(|ticks| ticks.parse().unwrap_or(0.0)).sum();
    // Linux counts these in hundredths of a second on every architecture that Rust's standard library supports.
    Ok(ticks * 10_000.0)
}

fn peak_resident_mb() -> Result<f64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}
