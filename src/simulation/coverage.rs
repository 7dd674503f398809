//! What the tests of a simulated suite cover: the file that they are about, and a part of the project's common one.
//!
//! Contract: a suite always runs over the same lines of its file, but for a few that depend on the run; of the common file each suite
//! runs over other lines, so that a run's coverage grows with every suite, on whatever shard.

use super::catalogue::Project;
use super::dice::Dice;
use weir_schemas::event::{CoverageData, CoverageFile};
use weir_schemas::id::Id;
use weir_schemas::lines::Lines;

/// Lines that a test runs over, or does not, together.
const BLOCK: u32 = 8;
/// Blocks of the common file.
const COMMON_BLOCKS: u32 = 60;

/// What a run of a suite covers.
pub(super) fn coverage(project: &Project, suite: usize, dice: &mut Dice) -> CoverageData<'static> {
    let name = &*project.suites[suite].name;
    let hash = |what: &str, block: u32| Id::of(&[what, name, &block.to_string()]).route();
    let blocks = 10 + u32::try_from(hash("size", 0) % 40).unwrap_or(0);
    let own = (0..blocks).filter(|block| hash("own", *block) % 100 < 86 && !dice.chance(10_000)).collect();
    let common = (0..COMMON_BLOCKS).filter(|block| hash("common", *block) % 100 < 12).collect();
    let flag = if project.framework == "playwright" { "e2e" } else { "unit" };
    let subject = format!("src/{}", project.suites[suite].word);
    CoverageData {
        files: vec![file(subject, blocks, own), file("src/common".to_owned(), COMMON_BLOCKS, common)],
        flag: Some(flag.into()),
        ..CoverageData::default()
    }
}

/// A file of so many blocks, each with a line that does not count at its end, of which some are covered.
fn file(path: String, blocks: u32, covered: Vec<u32>) -> CoverageFile<'static> {
    let lines = |blocks: &mut dyn Iterator<Item = u32>| -> Lines {
        blocks.map(|block| (block * BLOCK + 1, block * BLOCK + BLOCK - 1)).collect()
    };
    CoverageFile {
        path: path.into(),
        covered: lines(&mut covered.into_iter()).to_string().into(),
        instrumented: lines(&mut (0..blocks)).to_string().into(),
    }
}
