//! The look of an alias: facts that a program shows beside it, because two aliases may look alike.

use alloc::string::String;
use alloc::vec::Vec;

use unicode_script::{Script, UnicodeScript as _};
use unicode_security::MixedScript as _;
use unicode_security::skeleton;

use crate::Alias;

/// Scripts of an alias, and whether it looks like another (Unicode Technical Standard 39). Nothing is refused for its look.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Look {
    /// English names of its scripts, such as `Latin`, each once, in alphabetical order. Digits and hyphens belong to none.
    pub scripts: Vec<&'static str>,
    /// Whether a label has characters of scripts that no one language uses together.
    pub mixed: bool,
    /// A plain ASCII text that the whole alias can be taken for, where it is not ASCII itself.
    pub like_ascii: Option<String>,
}

impl Look {
    /// Looks at an alias.
    #[must_use]
    pub fn of(alias: &Alias) -> Self {
        let text = alias.to_unicode();
        let scripts = text.chars().map(|c| c.script());
        let named = |s: &Script| !matches!(s, Script::Common | Script::Inherited);
        let mut scripts: Vec<&str> = scripts.filter(named).map(Script::full_name).collect();
        scripts.sort_unstable();
        scripts.dedup();
        let like = shape(&text);
        Self {
            scripts,
            mixed: !text.split('.').all(|label| label.is_single_script()),
            like_ascii: (!text.is_ascii() && like.is_ascii()).then_some(like),
        }
    }

    /// Whether there is something to warn of.
    #[must_use]
    pub const fn is_suspicious(&self) -> bool {
        self.mixed || self.like_ascii.is_some()
    }
}

/// Whether two different aliases look alike.
#[must_use]
pub fn look_alike(a: &Alias, b: &Alias) -> bool {
    a != b && shape(&a.to_unicode()) == shape(&b.to_unicode())
}

/// A text's skeleton: equal for texts that look alike. It is not meant to be read.
fn shape(text: &str) -> String {
    skeleton(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(text: &str) -> Look {
        Look::of(&Alias::parse(text).unwrap())
    }

    #[test]
    fn mixed_scripts_and_confusables_are_shown() {
        let plain = look("files.example-1");
        assert_eq!(
            (plain.scripts.as_slice(), plain.is_suspicious()),
            (&["Latin"][..], false)
        );
        // A Cyrillic `а` among Latin letters.
        let mixed = look("p\u{430}ypal");
        assert_eq!(mixed.scripts, ["Cyrillic", "Latin"]);
        assert!(mixed.mixed);
        // Cyrillic throughout, and taken for Latin.
        let whole = look("\u{440}\u{430}\u{443}");
        assert_eq!(whole.scripts, ["Cyrillic"]);
        assert_eq!(
            (whole.mixed, whole.like_ascii.as_deref()),
            (false, Some("pay"))
        );
        // Cyrillic that looks like nothing else, and scripts that belong together.
        for text in ["журнал", "例えテスト", "bücher", "한국"] {
            assert!(!look(text).mixed, "{text}");
        }
        assert!(!look("журнал").is_suspicious());
        // Each label by itself.
        assert!(!look("журнал.example").mixed);
        assert_eq!(look("журнал.example").scripts, ["Cyrillic", "Latin"]);
    }

    #[test]
    fn aliases_that_look_alike_are_found() {
        let alias = |text| Alias::parse(text).unwrap();
        assert!(look_alike(&alias("paypal"), &alias("paypa1")));
        assert!(look_alike(&alias("p\u{430}ypal"), &alias("paypal")));
        assert!(!look_alike(&alias("paypal"), &alias("paypal")));
        assert!(!look_alike(&alias("paypal"), &alias("payday")));
    }
}
