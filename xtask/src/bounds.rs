//! The table of what a peer can make a node hold, in SECURITY.md: that each row's constants and tests are there, with the values it names.
//!
//! A row is `| resource | who | unit | session | address | node | enforced in | proved by |`. "Enforced in" holds places, each
//! `` `path: NAME` `` or `` `path: NAME = value` ``; "proved by" holds tests, each `` `path: function` ``. Paths are the checkout's.

use std::path::Path;

use crate::root;

/// What begins the table.
const HEADING: &str = "| resource |";
const COLUMNS: usize = 8;

/// One thing that a row says is there.
#[derive(Debug, Eq, PartialEq)]
struct Place<'a> {
    path: &'a str,
    name: &'a str,
    value: Option<&'a str>,
}

/// The places of a cell: what stands between backquotes.
fn places(cell: &str) -> Result<Vec<Place<'_>>, String> {
    let quoted = cell.split('`').skip(1).step_by(2);
    let all = quoted.map(|text| {
        let (path, rest) = text
            .split_once(": ")
            .ok_or_else(|| format!("{text:?} is not `path: NAME` or `path: NAME = value`"))?;
        let (name, value) = match rest.split_once(" = ") {
            Some((name, value)) => (name, Some(value)),
            None => (rest, None),
        };
        Ok(Place { path, name, value })
    });
    let all: Vec<Place<'_>> = all.collect::<Result<_, String>>()?;
    match all.is_empty() {
        true => Err(format!("{cell:?} names no place")),
        false => Ok(all),
    }
}

/// Whether `text` has this word, not as part of a longer one.
fn has_word(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(part) && !text[at + word.len()..].starts_with(part))
}

/// What of the source of a file contradicts the place, if anything.
fn contradiction(source: &str, place: &Place<'_>, test: bool) -> Option<String> {
    let Place { path, name, value } = place;
    if test {
        let is = source
            .lines()
            .any(|l| has_word(l, name) && has_word(l, "fn"));
        return (!is).then(|| format!("{path} has no test {name}"));
    }
    let Some(value) = value else {
        return (!has_word(source, name)).then(|| format!("{path} does not have {name}"));
    };
    let said = source.lines().find_map(|line| {
        let (before, after) = line.split_once(" = ")?;
        let constant = has_word(before, "const") && has_word(before, name);
        constant.then(|| after.trim_end_matches(';').trim())
    });
    match said {
        None => Some(format!("{path} has no constant {name} on one line")),
        Some(said) if said != *value => {
            Some(format!("{path}: {name} is {said}, the table says {value}"))
        }
        Some(_) => None,
    }
}

/// What is wrong with the table of a text, whose paths are below `root`, and how many rows it has.
fn problems(text: &str, root: &Path) -> (usize, Vec<String>) {
    let mut out = Vec::new();
    let rows: Vec<&str> = text
        .lines()
        .skip_while(|l| !l.starts_with(HEADING))
        .skip(2)
        .take_while(|l| l.starts_with('|'))
        .collect();
    for row in &rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [
            resource,
            who,
            unit,
            session,
            address,
            node,
            enforced,
            proved,
        ] = cells[..]
        else {
            out.push(format!("{row}: {} columns, not {COLUMNS}", cells.len()));
            continue;
        };
        let empty = [resource, who, unit, session, address, node];
        if empty.iter().any(|c| c.is_empty()) {
            out.push(format!("{resource}: an empty column"));
        }
        for (cell, test) in [(enforced, false), (proved, true)] {
            let places = match places(cell) {
                Ok(places) => places,
                Err(why) => {
                    out.push(format!("{resource}: {why}"));
                    continue;
                }
            };
            for place in places {
                let wrong = match std::fs::read_to_string(root.join(place.path)) {
                    Ok(source) => contradiction(&source, &place, test),
                    Err(e) => Some(format!("{}: {e}", place.path)),
                };
                out.extend(wrong.map(|why| format!("{resource}: {why}")));
            }
        }
    }
    (rows.len(), out)
}

/// Checks the table.
///
/// # Errors
///
/// It is not there, or a row names what is not there or has another value.
pub fn run() -> Result<(), String> {
    let path = root().join("SECURITY.md");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    match problems(&text, &root()) {
        (0, _) => Err(format!("SECURITY.md has no table that begins {HEADING:?}")),
        (n, problems) if problems.is_empty() => {
            println!("bounds: {n} rows hold");
            Ok(())
        }
        (_, problems) => Err(format!("SECURITY.md: {}", problems.join("\n  "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_holds_only_with_its_constants_and_tests() {
        let home = tempfile::tempdir().unwrap();
        let source = "/// Doc.\npub(crate) const MOST: usize = 4 << 10;\n#[test]\nfn it_is_bounded() {}\nfn other() {}\n";
        std::fs::write(home.path().join("a.rs"), source).unwrap();
        let table = |row: &str| format!("# T\n\n| resource | …\n|---|\n{row}\n\nafter\n");
        let row = |enforced: &str, proved: &str| {
            table(&format!(
                "| x | anybody | byte | 1 | 2 | 3 | {enforced} | {proved} |"
            ))
        };
        let good = row(
            "`a.rs: MOST = 4 << 10`, `a.rs: other`",
            "`a.rs: it_is_bounded`",
        );
        assert_eq!(problems(&good, home.path()), (1, Vec::new()));
        for bad in [
            row("`a.rs: MOST = 4 << 11`", "`a.rs: it_is_bounded`"),
            row("`a.rs: MOS = 4 << 10`", "`a.rs: it_is_bounded`"),
            row("`a.rs: thing`", "`a.rs: it_is_bounded`"),
            row("`b.rs: MOST`", "`a.rs: it_is_bounded`"),
            row("`a.rs: MOST`", "`a.rs: it_is`"),
            row("a.rs", "`a.rs: it_is_bounded`"),
            row("`a.rs: MOST`", ""),
            table("| x | y |"),
        ] {
            assert_eq!(problems(&bad, home.path()).1.len(), 1, "{bad}");
        }
    }

    #[test]
    fn the_table_of_this_checkout_holds() {
        run().unwrap();
    }
}
