//! The order of a job's tasks: each after those that it comes after.

use std::collections::{BTreeMap, BTreeSet};

/// Sorts names so that each stands after the names that it depends on. Equal ones keep their order.
///
/// # Errors
///
/// A cycle, as names of which each depends on the next, and the last on the first.
pub(super) fn sort(after: &BTreeMap<String, Vec<String>>) -> Result<Vec<String>, Vec<String>> {
    let mut waits: BTreeMap<&str, usize> = BTreeMap::new();
    let mut before: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, needs) in after {
        let needs: BTreeSet<&str> = needs.iter().map(String::as_str).collect();
        // Unknown names are another error.
        let needs: Vec<&str> = needs
            .into_iter()
            .filter(|n| after.contains_key(*n))
            .collect();
        waits.insert(name, needs.len());
        for need in needs {
            before.entry(need).or_default().push(name);
        }
    }
    let mut ready: BTreeSet<&str> = waits
        .iter()
        .filter(|(_, n)| **n == 0)
        .map(|(name, _)| *name)
        .collect();
    let mut sorted = Vec::with_capacity(after.len());
    while let Some(name) = ready.pop_first() {
        waits.remove(name);
        sorted.push(name.to_owned());
        for follower in before.get(name).into_iter().flatten() {
            if let Some(n) = waits.get_mut(follower) {
                *n -= 1;
                if *n == 0 {
                    ready.insert(follower);
                }
            }
        }
    }
    match waits.keys().next() {
        None => Ok(sorted),
        Some(start) => Err(cycle(after, &waits, start)),
    }
}

/// Follows dependencies among the names that wait until one comes a second time.
fn cycle(
    after: &BTreeMap<String, Vec<String>>,
    waits: &BTreeMap<&str, usize>,
    start: &str,
) -> Vec<String> {
    let mut way: Vec<String> = Vec::new();
    let mut at = start.to_owned();
    loop {
        if let Some(begin) = way.iter().position(|name| *name == at) {
            return way.split_off(begin);
        }
        let needs = after.get(&at).into_iter().flatten();
        let next = needs.into_iter().find(|n| waits.contains_key(n.as_str()));
        way.push(at);
        match next {
            Some(next) => at = next.clone(),
            // Each name that waits waits for another one.
            None => return way,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
        let own = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        edges
            .iter()
            .map(|(name, needs)| ((*name).to_owned(), own(needs)))
            .collect()
    }

    #[test]
    fn each_name_stands_after_those_that_it_needs() {
        let edges: &[(&str, &[&str])] = &[
            ("a", &["c", "b"]),
            ("b", &["d"]),
            ("c", &["d", "d"]),
            ("d", &["elsewhere"]),
        ];
        assert_eq!(sort(&graph(edges)).unwrap(), ["d", "b", "c", "a"]);
        assert_eq!(sort(&BTreeMap::new()).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_cycle_is_named_without_what_leads_to_it() {
        let edges: &[(&str, &[&str])] = &[("a", &["b"]), ("b", &["c"]), ("c", &["b"]), ("d", &[])];
        assert_eq!(sort(&graph(edges)).unwrap_err(), ["b", "c"]);
        assert_eq!(sort(&graph(&[("a", &["a"])])).unwrap_err(), ["a"]);
    }
}
