//! Circles of files: modules of one crate that use each other, directly or over others.
//!
//! A module is a file below `src` with its folder. Paths that begin with `crate` count, and those whose `super`s lead to the root;
//! a name that the root re-exports counts for the module that it comes from. Code for tests does not count.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A source file: its path below `src`, and its text.
pub type Source = (String, String);

/// Who uses whom, and in which file.
type Edges = BTreeMap<String, BTreeMap<String, String>>;

/// All Rust files below a folder.
///
/// # Errors
///
/// What cannot be read.
pub fn sources(src: &Path) -> Result<Vec<Source>, String> {
    let mut out = Vec::new();
    let mut folders = vec![src.to_owned()];
    while let Some(folder) = folders.pop() {
        let failed = |e: std::io::Error| format!("{}: {e}", folder.display());
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).map_err(failed)?;
                let name = path.strip_prefix(src).unwrap_or(&path);
                out.push((name.to_string_lossy().into_owned(), text));
            }
        }
    }
    out.sort();
    Ok(out)
}

/// One shortest circle through each group of modules that use each other: `a -> b (in a.rs) -> a (in b.rs)`.
#[must_use]
pub fn find(sources: &[Source]) -> Vec<String> {
    let edges = edges(sources);
    let mut told: BTreeSet<&str> = BTreeSet::new();
    let mut out = Vec::new();
    for start in edges.keys() {
        if told.contains(start.as_str()) {
            continue;
        }
        if let Some(circle) = shortest(&edges, start) {
            told.extend(group(&edges, start));
            out.push(shown(&edges, &circle));
        }
    }
    out
}

/// The modules that a module uses, directly or over others.
fn reach<'a>(edges: &'a Edges, from: &str) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut next: Vec<&str> = edges.get(from).map_or_else(Vec::new, names);
    while let Some(module) = next.pop() {
        if seen.insert(module) {
            next.extend(edges.get(module).map_or_else(Vec::new, names));
        }
    }
    seen
}

fn names(used: &BTreeMap<String, String>) -> Vec<&str> {
    used.keys().map(String::as_str).collect()
}

/// The modules that a module uses and that use it.
fn group<'a>(edges: &'a Edges, start: &str) -> BTreeSet<&'a str> {
    let mut all = reach(edges, start);
    all.retain(|module| reach(edges, module).contains(start));
    all
}

fn shortest(edges: &Edges, start: &str) -> Option<Vec<String>> {
    let mut ways = vec![vec![start.to_owned()]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for module in way.last().and_then(|last| edges.get(last)).map(names)? {
                let mut on = way.clone();
                on.push(module.to_owned());
                if module == start {
                    return Some(on);
                }
                if seen.insert(module) {
                    longer.push(on);
                }
            }
        }
        ways = longer;
    }
    None
}

fn shown(edges: &Edges, circle: &[String]) -> String {
    let mut out = circle.first().cloned().unwrap_or_default();
    for pair in circle.windows(2) {
        if let [from, to] = pair
            && let Some(file) = edges.get(from).and_then(|used| used.get(to))
        {
            out += &format!(" -> {to} (in {file})");
        }
    }
    out
}

fn is_root(name: &str) -> bool {
    matches!(name, "lib.rs" | "main.rs")
}

/// The top-level module of a file; `None` for the root, and for files of tests.
fn module_of(name: &str) -> Option<&str> {
    let parts: Vec<&str> = name.split('/').collect();
    if is_root(name) || parts.iter().any(|p| matches!(*p, "tests" | "tests.rs")) {
        return None;
    }
    let first = parts.first()?;
    Some(first.strip_suffix(".rs").unwrap_or(first))
}

fn edges(sources: &[Source]) -> Edges {
    let modules: BTreeSet<&str> = sources.iter().filter_map(|(n, _)| module_of(n)).collect();
    let mut exported = BTreeMap::new();
    for (_, text) in sources.iter().filter(|(name, _)| is_root(name)) {
        exports(&tokens(text), &modules, &mut exported);
    }
    let mut edges: Edges = modules
        .iter()
        .map(|m| ((*m).to_owned(), BTreeMap::new()))
        .collect();
    for (name, text) in sources {
        let Some(module) = module_of(name) else {
            continue;
        };
        let depth = name.split('/').count() - usize::from(name.ends_with("/mod.rs"));
        for used in used(&without_tests(&tokens(text)), depth) {
            let known = modules.get(used.as_str()).copied();
            let Some(to) = known.or_else(|| exported.get(&used).map(String::as_str)) else {
                continue;
            };
            if to != module
                && let Some(all) = edges.get_mut(module)
            {
                all.entry(to.to_owned()).or_insert_with(|| name.clone());
            }
        }
    }
    edges
}

/// Words and signs, without comments, texts and single characters.
fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let mut out: Vec<String> = Vec::new();
    let mut i = 0;
    while i < chars.len() {
        let c = at(i);
        if c == '/' && at(i + 1) == '/' {
            while i < chars.len() && at(i) != '\n' {
                i += 1;
            }
        } else if c == '/' && at(i + 1) == '*' {
            i += 2;
            while i < chars.len() && (at(i), at(i + 1)) != ('*', '/') {
                i += 1;
            }
            i += 2;
        } else if c == '"' {
            i = after_text(&chars, i, out.last().map(String::as_str));
        } else if c == '\'' && (at(i + 1) == '\\' || at(i + 2) == '\'') {
            // A character, not a lifetime.
            i += if at(i + 1) == '\\' { 3 } else { 2 };
            while i < chars.len() && at(i) != '\'' {
                i += 1;
            }
            i += 1;
        } else if c.is_alphanumeric() || c == '_' {
            let start = i;
            while at(i).is_alphanumeric() || at(i) == '_' {
                i += 1;
            }
            out.push(chars[start..i].iter().collect());
        } else if c == ':' && at(i + 1) == ':' {
            out.push("::".into());
            i += 2;
        } else {
            if !c.is_whitespace() {
                out.push(c.into());
            }
            i += 1;
        }
    }
    out
}

/// Where a text ends that begins with the quote at `i`; `before` is what stands before it.
fn after_text(chars: &[char], mut i: usize, before: Option<&str>) -> usize {
    let hashes = chars[..i].iter().rev().take_while(|c| **c == '#').count();
    let word = chars[..i - hashes].last();
    let raw = word == Some(&'r') && (hashes > 0 || matches!(before, Some("r" | "br")));
    i += 1;
    while i < chars.len() {
        match chars[i] {
            '\\' if !raw => i += 1,
            '"' if !raw => return i + 1,
            '"' if chars[i + 1..].iter().take_while(|c| **c == '#').count() >= hashes => {
                return i + 1 + hashes;
            }
            _ => {}
        }
        i += 1;
    }
    i
}

const TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];

/// Without the items that are there for tests alone.
fn without_tests(tokens: &[String]) -> Vec<&str> {
    let words: Vec<&str> = tokens.iter().map(String::as_str).collect();
    let mut out = Vec::new();
    let mut i = 0;
    while i < words.len() {
        if !words[i..].starts_with(&TEST) {
            out.push(words[i]);
            i += 1;
            continue;
        }
        i += TEST.len();
        // To the item's end: a semicolon, or the brace that closes its own.
        let mut depth = 0_usize;
        while i < words.len() {
            let word = words[i];
            i += 1;
            match word {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 && matches!(word, ";" | "}") {
                break;
            }
        }
    }
    out
}

/// The names below the root that a file's paths begin with; it lies `depth` below the root.
fn used(words: &[&str], depth: usize) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for (i, word) in words.iter().enumerate() {
        let begins = i == 0 || words[i - 1] != "::";
        if begins && matches!(*word, "crate" | "super") {
            let left = if *word == "crate" { 0 } else { depth - 1 };
            walk(words, i + 1, left, &mut out);
        }
    }
    out
}

/// Follows a path whose next `::` stands at `i`, `left` folders below the root.
fn walk(words: &[&str], i: usize, left: usize, out: &mut BTreeSet<String>) {
    if words.get(i) != Some(&"::") {
        return;
    }
    let starts = match words.get(i + 1) {
        Some(&"{") => branches(words, i + 2),
        Some(_) => vec![i + 1],
        None => return,
    };
    for start in starts {
        match words[start] {
            "super" if left > 0 => walk(words, start + 1, left - 1, out),
            word if left == 0 => {
                out.insert(word.to_owned());
            }
            _ => {}
        }
    }
}

/// Where the branches of a `use` begin whose first stands at `i`.
fn branches(words: &[&str], mut i: usize) -> Vec<usize> {
    let mut out = vec![i];
    let mut depth = 0_usize;
    while let Some(word) = words.get(i) {
        match *word {
            "{" => depth += 1,
            "}" if depth == 0 => break,
            "}" => depth -= 1,
            "," if depth == 0 => out.push(i + 1),
            _ => {}
        }
        i += 1;
    }
    // After a comma that stands last there is nothing.
    out.retain(|start| words.get(*start).is_some_and(|w| *w != "}"));
    out
}

/// Notes which names the root takes from which module.
fn exports(tokens: &[String], modules: &BTreeSet<&str>, out: &mut BTreeMap<String, String>) {
    let words: Vec<&str> = tokens.iter().map(String::as_str).collect();
    for (i, _) in words.iter().enumerate().filter(|(_, w)| **w == "use") {
        let mut at = i + 1;
        while matches!(words.get(at), Some(&"crate" | &"self" | &"::")) {
            at += 1;
        }
        let Some(module) = words.get(at).filter(|m| modules.contains(**m)) else {
            continue;
        };
        let end = words[at..].iter().position(|w| *w == ";").map(|n| at + n);
        for pair in words[at..end.unwrap_or(words.len())].windows(2) {
            // A name that is renamed is none of the root's; the one behind `as` is.
            if let [name, next] = pair
                && *next != "as"
                && *next != "::"
            {
                out.insert((*name).to_owned(), (*module).to_owned());
            }
        }
        if let Some(last) = end.and_then(|end| words.get(end - 1)) {
            out.insert((*last).to_owned(), (*module).to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circles(files: &[(&str, &str)]) -> Vec<String> {
        let own = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        find(&files.iter().map(own).collect::<Vec<_>>())
    }

    #[test]
    fn a_circle_is_found_over_others_over_the_root_and_from_folders() {
        let files = [
            (
                "lib.rs",
                "mod a; mod b; mod c;\npub use c::{Other, See as C};",
            ),
            ("a.rs", "use crate::b::{self, B};"),
            ("b.rs", "//! Below.\nmod deep;"),
            (
                "b/deep.rs",
                "fn f() { let _ = crate::C::new(\"crate::x\"); }",
            ),
            ("c/way.rs", "use super::super::{d::D, a};"),
            ("c.rs", ""),
            ("d.rs", ""),
        ];
        assert_eq!(
            circles(&files),
            ["a -> b (in a.rs) -> c (in b/deep.rs) -> a (in c/way.rs)"]
        );
    }

    #[test]
    fn two_circles_without_a_module_in_common_are_two() {
        let files = [
            ("a.rs", "use super::b;"),
            ("b.rs", "use super::a;"),
            ("c.rs", "use crate::{d, a};"),
            ("d.rs", "use crate::{b, c::C};"),
        ];
        assert_eq!(circles(&files).len(), 2);
    }

    #[test]
    fn tests_comments_texts_and_visibility_make_no_circle() {
        let files = [
            ("a.rs", "use crate::b::B;"),
            (
                "b.rs",
                "#[cfg(test)]\npub(crate) mod tests;\n/// As [`crate::a`].\npub(crate) fn f<'a>(x: &'a str) {\
                 let _ = ('\\'', '\"', r#\"crate::a \" \"#, \"\\\" crate::a\"); /* crate::a */ }\n\
                 #[cfg(test)]\n#[allow(unused)]\nmod more { use crate::a::A; fn g() { if true {} } }",
            ),
            ("b/tests.rs", "use crate::a;"),
            ("a/tests/deep.rs", "use crate::b;"),
        ];
        assert_eq!(circles(&files), [""; 0]);
        // What stands behind them counts.
        let text = format!("{}\nuse crate::a;", files[1].1);
        assert_eq!(circles(&[files[0], ("b.rs", &text)]).len(), 1);
    }

    #[test]
    fn no_crate_here_has_one() {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(crate::root().join("crates")).unwrap() {
            let src = entry.unwrap().path().join("src");
            found.extend(find(&sources(&src).unwrap()));
        }
        assert_eq!(found, [""; 0]);
    }
}
