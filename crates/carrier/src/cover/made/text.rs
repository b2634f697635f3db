//! Names, words, sentences and numbers of a generated site.

use std::collections::BTreeSet;

use betanet_machine::Rng;

use super::words::{ADJECTIVES, NOUNS, PLACES, SYLLABLES, VERBS};

const WHOSE: [&str; 8] = ["the", "this", "that", "our", "my", "her", "his", "one"];
const WHERE: [&str; 14] = [
    "near", "by", "at", "past", "above", "below", "beside", "under", "over", "along", "across",
    "round", "off", "amid",
];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

fn plural(noun: &str) -> String {
    let end = |ends: &[&str]| ends.iter().any(|e| noun.ends_with(e));
    match noun.strip_suffix('y') {
        Some(stem) if !end(&["ay", "ey", "oy", "uy"]) => format!("{stem}ies"),
        _ if end(&["s", "x", "z", "ch", "sh"]) => format!("{noun}es"),
        _ => format!("{noun}s"),
    }
}

pub(super) fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

fn written([r, g, b]: [u8; 3]) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// Source of everything that is drawn.
pub(super) struct Draw<'a>(pub(super) &'a mut Rng);

impl Draw<'_> {
    pub(super) fn below(&mut self, of: usize) -> usize {
        usize::try_from(self.0.below(of as u64)).unwrap_or_default()
    }

    /// True with probability 1 in `times`.
    pub(super) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(super) fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn word(&mut self, list: &'static str) -> &'static str {
        let n = list.split_ascii_whitespace().count();
        let at = self.below(n);
        list.split_ascii_whitespace().nth(at).unwrap_or("page")
    }

    pub(super) fn noun(&mut self) -> &'static str {
        self.word(NOUNS)
    }

    pub(super) fn adjective(&mut self) -> &'static str {
        self.word(ADJECTIVES)
    }

    fn verb(&mut self) -> &'static str {
        self.word(VERBS)
    }

    pub(super) fn place(&mut self) -> &'static str {
        self.word(PLACES)
    }

    /// A unique name in lower case.
    pub(super) fn small_name(&mut self) -> String {
        (0..3).map(|_| self.word(SYLLABLES)).collect()
    }

    /// A shorter name, which need not be unique.
    pub(super) fn short_name(&mut self) -> String {
        (0..2).map(|_| self.word(SYLLABLES)).collect()
    }

    pub(super) fn name(&mut self) -> String {
        capital(&self.small_name())
    }

    /// Title of a page or of a part. It ends with a name, so that no two sites share the end of a title.
    pub(super) fn title(&mut self) -> String {
        let name = self.name();
        match self.below(6) {
            0 => name,
            1 => format!("{} {name}", capital(self.adjective())),
            2 => format!("{} of {name}", capital(self.noun())),
            3 => format!("{} and {name}", self.name()),
            4 => format!(
                "{} {} {name}",
                capital(self.noun()),
                self.one(&["at", "by", "in"])
            ),
            _ => format!("{} {} {name}", capital(self.adjective()), self.noun()),
        }
    }

    /// A noun phrase in the middle of a sentence.
    fn thing(&mut self) -> String {
        let (noun, adjective) = (self.noun(), self.adjective());
        match self.below(5) {
            0 | 1 => format!("{}'s {adjective} {noun}", self.name()),
            2 => format!("{} {adjective} {noun}", self.one(&WHOSE)),
            3 => format!("{} {adjective} {}", 2 + self.below(98), plural(noun)),
            _ => format!("{adjective} {}", plural(noun)),
        }
    }

    fn somewhere(&mut self) -> String {
        let at = self.one(&WHERE);
        match self.below(2) {
            0 => format!("{at} {}", self.name()),
            _ => format!("{at} {}'s {}", self.name(), self.place()),
        }
    }

    fn sometime(&mut self) -> String {
        let (day, month) = (1 + self.below(28), self.one(&MONTHS));
        match self.below(4) {
            0 => format!("in {}", 1880 + self.below(143)),
            1 => format!("at {}:{:02}", 6 + self.below(17), self.below(60)),
            2 => format!("on {day} {month} {}", 1920 + self.below(103)),
            _ => format!("by {month} {day}"),
        }
    }

    fn sentence(&mut self) -> String {
        let (first, second, verb) = (capital(&self.thing()), self.thing(), self.verb());
        match self.below(8) {
            0 => format!("{first} {verb} {second}."),
            1 => format!("{first} {verb} {second} {}.", self.somewhere()),
            2 => format!(
                "{}, {second} {verb} {}.",
                capital(&self.somewhere()),
                self.thing()
            ),
            3 => format!("{} {verb} {second} {}.", self.name(), self.somewhere()),
            4 => format!(
                "{first}, {second} and {} {verb} {}.",
                self.name(),
                self.thing()
            ),
            5 => format!("{} and {} {verb} {second}.", self.name(), self.name()),
            6 => format!(
                "{}, {second} {verb} {}.",
                capital(&self.sometime()),
                self.thing()
            ),
            _ => format!("{first} {verb} {second} {}.", self.sometime()),
        }
    }

    /// Sentences whose first begins and whose last ends with a name: the markup around paragraphs is the same everywhere.
    pub(super) fn paragraph(&mut self) -> String {
        let (name, verb) = (self.name(), self.verb());
        let mut out = match self.below(3) {
            0 => format!("{name} {verb} {}.", self.thing()),
            1 => format!("{name}'s {} {verb} {}.", self.noun(), self.somewhere()),
            _ => format!("{name} {verb} {} {}.", self.somewhere(), self.sometime()),
        };
        for _ in 0..self.below(3) {
            out += " ";
            out += &self.sentence();
        }
        let (thing, verb, name) = (capital(&self.thing()), self.verb(), self.name());
        out += &match self.below(3) {
            0 => format!(" {thing} {verb} {} {name}.", self.one(&WHERE)),
            1 => format!(" {thing} {verb} {} and {name}.", self.thing()),
            _ => format!(
                " {thing} {verb} {}, {} {name}.",
                self.thing(),
                self.one(&WHERE)
            ),
        };
        out
    }

    /// A name that is unused in the site; `taken` holds the used ones.
    pub(super) fn fresh(
        &mut self,
        taken: &mut BTreeSet<String>,
        mut draw: impl FnMut(&mut Self) -> String,
    ) -> String {
        loop {
            let name = draw(self);
            if taken.insert(name.clone()) {
                return name;
            }
        }
    }

    pub(super) fn color(&mut self) -> String {
        written(self.0.array())
    }

    /// A text color that is legible on paper.
    pub(super) fn ink(&mut self) -> String {
        written(self.0.array().map(|c| c / 3))
    }

    /// A background color on which ink is legible.
    pub(super) fn paper(&mut self) -> String {
        written(self.0.array().map(|c| 255 - c / 2))
    }

    /// A file name by one of five schemes.
    pub(super) fn file(&mut self, scheme: usize) -> String {
        let name = self.small_name();
        match scheme {
            0 => name,
            1 => format!("{name}-{}", self.noun()),
            2 => format!("{name}_{}", self.noun()),
            3 => format!("{name}{:02}", self.below(100)),
            _ => format!("{name}.{}", self.adjective()),
        }
    }

    pub(super) fn number_of(&mut self, below: u32) -> u32 {
        u32::try_from(self.0.below(below.into())).unwrap_or_default()
    }

    /// A number of thousandths from `least` to below `most`.
    pub(super) fn number(&mut self, least: usize, most: usize) -> String {
        format!(
            "{}.{:03}",
            least + self.below(most - least),
            self.below(1000)
        )
    }
}
