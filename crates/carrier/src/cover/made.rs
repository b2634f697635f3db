//! A site that is made for a node whose operator gave none: a few pages, a style and a drawing, all of them drawn from a seed.
//!
//! Names, titles, texts, the markup's shape, the style, sizes and dates differ from node to node, and two sites have no string in
//! common by which a rule could find both. Who reads one closely sees that nobody wrote it: a site of one's own hides more.

mod words;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use betanet_machine::{Rng, Seed};

use words::{ADJECTIVES, NOUNS, PLACES, SYLLABLES, VERBS};

/// The oldest file is up to so many days old.
const OLDEST: u64 = 900;

/// Makes the site of a seed in a folder, as if it had been written by `now`. Files that are there are replaced.
///
/// # Errors
///
/// The folder cannot be written.
pub fn make_site(folder: &Path, seed: &Seed, now: SystemTime) -> io::Result<()> {
    let site = Drawn::new(seed);
    let mut rng = Rng::new(seed);
    // Apart from what the files are drawn with.
    let _ = rng.array::<64>();
    let mut days = 20 + rng.below(OLDEST - 20);
    for (name, text) in &site.files {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, text)?;
        days = days.saturating_sub(rng.below(days / 3 + 1)).max(3);
        let age = Duration::from_secs(days * 86_400 + rng.below(86_400));
        let modified = now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
        fs::File::options()
            .append(true)
            .open(&path)?
            .set_modified(modified)?;
    }
    Ok(())
}

struct Page {
    name: String,
    title: String,
}

struct Drawn {
    files: Vec<(String, String)>,
}

/// How this site's author writes.
struct Hand {
    indent: String,
    /// Whether end tags that may be left out are.
    short: bool,
    container: String,
    list: bool,
    upper_doctype: bool,
    head: u64,
    separator: &'static str,
}

impl Drawn {
    fn new(seed: &Seed) -> Self {
        let mut rng = Rng::new(seed);
        let mut draw = Draw(&mut rng);
        let mut taken = BTreeSet::from(["index".to_owned()]);
        let owner = draw.name();
        let subject = draw.noun();
        let site = match draw.0.below(5) {
            0 => format!("{owner} {}", capital(subject)),
            1 => format!("{} {owner}", capital(draw.place())),
            2 => format!("The {} {}", capital(draw.adjective()), capital(subject)),
            3 => format!("{owner} & {}", draw.name()),
            _ => format!("{}, {owner}", capital(subject)),
        };
        let folder = (draw.0.below(3) == 0).then(|| draw.file(&mut taken));
        let mut pages = vec![Page {
            name: "index.html".into(),
            title: site.clone(),
        }];
        for _ in 0..3 + draw.0.below(5) {
            let name = draw.file(&mut taken);
            let below = folder.as_ref().filter(|_| draw.0.below(2) == 0);
            pages.push(Page {
                name: below.map_or(format!("{name}.html"), |f| format!("{f}/{name}.html")),
                title: draw.title(),
            });
        }
        let style = format!("{}.css", draw.file(&mut taken));
        let drawing = format!("{}.svg", draw.file(&mut taken));
        let hand = Hand {
            indent: [" ", "  ", "    ", "\t", ""][draw.pick(5)].into(),
            short: draw.0.below(2) == 0,
            container: draw.class(),
            list: draw.0.below(2) == 0,
            upper_doctype: draw.0.below(2) == 0,
            head: draw.0.below(24),
            separator: [" - ", " | ", ": ", " · ", " – "][draw.pick(5)],
        };
        let classes: Vec<String> = (0..3).map(|_| draw.class()).collect();
        let mut files = vec![
            (style.clone(), draw.style(&hand, &classes)),
            (drawing.clone(), draw.drawing()),
        ];
        for n in (0..pages.len()).rev() {
            let text = draw.page(&hand, &classes, &site, &pages, n, &style, &drawing);
            files.push((pages[n].name.clone(), text));
        }
        Self { files }
    }
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

struct Draw<'a>(&'a mut Rng);

impl Draw<'_> {
    fn pick(&mut self, of: usize) -> usize {
        usize::try_from(self.0.below(of as u64)).unwrap_or_default()
    }

    fn word(&mut self, list: &'static str) -> &'static str {
        let n = list.split_ascii_whitespace().count();
        let at = self.pick(n);
        list.split_ascii_whitespace().nth(at).unwrap_or("page")
    }

    fn noun(&mut self) -> &'static str {
        self.word(NOUNS)
    }

    fn place(&mut self) -> &'static str {
        self.word(PLACES)
    }

    fn adjective(&mut self) -> &'static str {
        self.word(ADJECTIVES)
    }

    /// A name that nobody else has.
    fn name(&mut self) -> String {
        let syllables = 2 + self.0.below(2);
        let name: String = (0..syllables).map(|_| self.word(SYLLABLES)).collect();
        capital(&name)
    }

    fn file(&mut self, taken: &mut BTreeSet<String>) -> String {
        loop {
            let name = match self.0.below(3) {
                0 => self.name().to_lowercase(),
                1 => format!("{}-{}", self.adjective(), self.noun()),
                _ => format!("{}{}", self.noun(), self.0.below(90) + 10),
            };
            if taken.insert(name.clone()) {
                return name;
            }
        }
    }

    fn class(&mut self) -> String {
        let name = self.name().to_lowercase();
        let cut = 2 + self.pick(4);
        name.chars().take(cut).collect()
    }

    fn title(&mut self) -> String {
        match self.0.below(4) {
            0 => format!("{} {}", capital(self.adjective()), self.noun()),
            1 => format!("{} and {}", capital(self.noun()), self.noun()),
            2 => format!("{} {}", self.name(), self.noun()),
            _ => format!("{} in {}", capital(self.noun()), self.name()),
        }
    }

    fn sentence(&mut self) -> String {
        let (a, b, c) = (self.noun(), self.noun(), self.place());
        let (d, e, v) = (self.adjective(), self.adjective(), self.word(VERBS));
        let name = self.name();
        match self.0.below(9) {
            0 => format!("{} {v} a {d} {a} near {name}.", self.name()),
            1 => format!("{name}'s {a} {v} the {e} {c}."),
            2 => format!("{} {a}, {d} {b}, {e} {c}.", capital(self.adjective())),
            3 => format!("With {name} we {v} {a} and {b}."),
            4 => format!("{} {v} {d} {a}s; {b}s too.", capital(c)),
            5 => format!("{}: {d}, {e} and {}.", capital(a), self.adjective()),
            6 => format!("{name} {v} {b}s at {}.", 7 + self.0.below(14)),
            7 => format!("No {a} {v} {name}, no {d} {b}."),
            _ => format!("Since {} {name} {v} {e} {a}s.", 1950 + self.0.below(73)),
        }
    }

    fn paragraph(&mut self) -> String {
        let n = 2 + self.pick(5);
        let all: Vec<String> = (0..n).map(|_| self.sentence()).collect();
        all.join(" ")
    }

    fn color(&mut self) -> String {
        let rgb = self.0.array::<3>();
        match self.0.below(3) {
            0 => format!("#{:x}{:x}{:x}", rgb[0] >> 4, rgb[1] >> 4, rgb[2] >> 4),
            1 => format!("rgb({},{},{})", rgb[0], rgb[1], rgb[2]),
            _ => format!("#{:02x}{:02x}{:02x}", rgb[0], rgb[1], rgb[2]),
        }
    }

    /// A length below `most`, of hundredths.
    fn length(&mut self, most: u64, unit: &str) -> String {
        format!("{}.{}{unit}", self.0.below(most), self.0.below(100))
    }

    fn style(&mut self, hand: &Hand, classes: &[String]) -> String {
        let fonts = [
            "serif",
            "sans-serif",
            "Georgia",
            "Verdana",
            "Arial",
            "system-ui",
            "monospace",
            "Cambria",
        ];
        let mut rules = vec![
            (
                "body".to_owned(),
                vec![
                    format!("color:{}", self.color()),
                    format!("background:{}", self.color()),
                    format!(
                        "font:{}.{}%/1.{} {}",
                        95 + self.0.below(20),
                        self.0.below(100),
                        20 + self.0.below(70),
                        fonts[self.pick(8)]
                    ),
                    format!("margin:{}.{}em", self.0.below(4), self.0.below(100)),
                ],
            ),
            (
                format!(".{}", hand.container),
                vec![
                    format!(
                        "max-width:{}.{}em",
                        30 + self.0.below(40),
                        self.0.below(100)
                    ),
                    format!("padding:{}.{}em", self.0.below(3), self.0.below(100)),
                ],
            ),
            (
                "h1".to_owned(),
                vec![
                    format!("font-size:{}.{}em", 1 + self.0.below(2), self.0.below(100)),
                    format!("color:{}", self.color()),
                ],
            ),
            ("a".to_owned(), vec![format!("color:{}", self.color())]),
        ];
        for class in classes {
            rules.push((
                format!(".{class}"),
                vec![
                    format!("margin:{} {}", self.length(4, "em"), self.length(4, "em")),
                    format!(
                        "border-width:{} {}",
                        self.length(6, "px"),
                        self.length(6, "px")
                    ),
                    format!("border-color:{}", self.color()),
                ],
            ));
        }
        let mut out = String::new();
        while !rules.is_empty() {
            let at = self.pick(rules.len());
            let (name, mut all) = rules.remove(at);
            let end = if hand.short { "" } else { "\n" };
            out += &format!("{name}{}{{{end}", if hand.list { " " } else { "" });
            while !all.is_empty() {
                let at = self.pick(all.len());
                out += &format!(
                    "{}{};{end}",
                    if hand.short { "" } else { &hand.indent },
                    all.remove(at)
                );
            }
            out += "}\n";
        }
        out
    }

    fn drawing(&mut self) -> String {
        let (w, h) = (60 + self.0.below(400), 40 + self.0.below(300));
        let mut out = format!("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {w} {h}\">");
        for _ in 0..3 + self.0.below(12) {
            let (x, y, r) = (self.0.below(w), self.0.below(h), 2 + self.0.below(40));
            let color = self.color();
            out += &match self.0.below(3) {
                0 => format!(
                    "<circle cx=\"{x}.{}\" cy=\"{y}.{}\" r=\"{r}\" fill=\"{color}\"/>",
                    self.0.below(100),
                    self.0.below(100)
                ),
                1 => format!(
                    "<path d=\"M{x} {y}L{} {}\" stroke=\"{color}\"/>",
                    self.0.below(w),
                    self.0.below(h)
                ),
                _ => format!(
                    "<path d=\"M{x} {y}h{r}v{}h-{r}z\" fill=\"{color}\"/>",
                    self.0.below(60) + 1
                ),
            };
        }
        out + "</svg>\n"
    }

    #[expect(clippy::too_many_arguments, reason = "what a page is made of")]
    fn page(
        &mut self,
        hand: &Hand,
        classes: &[String],
        site: &str,
        pages: &[Page],
        n: usize,
        style: &str,
        drawing: &str,
    ) -> String {
        let page = &pages[n];
        let up = if page.name.contains('/') { "../" } else { "" };
        let i = &hand.indent;
        let title = if n == 0 {
            site.to_owned()
        } else {
            format!("{}{}{site}", page.title, hand.separator)
        };
        let mut heads = vec![
            "<meta charset=\"utf-8\">".to_owned(),
            format!("<title>{}</title>", title.replace('&', "&amp;")),
            format!("<link rel=\"stylesheet\" href=\"{up}{style}\">"),
        ];
        if hand.head.is_multiple_of(2) {
            heads.push(format!(
                "<meta name=\"description\" content=\"{}\">",
                self.sentence()
            ));
        }
        if hand.head.is_multiple_of(3) {
            heads.push("<meta name=viewport content=\"width=device-width\">".into());
        }
        // The author's order, the same on each page.
        let turn = usize::try_from(hand.head).unwrap_or_default() % heads.len();
        heads.rotate_left(turn);
        let mut out = String::from(if hand.upper_doctype {
            "<!DOCTYPE html>\n"
        } else {
            "<!doctype html>\n"
        });
        if !hand.short {
            out += "<html>\n<head>\n";
        }
        for head in heads {
            out += &format!("{i}{head}\n");
        }
        if !hand.short {
            out += "</head>\n<body>\n";
        }
        out += &format!(
            "<div class=\"{}\">\n{i}<h1>{}</h1>\n",
            hand.container,
            page.title.replace('&', "&amp;")
        );
        let links = pages.iter().filter(|p| p.name != page.name);
        let links = links.map(|p| {
            format!(
                "<a href=\"{up}{}\">{}</a>",
                p.name,
                p.title.replace('&', "&amp;")
            )
        });
        let links: Vec<String> = links.collect();
        let end = |tag: &str| {
            if hand.short {
                String::new()
            } else {
                format!("</{tag}>")
            }
        };
        let menu = if hand.list {
            let items = links
                .iter()
                .map(|l| format!("{i}{i}<li>{l}{}\n", end("li")));
            format!(
                "{i}<ul class={}>\n{}{i}</ul>\n",
                classes[0],
                items.collect::<String>()
            )
        } else {
            format!(
                "{i}<p class={}>{}{}\n",
                classes[0],
                links.join(hand.separator),
                end("p")
            )
        };
        let below = hand.head % 4 == 1;
        if !below {
            out += &menu;
        }
        for part in 0..1 + self.pick(4) {
            if part > 0 {
                out += &format!("{i}<h2>{}</h2>\n", self.title());
            }
            for _ in 0..1 + self.pick(4) {
                let class = match self.pick(3) {
                    0 => format!(" class={}", classes[1]),
                    _ => String::new(),
                };
                out += &format!("{i}<p{class}>{}{}\n", self.paragraph(), end("p"));
            }
            if self.pick(4) == 0 {
                out += &format!("{i}<img src=\"{up}{drawing}\" alt=\"{}\">\n", self.noun());
            }
        }
        if below {
            out += &menu;
        }
        if hand.head % 5 == 2 {
            out += &format!(
                "{i}<p class={}>{} {}{}\n",
                classes[2],
                site.replace('&', "&amp;"),
                2019 + hand.head % 7,
                end("p")
            );
        }
        out += "</div>\n";
        if !hand.short {
            out += "</body>\n</html>\n";
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(n: u64) -> Vec<(String, String)> {
        Drawn::new(&Seed::from_number(n)).files
    }

    /// What HTML, SVG and CSS themselves have in every file.
    fn known(text: &str) -> String {
        let text = text.to_lowercase();
        // How far a line is indented tells nothing.
        let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
        let mut text = lines.join("\n") + "\n";
        for (common, mark) in [
            (
                "<svg xmlns=\"http://www.w3.org/2000/svg\" viewbox=\"0 0 ",
                "\u{1}",
            ),
            ("<!doctype html>\n<html>\n<head>\n", "\u{2}"),
            ("<!doctype html>\n", "\u{2}"),
            ("<link rel=\"stylesheet\" href=\"", "\u{3}"),
            ("<meta charset=\"utf-8\">", "\u{4}"),
            (
                "<meta name=viewport content=\"width=device-width\">",
                "\u{5}",
            ),
            ("<meta name=\"description\" content=\"", "\u{6}"),
            ("</head>\n<body>\n<div class=\"", "\u{7}"),
            ("</div>\n</body>\n</html>\n", "\u{8}"),
            ("<li><a href=\"index.html\">", "\u{9}"),
        ] {
            text = text.replace(common, mark);
        }
        text
    }

    #[test]
    fn two_nodes_share_no_page_no_title_no_name_and_no_string() {
        const LONG: usize = 28;
        let sites: Vec<_> = (0..12).map(files).collect();
        let names = |site: &[(String, String)]| -> BTreeSet<String> {
            let names = site.iter().map(|(name, _)| name.clone());
            names.filter(|n| n != "index.html").collect()
        };
        let titles = |site: &[(String, String)]| -> BTreeSet<String> {
            let title = |(_, text): &(String, String)| {
                let rest = text.split_once("<title>")?.1;
                Some(rest.split_once("</title>")?.0.to_owned())
            };
            site.iter().filter_map(title).collect()
        };
        let strings = |site: &[(String, String)]| -> BTreeSet<String> {
            let mut out = BTreeSet::new();
            for (_, text) in site {
                let letters: Vec<char> = known(text).chars().collect();
                out.extend(letters.windows(LONG).map(|w| w.iter().collect::<String>()));
            }
            out
        };
        let all: Vec<_> = sites
            .iter()
            .map(|s| (names(s), titles(s), strings(s)))
            .collect();
        for (n, one) in all.iter().enumerate() {
            assert!(one.0.len() >= 5 && one.1.len() >= 4, "{:?}", one.0);
            for other in &all[..n] {
                assert!(
                    one.0.is_disjoint(&other.0),
                    "{:?}",
                    one.0.intersection(&other.0)
                );
                assert!(
                    one.1.is_disjoint(&other.1),
                    "{:?}",
                    one.1.intersection(&other.1)
                );
                let common: Vec<_> = one.2.intersection(&other.2).collect();
                assert!(common.is_empty(), "{common:?}");
            }
        }
    }

    #[test]
    fn a_nodes_site_is_always_the_same_and_its_links_lead_somewhere() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        for n in 0..20 {
            let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            make_site(one.path(), &Seed::from_number(n), now).unwrap();
            make_site(two.path(), &Seed::from_number(n), now).unwrap();
            let mut times = BTreeSet::new();
            for (name, text) in files(n) {
                let read = |root: &Path| fs::read_to_string(root.join(&name)).unwrap();
                assert_eq!(read(one.path()), read(two.path()));
                let modified =
                    |root: &Path| fs::metadata(root.join(&name)).unwrap().modified().unwrap();
                assert_eq!(modified(one.path()), modified(two.path()));
                assert!(modified(one.path()) < now);
                times.insert(modified(one.path()));
                for link in text
                    .split(" href=\"")
                    .skip(1)
                    .chain(text.split(" src=\"").skip(1))
                {
                    let link = link.split('"').next().unwrap();
                    let at = one.path().join(&name);
                    assert!(at.parent().unwrap().join(link).exists(), "{name}: {link}");
                }
            }
            assert!(times.len() > 3);
        }
    }
}
