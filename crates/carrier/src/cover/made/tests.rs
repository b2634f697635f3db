use std::collections::{BTreeMap, BTreeSet};

use super::*;

type Files = Vec<(String, String)>;

fn files(n: u64) -> Files {
    drawn(&Seed::from_number(n))
}

/// Replaces the parts of HTML and SVG that occur in every file by a mark: document type, encoding, end tags, SVG's name.
fn known(text: &str) -> String {
    let text = text.to_lowercase().replace("<!doctype html>", "\u{1}");
    let mut parts = text.split("</");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push('\u{2}');
        text += part.split_once('>').unwrap().1;
    }
    for quote in ["\"", "'", ""] {
        let encoding = format!("<meta charset={quote}utf-8{quote}>");
        let svg = format!("xmlns={quote}http://www.w3.org/2000/svg{quote}");
        text = text.replace(&encoding, "\u{3}").replace(&svg, "\u{4}");
    }
    text
}

#[test]
fn two_nodes_share_no_page_no_title_no_name_and_no_string() {
    const LONG: usize = 24;
    const SITES: u64 = 128;
    let mut texts: Vec<(u64, String)> = Vec::new();
    let (mut names, mut titles) = (BTreeMap::new(), BTreeMap::new());
    for site in 0..SITES {
        let (mut own, mut pages) = (0, BTreeSet::new());
        for (name, text) in files(site) {
            if let Some((_, rest)) = text.split_once("<title>") {
                let title = rest.split_once("</title>").unwrap().0.to_owned();
                assert!(pages.insert(title.clone()), "{title}");
                assert_eq!(titles.insert(title, site), None);
            }
            if name != "index.html" {
                own += 1;
                let other = names.insert(name.clone(), site);
                assert_eq!(other, None, "{site}: {name}");
            }
            texts.push((site, known(&text)));
        }
        assert!(own >= 5 && pages.len() >= 5, "{site}");
    }
    let mut strings = Vec::new();
    for (site, text) in &texts {
        let ends = text.char_indices().map(|(at, _)| at).skip(LONG);
        let ends = ends.chain([text.len()]);
        for ((begin, _), end) in text.char_indices().zip(ends) {
            strings.push((&text[begin..end], *site));
        }
    }
    strings.sort_unstable();
    let shared: Vec<_> = strings
        .windows(2)
        .filter(|w| w[0].0 == w[1].0 && w[0].1 != w[1].1)
        .collect();
    assert!(shared.is_empty(), "{shared:?}");
}

#[test]
fn a_nodes_site_is_always_the_same_and_its_links_lead_somewhere() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    for n in 0..20 {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        make_site(one.path(), &Seed::from_number(n), now).unwrap();
        make_site(two.path(), &Seed::from_number(n), now).unwrap();
        let (mut times, mut linked) = (BTreeSet::new(), BTreeSet::new());
        let drawn = files(n);
        for (name, text) in &drawn {
            let read = |root: &Path| fs::read_to_string(root.join(name)).unwrap();
            assert_eq!(read(one.path()), *text);
            assert_eq!(read(one.path()), read(two.path()));
            let modified = |root: &Path| fs::metadata(root.join(name)).unwrap().modified().unwrap();
            assert_eq!(modified(one.path()), modified(two.path()));
            assert!(modified(one.path()) < now);
            times.insert(modified(one.path()));
            for link in links(text) {
                let from = one.path().join(name);
                let to = match link.strip_prefix('/') {
                    Some(rooted) => one.path().join(rooted),
                    None => from.parent().unwrap().join(&link),
                };
                let to = if link.ends_with('/') {
                    to.join("index.html")
                } else {
                    to
                };
                let to = to.canonicalize();
                linked.insert(to.unwrap_or_else(|e| panic!("{name}: {link}: {e}")));
            }
        }
        assert!(times.len() > 3);
        for (name, _) in &drawn {
            // A drawing may be unused.
            let path = one.path().join(name).canonicalize().unwrap();
            assert!(name.ends_with(".svg") || linked.contains(&path), "{name}");
        }
    }
}

/// Files that a page links, shows or imports.
fn links(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    for key in [" href=", " src=", "@import "] {
        for rest in text.split(key).skip(1) {
            let link = match rest.chars().next().unwrap() {
                quote @ ('"' | '\'') => rest[1..].split(quote).next().unwrap(),
                _ => rest.split([' ', '>']).next().unwrap(),
            };
            out.push(link.split('?').next().unwrap().to_owned());
        }
    }
    out
}

/// The tags of a page, each with its attributes.
fn tags(text: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('<') {
        let end = |c: char| c.is_whitespace() || c == '>';
        let (name, mut inner) = after.split_at(after.find(end).unwrap());
        let mut attributes = Vec::new();
        loop {
            inner = inner.trim_start();
            if let Some(after) = inner.strip_prefix('>') {
                rest = after;
                break;
            }
            let (key, value) = inner
                .find(['=', ' ', '>'])
                .map(|at| inner.split_at(at))
                .unwrap();
            let value = value.strip_prefix('=').unwrap_or_default();
            let (value, after) = match value.chars().next() {
                Some(quote @ ('"' | '\'')) => value[1..].split_once(quote).unwrap(),
                _ => value.split_at(value.find(end).unwrap_or(0)),
            };
            inner = if value.is_empty() && after.is_empty() {
                &inner[key.len()..]
            } else {
                after
            };
            attributes.push((key.to_owned(), value.to_owned()));
        }
        out.push((name.to_owned(), attributes));
        if name == "style" {
            let (_, after) = rest.split_once("</style>").unwrap();
            out.push(("/style".into(), Vec::new()));
            rest = after;
        }
    }
    out
}

#[test]
fn pages_are_html_whose_elements_nest() {
    for n in 0..64 {
        for (name, text) in files(n) {
            if !name.contains(".htm") {
                continue;
            }
            let (mut open, mut ids) = (Vec::new(), BTreeSet::new());
            for (tag, attributes) in tags(&text).iter().skip(1) {
                for (key, value) in attributes {
                    assert!(!value.is_empty(), "{name}: {tag} {key}");
                    assert!(key != "id" || ids.insert(value.clone()), "{name}: {value}");
                }
                match tag.as_str() {
                    "meta" | "link" | "img" | "hr" => {}
                    "p" | "li" | "tr" | "td" => {
                        while open.last() == Some(tag) {
                            open.pop();
                        }
                        open.push(tag.clone());
                    }
                    _ => match tag.strip_prefix('/') {
                        None => {
                            if tag.starts_with('h') && open.last().is_some_and(|o| o == "p") {
                                open.pop();
                            }
                            open.push(tag.clone());
                        }
                        Some(closed) => {
                            // Optional end tags.
                            let left_out = ["p", "li", "tr", "td"];
                            while let Some(last) = open.pop()
                                && last != closed
                            {
                                assert!(left_out.contains(&last.as_str()), "{name}: {last}");
                            }
                        }
                    },
                }
            }
            open.retain(|o| o != "p");
            assert!(open.is_empty(), "{n} {name}: {open:?}\n{text}");
            assert_eq!(text.matches("<h1>").count(), 1);
        }
    }
}

#[test]
fn nodes_differ_in_what_their_pages_are_made_of() {
    let mut skeletons = BTreeSet::new();
    let mut forms: BTreeMap<&str, usize> = BTreeMap::new();
    for n in 0..64 {
        let (_, text) = files(n).pop().unwrap();
        let tags = tags(&text).into_iter();
        let keys = |(tag, attributes): (String, Vec<(String, String)>)| {
            let keys = attributes.into_iter().map(|(key, _)| key);
            (tag, keys.collect::<Vec<_>>())
        };
        assert!(skeletons.insert(tags.map(keys).collect::<Vec<_>>()), "{n}");
        for form in [
            "<html", "<head>", "<body", "<header", "<footer", "<ul", "<ol", "<table", "<nav",
            "<link", "@import", "<hr", "</p>", ".htm\"", "=\"/", "='", "\n\t", "\n  ",
        ] {
            *forms.entry(form).or_default() += usize::from(text.contains(form));
        }
    }
    for (form, sites) in forms {
        assert!((2..62).contains(&sites), "{form}: {sites} of 64");
    }
}
