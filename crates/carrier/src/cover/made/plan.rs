//! Properties that all pages of a generated site share.

use std::collections::BTreeSet;

use super::hand::{Hand, Marked};
use super::text::Draw;

/// Location of a site's pages.
#[derive(Clone, Copy)]
pub(super) enum Places {
    /// Beside the first page, with this extension.
    Beside(&'static str),
    /// In one folder.
    Below(&'static str),
    /// Each in a folder of its own, whose name links use.
    Own,
}

pub(super) enum Menu {
    /// A list with such items.
    List(Marked),
    /// A line with this separator between two links.
    Line(&'static str),
    /// One link per line.
    Lines,
    /// A table row, and its cells.
    Row(Marked, Marked),
}

/// How pages include the site's style.
#[derive(Clone, Copy)]
pub(super) enum Sheet {
    /// An `@import` rule with a file name in these quotes.
    Import(char),
    Link,
    /// The style is part of each page.
    Within,
}

/// How the parts of a page are separated.
pub(super) enum Parts {
    Bare,
    Boxes(Marked),
    Ruled(Marked),
    Headed(Marked),
}

pub(super) struct Page {
    /// File name without extension and folder.
    pub(super) name: String,
    pub(super) title: String,
}

pub(super) struct Plan {
    pub(super) hand: Hand,
    /// Owner of the site, and its name.
    pub(super) owner: String,
    pub(super) name: String,
    pub(super) pages: Vec<Page>,
    pub(super) places: Places,
    pub(super) folder: String,
    /// Whether links begin at the site's root.
    pub(super) rooted: bool,
    pub(super) sheet: Sheet,
    pub(super) sheet_id: String,
    pub(super) style: (String, String),
    pub(super) drawings: Vec<(String, String)>,
    pub(super) separator: &'static str,
    /// Version of the style in links to it.
    pub(super) version: u32,
    /// Order of the head's parts: the encoding, the title, the style.
    pub(super) order: [usize; 3],
    /// Whether the document type is in upper case.
    pub(super) upper: bool,
    pub(super) html: Option<Marked>,
    pub(super) head: bool,
    pub(super) body: Option<Marked>,
    pub(super) around: Vec<Marked>,
    pub(super) top: Option<Marked>,
    pub(super) menu: Menu,
    pub(super) menu_box: Marked,
    pub(super) menu_below: bool,
    pub(super) parts: Parts,
    pub(super) foot: Option<(Marked, usize)>,
}

impl Plan {
    pub(super) fn new(draw: &mut Draw<'_>) -> Self {
        let hand = Hand::new(draw);
        let owner = draw.name();
        let name = match draw.below(6) {
            0 => format!("{owner} {}", draw.noun()),
            1 => format!("{owner} {}", draw.place()),
            2 => format!("{owner} & {}", draw.name()),
            3 => format!("{owner}'s {} {}", draw.adjective(), draw.noun()),
            4 => format!("{owner}, {} {}", draw.adjective(), draw.place()),
            _ => owner.clone(),
        };
        let ending = draw.one(&[".html", ".htm"]);
        let places = [Places::Own, Places::Below(ending), Places::Beside(ending)];
        let mut taken = BTreeSet::from(["index".to_owned()]);
        let scheme = draw.below(5);
        let mut fresh = |draw: &mut Draw<'_>| draw.fresh(&mut taken, |draw| draw.file(scheme));
        let folder = fresh(draw);
        let pages: Vec<Page> = (0..4 + draw.below(5))
            .map(|_| Page {
                name: fresh(draw),
                title: draw.title(),
            })
            .collect();
        let drawings: Vec<(String, String)> = (0..1 + draw.below(3))
            .map(|_| (format!("{}.svg", fresh(draw)), draw.drawing()))
            .collect();
        let style = format!("{}.css", fresh(draw));
        let sheet = match draw.below(4) {
            0 => Sheet::Within,
            1 => Sheet::Link,
            _ => Sheet::Import(draw.one(&['"', '\''])),
        };
        let some = |draw: &mut Draw<'_>, times, tags: &[&'static str], keys: &[&'static str]| {
            let marked = hand.marked(draw, tags, keys);
            (!draw.once_in(times)).then_some(marked)
        };
        let both = ["id", "class"];
        let around = (0..1 + draw.below(3)).map(|_| hand.marked(draw, &["div"], &both));
        let around: Vec<Marked> = around.collect();
        let (menu, boxes): (Menu, &[&str]) = match draw.below(6) {
            0 => (Menu::List(hand.marked(draw, &["li"], &["class"])), &["ul"]),
            1 => (Menu::List(hand.marked(draw, &["li"], &["class"])), &["ol"]),
            2 => {
                let row = hand.marked(draw, &["tr"], &both);
                (
                    Menu::Row(row, hand.marked(draw, &["td"], &["class"])),
                    &["table"],
                )
            }
            3 => (Menu::Lines, &["nav", "div"]),
            _ => {
                let between = draw.one(&[" ", " | ", " · ", ", ", " / ", " – ", " * "]);
                (Menu::Line(between), &["nav", "div", "p"])
            }
        };
        let menu_box = hand.marked(draw, boxes, &both);
        let parts = match draw.below(4) {
            0 => Parts::Bare,
            1 => Parts::Boxes(hand.marked(draw, &["div"], &["class"])),
            2 => Parts::Ruled(hand.marked(draw, &["hr"], &["class"])),
            _ => Parts::Headed(hand.marked(draw, &["h2"], &["class"])),
        };
        let head = draw.once_in(2) && !matches!(sheet, Sheet::Within);
        // Between adjacent tags stands drawn text.
        let order = match sheet {
            Sheet::Within => [2, 0, 1],
            _ if head => [1, 0, 2],
            _ => draw.one(&[[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1]]),
        };
        let mut plan = Self {
            owner,
            name,
            pages,
            places: draw.one(&places),
            folder,
            rooted: draw.once_in(2),
            sheet,
            sheet_id: draw.small_name(),
            style: (style, String::new()),
            drawings,
            separator: draw.one(&[" - ", " | ", ": ", " · ", " – ", " / "]),
            version: draw.number_of(1 << 24),
            order,
            upper: draw.once_in(2),
            html: some(draw, 2, &["html"], &both),
            head,
            body: some(draw, 3, &["body"], &both),
            around,
            top: some(draw, 3, &["header", "div"], &both),
            menu,
            menu_box,
            menu_below: draw.once_in(4),
            parts,
            foot: some(draw, 4, &["footer", "p", "div"], &["id"])
                .map(|marked| (marked, 1995 + draw.below(28))),
            hand,
        };
        let selectors: Vec<String> = plan.marked().map(Marked::selector).collect();
        plan.style.1 = draw.style(&plan.hand, &selectors);
        plan
    }

    /// All elements with a class or an id.
    fn marked(&self) -> impl Iterator<Item = &Marked> {
        let (row, item) = match &self.menu {
            Menu::List(item) => (None, Some(item)),
            Menu::Row(row, item) => (Some(row), Some(item)),
            Menu::Line(_) | Menu::Lines => (None, None),
        };
        let foot = self.foot.as_ref().map(|(marked, _)| marked);
        let part = match &self.parts {
            Parts::Bare => None,
            Parts::Boxes(of) | Parts::Ruled(of) | Parts::Headed(of) => Some(of),
        };
        let some = [&self.html, &self.body, &self.top].into_iter().flatten();
        let some = some.chain(part).chain(row).chain(item).chain(foot);
        some.chain([&self.menu_box]).chain(&self.around)
    }

    /// The site's files; the first page is the last of them.
    pub(super) fn files(&self, draw: &mut Draw<'_>) -> Vec<(String, String)> {
        let mut files = self.drawings.clone();
        if !matches!(self.sheet, Sheet::Within) {
            files.push(self.style.clone());
        }
        for n in (0..self.pages.len()).map(Some).rev().chain([None]) {
            files.push((self.file(n), self.page(draw, n)));
        }
        files
    }

    /// File name of a page, or of the first page.
    fn file(&self, page: Option<usize>) -> String {
        let Some(page) = page.map(|n| &self.pages[n]) else {
            return "index.html".into();
        };
        match self.places {
            Places::Beside(ending) => format!("{}{ending}", page.name),
            Places::Below(ending) => format!("{}/{}{ending}", self.folder, page.name),
            Places::Own => format!("{}/index.html", page.name),
        }
    }

    /// Path from one page to a file in the site's root.
    pub(super) fn at_root(&self, from: Option<usize>, name: &str) -> String {
        let below = from.is_some() && !matches!(self.places, Places::Beside(_));
        match (self.rooted, below) {
            (true, _) => format!("/{name}"),
            (false, true) => format!("../{name}"),
            (false, false) if name.is_empty() => "./".into(),
            (false, false) => name.into(),
        }
    }

    /// Path from one page to another.
    pub(super) fn link(&self, from: Option<usize>, to: Option<usize>) -> String {
        let Some(n) = to else {
            return self.at_root(from, "");
        };
        let name = &self.pages[n].name;
        match self.places {
            Places::Own => self.at_root(from, &format!("{name}/")),
            Places::Below(ending) if from.is_some() && !self.rooted => format!("{name}{ending}"),
            _ => self.at_root(from, &self.file(to)),
        }
    }
}
