//! What a CI system says about the run in its environment.
//!
//! Contract: [`read`] takes the environment as data and returns what the first known CI system in it says. Where several
//! variables are named, the first that is set counts. The table is also what `weir send --help` shows.
//!
//! To add a CI system: one entry of [`SYSTEMS`].

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What is known of the run that is being reported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The project.
    pub project: Option<String>,
    /// The run: the same for all jobs of a pipeline.
    pub run: Option<String>,
    /// The branch that was tested; of a pull request the one that it comes from.
    pub branch: Option<String>,
    /// The commit that was tested.
    pub commit: Option<String>,
    /// The shard, as `2/4`, or the job's name.
    pub shard: Option<String>,
    /// Which try of the job this is, from 1.
    pub attempt: Option<String>,
    /// Who started it.
    pub user: Option<String>,
    /// The machine.
    pub worker: Option<String>,
    /// The repository's root on it.
    pub root: Option<String>,
}

/// A CI system, and where it says what. `{NAME}` stands for a variable, `{NAME+1}` for one that counts from 0.
struct System {
    name: &'static str,
    /// Set in every job of this system.
    mark: &'static str,
    project: &'static [&'static str],
    run: &'static [&'static str],
    branch: &'static [&'static str],
    commit: &'static [&'static str],
    shard: &'static [&'static str],
    attempt: &'static [&'static str],
    user: &'static [&'static str],
    worker: &'static [&'static str],
    root: &'static [&'static str],
}

const SYSTEMS: [System; 4] = [
    System {
        name: "GitHub Actions",
        mark: "GITHUB_ACTIONS",
        project: &["{GITHUB_REPOSITORY}"],
        run: &["{GITHUB_RUN_ID}"],
        branch: &["{GITHUB_HEAD_REF}", "{GITHUB_REF_NAME}"],
        commit: &["{GITHUB_SHA}"],
        shard: &["{GITHUB_JOB}"],
        attempt: &["{GITHUB_RUN_ATTEMPT}"],
        user: &["{GITHUB_ACTOR}"],
        worker: &["{RUNNER_NAME}"],
        root: &["{GITHUB_WORKSPACE}"],
    },
    System {
        name: "GitLab CI",
        mark: "GITLAB_CI",
        project: &["{CI_PROJECT_PATH}"],
        run: &["{CI_PIPELINE_ID}"],
        branch: &["{CI_MERGE_REQUEST_SOURCE_BRANCH_NAME}", "{CI_COMMIT_REF_NAME}"],
        commit: &["{CI_COMMIT_SHA}"],
        shard: &["{CI_NODE_INDEX}/{CI_NODE_TOTAL}", "{CI_JOB_NAME}"],
        attempt: &[],
        user: &["{GITLAB_USER_LOGIN}"],
        worker: &["{CI_RUNNER_DESCRIPTION}"],
        root: &["{CI_PROJECT_DIR}"],
    },
    System {
        name: "Jenkins",
        mark: "JENKINS_URL",
        project: &["{JOB_NAME}"],
        run: &["{BUILD_TAG}", "{JOB_NAME}-{BUILD_NUMBER}"],
        branch: &["{CHANGE_BRANCH}", "{BRANCH_NAME}", "{GIT_BRANCH}"],
        commit: &["{GIT_COMMIT}"],
        shard: &["{STAGE_NAME}"],
        attempt: &[],
        user: &["{BUILD_USER_ID}", "{CHANGE_AUTHOR}"],
        worker: &["{NODE_NAME}"],
        root: &["{WORKSPACE}"],
    },
    System {
        name: "Buildkite",
        mark: "BUILDKITE",
        project: &["{BUILDKITE_PIPELINE_SLUG}"],
        run: &["{BUILDKITE_PIPELINE_SLUG}-{BUILDKITE_BUILD_NUMBER}"],
        branch: &["{BUILDKITE_BRANCH}"],
        commit: &["{BUILDKITE_COMMIT}"],
        shard: &["{BUILDKITE_PARALLEL_JOB+1}/{BUILDKITE_PARALLEL_JOB_COUNT}", "{BUILDKITE_STEP_KEY}"],
        attempt: &["{BUILDKITE_RETRY_COUNT+1}"],
        user: &["{BUILDKITE_BUILD_CREATOR}"],
        worker: &["{BUILDKITE_AGENT_NAME}"],
        root: &["{BUILDKITE_BUILD_CHECKOUT_PATH}"],
    },
];

/// What the environment says of the run; nothing outside the known CI systems.
pub fn read(environment: &BTreeMap<String, String>) -> Origin {
    let Some(system) = SYSTEMS.iter().find(|system| set(environment, system.mark).is_some()) else {
        return Origin::default();
    };
    let first = |templates: &[&str]| templates.iter().find_map(|template| fill(template, environment));
    let branch = first(system.branch);
    Origin {
        project: first(system.project).map(|project| without_branch(project, environment)),
        run: first(system.run),
        // Jenkins names the remote as well.
        branch: branch.map(|branch| branch.strip_prefix("origin/").map_or(branch.clone(), str::to_owned)),
        // Buildkite says so until the agent has resolved it.
        commit: first(system.commit).filter(|commit| commit != "HEAD"),
        shard: first(system.shard),
        attempt: first(system.attempt),
        user: first(system.user),
        worker: first(system.worker),
        root: first(system.root),
    }
}

/// The table for the help text.
pub fn table() -> String {
    let mut out = "Read from the CI system's variables unless given:\n".to_owned();
    for system in &SYSTEMS {
        let lines = [
            ("project", system.project),
            ("run", system.run),
            ("branch", system.branch),
            ("commit", system.commit),
            ("shard", system.shard),
            ("attempt", system.attempt),
            ("user", system.user),
            ("worker", system.worker),
            ("root", system.root),
        ];
        // Writing to a string cannot fail.
        let _written = writeln!(out, "  {} (where {} is set)", system.name, system.mark);
        for (what, templates) in lines.iter().filter(|(_, templates)| !templates.is_empty()) {
            let _written = writeln!(out, "    {what:8} {}", templates.join(", else ").replace(['{', '}'], ""));
        }
    }
    out
}

fn set<'e>(environment: &'e BTreeMap<String, String>, name: &str) -> Option<&'e str> {
    environment.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
}

/// A template with its variables filled in; nothing when one of them is not set.
fn fill(template: &str, environment: &BTreeMap<String, String>) -> Option<String> {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}')?;
        out.push_str(before);
        match name.strip_suffix("+1") {
            Some(name) => out.push_str(&(set(environment, name)?.parse::<u32>().ok()?.checked_add(1)?).to_string()),
            None => out.push_str(set(environment, name)?),
        }
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

/// A multibranch job of Jenkins is named after project and branch: the branch is no part of the project.
fn without_branch(project: String, environment: &BTreeMap<String, String>) -> String {
    let branch = set(environment, "BRANCH_NAME").map(|branch| branch.replace('/', "%2F"));
    match branch.and_then(|branch| project.strip_suffix(&format!("/{branch}")).map(str::to_owned)) {
        Some(shorter) if set(environment, "JENKINS_URL").is_some() => shorter,
        _ => project,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn origin(parts: [&str; 8]) -> Origin {
        let [project, run, branch, commit, shard, attempt, user, worker] =
            parts.map(|part| (!part.is_empty()).then(|| part.to_owned()));
        Origin { project, run, branch, commit, shard, attempt, user, worker, root: None }
    }

    #[test]
    fn github_names_the_branch_that_a_pull_request_comes_from() {
        let mut vars = environment(&[
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_REPOSITORY", "acme/web"),
            ("GITHUB_RUN_ID", "9182736455"),
            ("GITHUB_RUN_ATTEMPT", "2"),
            ("GITHUB_REF_NAME", "17/merge"),
            ("GITHUB_HEAD_REF", "fix/rounding"),
            ("GITHUB_SHA", "0f9e8d"),
            ("GITHUB_JOB", "unit"),
            ("GITHUB_ACTOR", "ann"),
            ("RUNNER_NAME", "runner-7"),
        ]);
        let expected = origin(["acme/web", "9182736455", "fix/rounding", "0f9e8d", "unit", "2", "ann", "runner-7"]);
        assert_eq!(read(&vars), expected);
        vars.insert("GITHUB_HEAD_REF".to_owned(), String::new());
        vars.insert("GITHUB_REF_NAME".to_owned(), "main".to_owned());
        assert_eq!(read(&vars).branch.as_deref(), Some("main"), "outside pull requests it is set and empty");
        vars.insert("GITHUB_WORKSPACE".to_owned(), "/home/runner/work/web/web".to_owned());
        assert_eq!(read(&vars).root.as_deref(), Some("/home/runner/work/web/web"));
    }

    #[test]
    fn gitlab_counts_parallel_jobs_from_one() {
        let mut vars = environment(&[
            ("GITLAB_CI", "true"),
            ("CI_PROJECT_PATH", "acme/shop/api"),
            ("CI_PIPELINE_ID", "4711"),
            ("CI_COMMIT_REF_NAME", "main"),
            ("CI_COMMIT_SHA", "abc"),
            ("CI_JOB_NAME", "test 2/5"),
            ("CI_NODE_INDEX", "2"),
            ("CI_NODE_TOTAL", "5"),
            ("GITLAB_USER_LOGIN", "bo"),
            ("CI_RUNNER_DESCRIPTION", "shared-3"),
        ]);
        assert_eq!(read(&vars), origin(["acme/shop/api", "4711", "main", "abc", "2/5", "", "bo", "shared-3"]));
        vars.remove("CI_NODE_INDEX");
        assert_eq!(read(&vars).shard.as_deref(), Some("test 2/5"));
        vars.insert("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME".to_owned(), "topic".to_owned());
        assert_eq!(read(&vars).branch.as_deref(), Some("topic"));
    }

    #[test]
    fn jenkins_names_remote_and_branch_where_they_do_not_belong() {
        let vars = environment(&[
            ("JENKINS_URL", "https://ci/"),
            ("JOB_NAME", "acme/web/feature%2Fx"),
            ("BRANCH_NAME", "feature/x"),
            ("BUILD_TAG", "jenkins-acme-web-feature%2Fx-12"),
            ("GIT_COMMIT", "abc"),
            ("NODE_NAME", "agent-1"),
        ]);
        let expected =
            origin(["acme/web", "jenkins-acme-web-feature%2Fx-12", "feature/x", "abc", "", "", "", "agent-1"]);
        assert_eq!(read(&vars), expected);
        let vars = environment(&[
            ("JENKINS_URL", "https://ci/"),
            ("JOB_NAME", "nightly"),
            ("BUILD_NUMBER", "8"),
            ("GIT_BRANCH", "origin/main"),
        ]);
        assert_eq!(read(&vars), origin(["nightly", "nightly-8", "main", "", "", "", "", ""]));
    }

    #[test]
    fn buildkite_counts_from_zero() {
        let vars = environment(&[
            ("BUILDKITE", "true"),
            ("BUILDKITE_PIPELINE_SLUG", "web"),
            ("BUILDKITE_BUILD_NUMBER", "88"),
            ("BUILDKITE_BRANCH", "main"),
            ("BUILDKITE_COMMIT", "HEAD"),
            ("BUILDKITE_PARALLEL_JOB", "0"),
            ("BUILDKITE_PARALLEL_JOB_COUNT", "4"),
            ("BUILDKITE_RETRY_COUNT", "1"),
            ("BUILDKITE_BUILD_CREATOR", "Carla D."),
            ("BUILDKITE_AGENT_NAME", "bk-1"),
        ]);
        assert_eq!(read(&vars), origin(["web", "web-88", "main", "", "1/4", "2", "Carla D.", "bk-1"]));
    }

    #[test]
    fn elsewhere_nothing_is_known() {
        assert_eq!(
            read(&environment(&[("CI", "true"), ("GITHUB_SHA", "abc"), ("BUILD_NUMBER", "3")])),
            Origin::default()
        );
    }

    #[test]
    fn the_table_names_every_variable() {
        let table = table();
        for name in
            ["GITHUB_RUN_ID", "CI_PIPELINE_ID", "BUILD_TAG", "BUILDKITE_PARALLEL_JOB+1", "CI_NODE_INDEX/CI_NODE_TOTAL"]
        {
            assert!(table.contains(name), "{name}");
        }
    }
}
