//! Pages of a generated site.

use super::hand::Marked;
use super::plan::{Menu, Parts, Plan, Sheet};
use super::text::Draw;

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
}

/// A page being written.
struct Written<'a> {
    text: String,
    indent: &'a str,
}

impl Written<'_> {
    fn line(&mut self, line: &str) {
        self.text += line;
        self.text += "\n";
    }

    fn inner(&mut self, line: &str) {
        self.text += self.indent;
        self.line(line);
    }
}

impl Plan {
    /// Writes page `n`, or the first page for `None`.
    pub(super) fn page(&self, draw: &mut Draw<'_>, n: Option<usize>) -> String {
        let hand = &self.hand;
        let mut out = Written {
            text: String::new(),
            indent: hand.indent,
        };
        out.line(if self.upper {
            "<!DOCTYPE html>"
        } else {
            "<!doctype html>"
        });
        let title = escaped(n.map_or(&self.owner, |n| &self.pages[n].title));
        self.head(&mut out, n, &title);
        for of in self.body.iter().chain(&self.around) {
            out.line(&hand.open(of));
        }
        if let Some(top) = &self.top {
            out.line(&hand.open(top));
        }
        out.inner(&format!("<h1>{title}</h1>"));
        if let Some(top) = &self.top {
            out.line(&top.close());
        }
        if !self.menu_below {
            self.menu(&mut out, n);
        }
        self.parts(draw, &mut out, n);
        if self.menu_below {
            self.menu(&mut out, n);
        }
        if let Some((foot, since)) = &self.foot {
            let name = escaped(&self.name);
            out.line(&format!(
                "{}{name} {since}{}",
                hand.open(foot),
                foot.close()
            ));
        }
        for of in self.around.iter().rev() {
            out.line(&of.close());
        }
        for of in self.body.iter().chain(&self.html) {
            out.line(&of.close());
        }
        out.text
    }

    fn head(&self, out: &mut Written<'_>, n: Option<usize>, title: &str) {
        let (hand, site) = (&self.hand, escaped(&self.name));
        let title = match n {
            None => site,
            Some(_) => format!("{site}{}{title}", self.separator),
        };
        let ((style, rules), version) = (&self.style, self.version);
        let style = self.at_root(n, style);
        let id = format!("<style{}>", hand.attribute("id", &self.sheet_id));
        let sheet = match self.sheet {
            Sheet::Import(quote) => {
                format!("{id}@import {quote}{style}?{version:06x}{quote};</style>")
            }
            Sheet::Link => format!(
                "<link href={style}?{version:06x} rel=stylesheet id={}>",
                self.sheet_id
            ),
            Sheet::Within => format!("{id}\n{rules}</style>"),
        };
        let heads = [
            format!("<meta{}>", hand.attribute("charset", "utf-8")),
            format!("<title>{title}</title>"),
            sheet,
        ];
        if let Some(html) = &self.html {
            out.line(&hand.open(html));
        }
        if self.head {
            out.line("<head>");
        }
        for at in self.order {
            out.line(&heads[at]);
        }
        if self.head {
            out.line("</head>");
        }
    }

    fn menu(&self, out: &mut Written<'_>, n: Option<usize>) {
        let hand = &self.hand;
        let first = n.map(|_| (None, &self.owner));
        let pages = self.pages.iter().enumerate();
        let pages = pages.map(|(to, page)| (Some(to), &page.title));
        let links = first.into_iter().chain(pages).filter(|(to, _)| *to != n);
        let links = links.map(|(to, title)| {
            let href = hand.attribute("href", &self.link(n, to));
            format!("<a{href}>{}</a>", escaped(title))
        });
        let links: Vec<String> = links.collect();
        let of = &self.menu_box;
        let item = |item: &Marked, link: &String| {
            format!("{}{link}{}", hand.open(item), hand.end(item.tag))
        };
        match &self.menu {
            Menu::Line(between) => {
                let links = links.join(between);
                out.inner(&format!("{}{links}{}", hand.open(of), of.close()));
                return;
            }
            Menu::List(_) | Menu::Lines | Menu::Row(..) => out.line(&hand.open(of)),
        }
        match &self.menu {
            Menu::List(li) => links.iter().for_each(|l| out.inner(&item(li, l))),
            Menu::Row(tr, td) => {
                out.line(&hand.open(tr));
                links.iter().for_each(|l| out.inner(&item(td, l)));
                out.text += &hand.end("tr");
            }
            Menu::Line(_) | Menu::Lines => links.iter().for_each(|l| out.inner(l)),
        }
        out.line(&of.close());
    }

    fn parts(&self, draw: &mut Draw<'_>, out: &mut Written<'_>, n: Option<usize>) {
        let hand = &self.hand;
        for part in 0..1 + draw.below(3) {
            if let Parts::Boxes(of) = &self.parts {
                out.line(&hand.open(of));
            }
            if part > 0 {
                let title = draw.title();
                match &self.parts {
                    Parts::Bare | Parts::Boxes(_) => out.inner(&format!("<h2>{title}</h2>")),
                    Parts::Ruled(hr) => {
                        out.line(&hand.open(hr));
                        out.inner(&format!("<h2>{title}</h2>"));
                    }
                    Parts::Headed(h2) => out.inner(&format!("{}{title}</h2>", hand.open(h2))),
                }
            }
            if draw.once_in(3) {
                let at = draw.below(self.drawings.len());
                let src = hand.attribute("src", &self.at_root(n, &self.drawings[at].0));
                let alt = hand.attribute("alt", &format!("{} {}", draw.name(), draw.noun()));
                out.inner(&format!("<img{src}{alt}>"));
            }
            for _ in 0..1 + draw.below(2) {
                let text = hand.text(&draw.paragraph());
                out.inner(&format!("<p>{text}{}", hand.end("p")));
            }
            if let Parts::Boxes(of) = &self.parts {
                out.line(&of.close());
            }
        }
    }
}
