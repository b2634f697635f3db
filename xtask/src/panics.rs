//! Panics that no test failed of: a task that dies takes nothing with it but what it was there for.

use std::path::{Path, PathBuf};

/// What the standard library says of a panic.
const SIGN: &str = "panicked at";
/// Tests that provoke panics, and look at them.
const PROVOKED: &[&str] = &["testkit::tests", "panics::tests"];

/// Where nextest writes its report with the profile `ci`: below the workspace, wherever the target directory is.
pub(crate) fn report(workspace: &Path) -> PathBuf {
    workspace.join("target/nextest/ci/junit.xml")
}

/// The names of tests that passed and wrote of a panic, in a report in JUnit's format.
fn found(report: &str) -> Vec<String> {
    let cases = report.split("<testcase ").skip(1);
    let panicked = cases.filter(|case| case.contains(SIGN) && !case.contains("<failure"));
    let name = |case: &str| {
        let (_, rest) = case.split_once("name=\"")?;
        Some(rest.split('"').next()?.to_owned())
    };
    panicked
        .filter_map(name)
        .filter(|name| PROVOKED.iter().all(|p| !name.contains(p)))
        .collect()
}

/// Fails where a test that passed, or a process that it started, wrote of a panic.
///
/// # Errors
///
/// The report cannot be read, or names such tests.
pub(crate) fn check(report: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(report).map_err(|e| format!("{}: {e}", report.display()))?;
    let names = found(&text);
    if names.is_empty() {
        return Ok(());
    }
    Err(format!(
        "tests that passed although something panicked: {}",
        names.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_found_in_what_passed() {
        let case = |name: &str, more: &str| {
            format!("<testcase name=\"{name}\" classname=\"x\">{more}</testcase>")
        };
        let out = "<system-err>thread 'a' panicked at src/a.rs:1:2:</system-err>";
        let all = [
            case("quiet", "<system-out>fine</system-out>"),
            case("loud", out),
            case("failed", &format!("<failure/>{out}")),
            case("testkit::tests::it_panics", out),
        ];
        assert_eq!(found(&all.concat()), ["loud"]);
    }
}
