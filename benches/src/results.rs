//! Figures in a file: with the machine and the commit that they are of, and what changed from one file to another.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::Figure;

/// A change of a ratio that is told, in parts of a hundred: less is within what two runs differ by.
const TOLD: f64 = 3.0;

impl Figure {
    /// Whether the ratio keeps its bound.
    pub(super) fn is_met(&self) -> bool {
        keeps(self.ratio, self.bound, self.at_least)
    }
}

fn keeps(ratio: f64, bound: f64, at_least: bool) -> bool {
    if at_least {
        ratio >= bound
    } else {
        ratio <= bound
    }
}

/// What was measured, where, and of which commit.
pub(super) fn to_json(figures: &[Figure], quick: bool) -> Value {
    let list: Vec<Value> = figures
        .iter()
        .map(|f| {
            json!({
                "name": f.name, "ratio": f.ratio, "bound": f.bound,
                "at_least": f.at_least, "detail": f.detail,
            })
        })
        .collect();
    json!({"machine": machine(), "commit": commit(), "quick": quick, "figures": list})
}

/// The same as a page of Markdown.
pub(super) fn to_page(figures: &[Figure], quick: bool) -> String {
    let machine = machine();
    let said = |key: &str| machine[key].as_str().unwrap_or("unknown").to_owned();
    let ifma = match machine["avx512ifma"] == true {
        true => "with",
        false => "without",
    };
    let short = if quick { " in its short form" } else { "" };
    let mut page = format!(
        "# Measurements\n\nWritten by `cargo xtask bench --page FILE`{short} at commit {} on {}, {} cores, {ifma} AVX-512 IFMA. \
         Each ratio is between figures of one run; what is beside it tells their units.\n\n\
         | Figure | Ratio | Bound | | Measured |\n|---|---:|---:|---|---|\n",
        commit().unwrap_or_else(|| "unknown".to_owned()),
        said("processor"),
        machine["cores"],
    );
    for f in figures {
        let sign = if f.at_least { "≥" } else { "≤" };
        let word = if f.is_met() { "met" } else { "missed" };
        page += &format!(
            "| {} | {:.2} | {sign} {} | {word} | {} |\n",
            f.name, f.ratio, f.bound, f.detail
        );
    }
    page
}

/// The processor as the kernel names it, its cores, and whether it multiplies by AVX-512 IFMA.
fn machine() -> Value {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let mut lines = info.lines().filter_map(|l| l.split_once(':'));
        let found = lines.find(|(key, _)| key.trim() == name);
        found.map(|(_, value)| value.trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let flags = field("flags").unwrap_or_default();
    let ifma = flags.split(' ').any(|flag| flag == "avx512ifma");
    json!({"processor": field("model name"), "cores": cores, "avx512ifma": ifma})
}

/// The commit of the checkout that the command runs in; nothing where it is none.
fn commit() -> Option<String> {
    let git = |args: &[&str]| {
        let out = Command::new("git").args(args).output().ok()?;
        let said = String::from_utf8(out.stdout).ok()?;
        out.status.success().then(|| said.trim().to_owned())
    };
    let head = git(&["rev-parse", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changed.is_empty() {
        head
    } else {
        format!("{head} and changes")
    })
}

/// A file's figures: name, ratio, and whether it kept its bound.
fn figures(results: &Value) -> Option<BTreeMap<String, (f64, bool)>> {
    let list = results["figures"].as_array()?.iter();
    list.map(|f| {
        let (ratio, bound) = (f["ratio"].as_f64()?, f["bound"].as_f64()?);
        let met = keeps(ratio, bound, f["at_least"].as_bool()?);
        Some((f["name"].as_str()?.to_owned(), (ratio, met)))
    })
    .collect()
}

/// What changed from one file to the other, a line a figure; and whether each bound that the first kept is kept by the second.
fn changes(before: &Value, after: &Value) -> Option<(String, bool)> {
    let (old, new) = (figures(before)?, figures(after)?);
    let mut said = String::new();
    let mut kept = true;
    for key in ["machine", "quick"] {
        if before[key] != after[key] {
            said += &format!("another {key}: {} and {}\n", before[key], after[key]);
        }
    }
    for (name, (ratio, met)) in &new {
        let Some((was, kept_it)) = old.get(name) else {
            said += &format!("{name:34} {:>8} {ratio:>8.2}  new\n", "");
            continue;
        };
        let by = (ratio / was - 1.0) * 100.0;
        let word = match (kept_it, met) {
            (true, false) => "MISSED now",
            (false, true) => "met now",
            _ if by.abs() > TOLD => "changed",
            _ => "",
        };
        kept &= *met || !*kept_it;
        said += format!("{name:34} {was:>8.2} {ratio:>8.2} {by:>+7.1} %  {word}").trim_end();
        said.push('\n');
    }
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        said += &format!("{name:34} is not measured any more\n");
    }
    Some((said, kept))
}

/// Prints what changed between two files that `--json` wrote; whether each bound that was kept still is.
pub(super) fn compare(before: &Path, after: &Path) -> Result<bool, String> {
    let read = |path: &Path| -> Result<Value, String> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))
    };
    let (old, new) = (read(before)?, read(after)?);
    let (said, kept) =
        changes(&old, &new).ok_or("these are no files that `bench --json FILE` wrote")?;
    let of = |results: &Value| results["commit"].as_str().unwrap_or("unknown").to_owned();
    println!("from {} to {}\n{said}", of(&old), of(&new));
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(figures: &[(&'static str, f64)]) -> Value {
        let all: Vec<Figure> = figures
            .iter()
            .map(|(name, ratio)| Figure {
                name,
                ratio: *ratio,
                bound: 0.8,
                at_least: true,
                detail: String::new(),
            })
            .collect();
        to_json(&all, true)
    }

    #[test]
    fn a_page_has_each_figure() {
        let figure = |name, ratio| Figure {
            name,
            ratio,
            bound: 0.8,
            at_least: true,
            detail: "9 MB".to_owned(),
        };
        let figures = [figure("download", 1.0), figure("quic", 0.5)];
        let page = to_page(&figures, true);
        assert!(page.contains("| download | 1.00 | ≥ 0.8 | met | 9 MB |\n"));
        assert!(page.contains("| quic | 0.50 | ≥ 0.8 | missed | 9 MB |\n"));
        assert!(page.contains("in its short form"));
    }

    #[test]
    fn what_changed_is_told_and_a_bound_that_is_lost_fails() {
        let before = results(&[("download", 1.0), ("quic", 0.9), ("gone", 1.0)]);
        let (said, kept) = changes(&before, &before).unwrap();
        assert!(kept && !said.contains("changed") && !said.contains("another"));
        let after = results(&[("download", 1.1), ("quic", 0.7), ("new", 2.0)]);
        let (said, kept) = changes(&before, &after).unwrap();
        assert!(!kept);
        let line = |name: &str| said.lines().find(|l| l.starts_with(name)).unwrap();
        assert!(line("download").ends_with("+10.0 %  changed"), "{said}");
        assert!(line("quic").ends_with("-22.2 %  MISSED now"), "{said}");
        assert!(line("new").ends_with("new"), "{said}");
        assert!(line("gone").ends_with("not measured any more"), "{said}");
        assert!(changes(&before, &json!([1])).is_none());
    }
}
