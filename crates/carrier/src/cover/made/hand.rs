//! One author's way of writing markup and style.

use super::text::{Draw, capital};

/// An element that this author marks, with its class or id.
pub(super) struct Marked {
    pub(super) tag: &'static str,
    key: &'static str,
    name: String,
}

impl Marked {
    /// The selector of the element's style.
    pub(super) fn selector(&self) -> String {
        let sign = if self.key == "id" { '#' } else { '.' };
        format!("{sign}{}", self.name)
    }

    /// The element's end tag.
    pub(super) fn close(&self) -> String {
        format!("</{}>", self.tag)
    }
}

/// Scheme for classes and ids.
#[derive(Clone, Copy)]
enum Naming {
    Invented,
    Numbered,
    Two(char),
    Camel,
}

/// Markup style of this site's author.
pub(super) struct Hand {
    quote: Option<char>,
    pub(super) indent: &'static str,
    /// Whether optional end tags are omitted.
    short: bool,
    /// Maximum number of letters in a line of text.
    wrap: Option<usize>,
    naming: Naming,
    pub(super) style: StyleHand,
}

/// Stylesheet style of this site's author.
pub(super) struct StyleHand {
    open: &'static str,
    colon: &'static str,
    before: &'static str,
    after: &'static str,
    close: &'static str,
}

impl Hand {
    pub(super) fn new(draw: &mut Draw<'_>) -> Self {
        let indent = draw.one(&["", "", " ", "  ", "\t", "   "]);
        let lines = !draw.once_in(3);
        let style = StyleHand {
            open: draw.one(&["{", " {"]),
            colon: draw.one(&[":", ": "]),
            before: if lines {
                draw.one(&["", " ", "  ", "\t"])
            } else {
                ""
            },
            after: if lines { "\n" } else { draw.one(&["", " "]) },
            close: draw.one(&["}\n", "}\n\n"]),
        };
        Self {
            quote: draw.one(&[None, Some('"'), Some('\'')]),
            indent,
            short: draw.once_in(2),
            wrap: draw.one(&[None, None, Some(64), Some(72), Some(80), Some(96)]),
            naming: draw.one(&[
                Naming::Invented,
                Naming::Numbered,
                Naming::Two('-'),
                Naming::Two('_'),
                Naming::Camel,
            ]),
            style,
        }
    }

    pub(super) fn class(&self, draw: &mut Draw<'_>) -> String {
        match self.naming {
            Naming::Invented => draw.small_name(),
            Naming::Numbered => format!("{}{}", draw.small_name(), 1 + draw.below(40)),
            Naming::Two(between) => format!("{}{between}{}", draw.short_name(), draw.short_name()),
            Naming::Camel => format!("{}{}", draw.short_name(), capital(&draw.short_name())),
        }
    }

    pub(super) fn marked(
        &self,
        draw: &mut Draw<'_>,
        tags: &[&'static str],
        keys: &[&'static str],
    ) -> Marked {
        Marked {
            tag: draw.one(tags),
            key: draw.one(keys),
            name: self.class(draw),
        }
    }

    pub(super) fn attribute(&self, key: &str, value: &str) -> String {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./#".contains(c);
        match self.quote {
            None if !value.is_empty() && value.chars().all(plain) => format!(" {key}={value}"),
            quote => {
                let quote = quote.unwrap_or('"');
                format!(" {key}={quote}{value}{quote}")
            }
        }
    }

    /// Start tag of an element.
    pub(super) fn open(&self, of: &Marked) -> String {
        format!("<{}{}>", of.tag, self.attribute(of.key, &of.name))
    }

    /// An optional end tag.
    pub(super) fn end(&self, tag: &str) -> String {
        if self.short {
            String::new()
        } else {
            format!("</{tag}>")
        }
    }

    /// Text of a paragraph, on one or several lines.
    pub(super) fn text(&self, text: &str) -> String {
        let Some(most) = self.wrap else {
            return text.to_owned();
        };
        let (mut out, mut line) = (String::new(), 0);
        for word in text.split(' ') {
            let letters = word.chars().count();
            if line > 0 && line + letters > most {
                out += "\n";
                out += self.indent;
                line = 0;
            } else if line > 0 {
                out += " ";
            }
            out += word;
            line += letters + 1;
        }
        out
    }
}

impl StyleHand {
    /// Formats a style rule.
    pub(super) fn rule(&self, selector: &str, declarations: &[(&str, String)]) -> String {
        let Self {
            open,
            colon,
            before,
            after,
            close,
        } = self;
        let mut out = format!("{selector}{open}{after}");
        for (property, value) in declarations {
            out += &format!("{before}{property}{colon}{value};{after}");
        }
        out + close
    }
}
