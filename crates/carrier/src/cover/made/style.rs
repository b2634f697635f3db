//! Style and drawings of a generated site.

use super::hand::Hand;
use super::text::Draw;

const FONTS: [&str; 16] = [
    "Georgia", "Verdana", "Arial", "Cambria", "Tahoma", "Optima", "Candara", "Calibri", "Corbel",
    "Charter", "Futura", "Didot", "Geneva", "Lucida", "Avenir", "Bodoni",
];

impl Draw<'_> {
    fn length(&mut self, least: usize, most: usize) -> String {
        let (unit, pixels) = self.one(&[("em", 1), ("rem", 1), ("px", 16), ("px", 14)]);
        format!(
            "{}{}{unit}",
            self.number(least * pixels, most * pixels),
            self.below(10)
        )
    }

    /// Declarations of an element, or of a tag's elements.
    fn declarations(&mut self, tag: bool) -> Vec<(&'static str, String)> {
        let mut all = Vec::new();
        match self.below(3) {
            1 if !tag => all.push(("background", self.paper())),
            2 if !tag => {
                let line = self.one(&["solid", "dotted", "dashed", "double"]);
                all.push((
                    "border",
                    format!("{} {line} {}", self.color(), self.length(0, 1)),
                ));
            }
            _ => {}
        }
        let some = 1 + self.below(7);
        if some & 1 != 0 {
            all.push(("color", self.ink()));
        }
        for (bit, property) in [(2, "margin"), (4, "padding")] {
            if some & bit != 0 {
                all.push((
                    property,
                    format!("{} {}", self.length(0, 4), self.length(0, 4)),
                ));
            }
        }
        all
    }

    /// The rules of a site whose elements have these selectors.
    pub(super) fn style(&mut self, hand: &Hand, selectors: &[String]) -> String {
        let family = self.one(&FONTS);
        let font = format!(
            "{}%/{}% {family}",
            self.number(92, 120),
            self.number(120, 170)
        );
        let body = [
            ("font", font),
            ("color", self.ink()),
            ("background", self.paper()),
        ];
        let mut out = hand.style.rule("body", &body);
        let mut rules = selectors.to_vec();
        for tag in ["a", "h1", "h2", "p", "img"] {
            if !self.once_in(3) {
                let within = &selectors[self.below(selectors.len())];
                rules.push(format!("{within} {tag}"));
            }
        }
        while !rules.is_empty() {
            let at = self.below(rules.len());
            let selector = rules.remove(at);
            let declarations = self.declarations(selector.contains(' '));
            out += &hand.style.rule(&selector, &declarations);
        }
        out
    }

    /// An image of a few shapes.
    pub(super) fn drawing(&mut self) -> String {
        let quote = self.one(&['"', '\'']);
        let between = self.one(&["", "\n"]);
        let (w, h) = (100 + self.below(900), 100 + self.below(700));
        let name = self.small_name();
        let attribute = |key: &str, value: &str| format!(" {key}={quote}{value}{quote}");
        let mut out = format!(
            "<svg{}{}{}>",
            attribute("id", &name),
            attribute(
                "viewBox",
                &format!("0 0 {} {}", self.number(w, w + 1), self.number(h, h + 1))
            ),
            attribute("xmlns", "http://www.w3.org/2000/svg"),
        );
        for _ in 0..2 + self.below(5) {
            let mut form = format!("M{} {}", self.number(0, w), self.number(0, h));
            for _ in 0..1 + self.below(5) {
                let (x, y) = (self.number(0, w), self.number(0, h));
                form += &match self.below(4) {
                    0 => format!("h{x}v{y}"),
                    1 => format!("Q{x} {y} {} {}", self.number(0, w), self.number(0, h)),
                    _ => format!("L{x} {y}"),
                };
            }
            let form = attribute("d", &(form + self.one(&["", "z"])));
            let paint = attribute(self.one(&["fill", "stroke"]), &self.color());
            out += &format!("{between}<path{form}{paint}/>");
        }
        out + between + "</svg>\n"
    }
}
