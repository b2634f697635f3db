/// A fault of a TOML text: its syntax, an unknown key, or a value of another type.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TomlError(Box<toml::de::Error>);

impl TomlError {
    /// Returns the offset of the fault in the text, in bytes; 0 if it is not known.
    pub(crate) fn offset(&self) -> usize {
        self.0.span().map_or(0, |span| span.start)
    }
}

impl From<toml::de::Error> for TomlError {
    fn from(error: toml::de::Error) -> Self {
        Self(Box::new(error))
    }
}

impl std::fmt::Display for TomlError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.message())
    }
}

impl std::error::Error for TomlError {}
