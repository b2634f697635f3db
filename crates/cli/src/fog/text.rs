//! Values of the command line and of answers as text.

use betanet_fog::bodies::Why;
use betanet_fog::{Reason, TaskId, Word};
use betanet_fog_client::node_id;
use betanet_runtime::{Name, NodeId};
use betanet_wire::text;

use crate::Fail;

/// Reads a TaskID.
pub(super) fn task_id(given: &str) -> Result<TaskId, Fail> {
    let id = text::unhex_array(&given.to_ascii_lowercase()).map(TaskId);
    id.ok_or_else(|| Fail::Usage(format!("{given}: a task's ID has 64 hex digits")))
}

/// Reads a node's name or NodeID.
pub(super) fn node(given: &str) -> Result<NodeId, Fail> {
    let wrong = || {
        Fail::Usage(format!(
            "{given}: a node is named bn1:…, or by 40 hex digits"
        ))
    };
    node_id(given).ok_or_else(wrong)
}

/// Reads a word of a flag; empty if there is none.
pub(super) fn word(flag: &str, given: Option<&str>) -> Result<Word, Fail> {
    let text = given.unwrap_or_default();
    text.parse()
        .map_err(|_| Fail::Usage(format!("{flag} {text}: up to 63 of a-z 0-9 - _ .")))
}

/// A node's name.
pub(super) fn name(node: NodeId) -> String {
    Name::from(node).to_string()
}

/// Money in voucher units.
pub(super) fn money(micro: u64) -> String {
    format!("{}.{:06} units", micro / 1_000_000, micro % 1_000_000)
}

/// Seconds since a moment, in the largest unit.
pub(super) fn ago(now_ms: u64, then_ms: u64) -> String {
    let s = now_ms.saturating_sub(then_ms) / 1000;
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min", s / 60),
        3600..86_400 => format!("{} h", s / 3600),
        _ => format!("{} d", s / 86_400),
    }
}

/// Meaning of a reason that a task waits, or ended, in words.
pub(super) fn reason(word: &str) -> String {
    let Some(reason) = Reason::from_word(word) else {
        return word.to_owned();
    };
    let said = match reason {
        Reason::State => "not active, full, or resting after failures",
        Reason::Org => "organisation has another copy",
        Reason::Level => "level is too low",
        Reason::Rep => "reputation is too low",
        Reason::Need => "a needed attribute is missing",
        Reason::Spread => "shares the attribute to spread over",
        Reason::CpuTotal => "has less cpu than the task needs",
        Reason::MemoryTotal => "has less memory than the task needs",
        Reason::StorageTotal => "has less storage than the task needs",
        Reason::GpuTotal => "has fewer devices than the task needs",
        Reason::BandwidthTotal => "has less bandwidth than the task needs",
        Reason::RelayTotal => "has less relay capacity than the task needs",
        Reason::CpuFree => "too little cpu is free now",
        Reason::MemoryFree => "too little memory is free now",
        Reason::StorageFree => "too little storage is free now",
        Reason::GpuFree => "no device or share is free now",
        Reason::BandwidthFree => "too little bandwidth is free now",
        Reason::RelayFree => "too little relay capacity is free now",
        Reason::Price => "asks for a higher price than the present demand factor",
        Reason::Share => "has its share of private copies",
        Reason::After => "tasks before it have not succeeded yet",
        Reason::Start => "its start lies ahead",
        Reason::Backoff => "it waits before a retry",
        Reason::Quota => "its namespace has used up its quota",
        Reason::Budget => "it may cost more than its budget",
        Reason::Ok => "exit code 0",
        Reason::Exit => "the program ended with another exit code than 0",
        Reason::Trap => "the program trapped",
        Reason::Fuel => "the program used up its fuel",
        Reason::Memory => "the program asked for more memory than it has",
        Reason::Output => "the program wrote more than the task allows",
        Reason::Module => "the module is no valid program",
        Reason::Time => "the program ran longer than the task allows",
        Reason::Input => "an input could not be fetched",
        Reason::Internal => "the worker failed",
        Reason::Down => "the node went offline",
        Reason::Lease => "the node no longer reported the copy",
        Reason::Nack => "the worker gave it back",
        Reason::Preempted => "a task of a higher tier took its place",
        Reason::Drained => "its node is drained or quarantined",
        Reason::Ended => "its task has ended",
        Reason::Lost => "more copies were lost than a task may lose",
        Reason::NoQuorum => "too few results agree",
        Reason::Dependency => "a task that it comes after did not succeed",
        Reason::Cancel => "its owner cancelled it",
        Reason::Deadline => "its deadline passed",
    };
    said.to_owned()
}

/// Whether a reason counts nodes, rather than saying what the task itself waits for.
fn counts_nodes(word: &str) -> bool {
    let own = [
        Reason::After,
        Reason::Start,
        Reason::Backoff,
        Reason::Quota,
        Reason::Budget,
    ];
    Reason::from_word(word).is_none_or(|reason| !own.contains(&reason))
}

/// The lines that say why a task waits.
pub(super) fn why(why: &Why) -> Vec<String> {
    let line = |c: &betanet_fog::bodies::Counted| match (counts_nodes(&c.reason), c.nodes) {
        (false, _) => format!("{} ({})", reason(&c.reason), c.reason),
        (true, 1) => format!("1 node: {} ({})", reason(&c.reason), c.reason),
        (true, n) => format!("{n} nodes: {} ({})", reason(&c.reason), c.reason),
    };
    why.iter().map(line).collect()
}

/// Pads the cells of rows to columns.
pub(super) fn table(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let line: Vec<String> = cells
            .map(|(cell, n)| format!("{cell:<n$}", n = *n))
            .collect();
        line.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use betanet_fog::bodies::Counted;

    use super::*;

    #[test]
    fn each_reason_has_words_of_its_own() {
        let said: std::collections::BTreeSet<String> =
            Reason::WORDS.iter().map(|w| reason(w)).collect();
        assert_eq!(said.len(), Reason::ALL.len());
        assert_eq!(reason("a_later_one"), "a_later_one");
    }

    #[test]
    fn a_wait_for_nodes_counts_them_and_another_does_not() {
        let counted = |reason: &str, nodes| Counted {
            reason: reason.parse().unwrap(),
            nodes,
        };
        let all = vec![counted("cpu_free", 3), counted("quota", 1)];
        let lines = why(&all.try_into().unwrap());
        assert_eq!(lines[0], "3 nodes: too little cpu is free now (cpu_free)");
        assert_eq!(lines[1], "its namespace has used up its quota (quota)");
    }

    #[test]
    fn columns_are_aligned_without_spaces_at_the_end() {
        let row = |cells: &[&str]| cells.iter().map(|c| (*c).to_owned()).collect();
        let lines = table(&[row(&["a", "bb"]), row(&["ccc", ""])]);
        assert_eq!(lines, ["a    bb", "ccc"]);
    }
}
