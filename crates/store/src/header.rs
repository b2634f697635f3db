//! The header line of each file, and its checksum.

use std::fmt::Write as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::{Damage, Error, Kind};

/// Version of the header line itself.
const FORMAT: u16 = 1;
/// Maximum length of the line.
const LINE_MAX: usize = 160;
/// Number of hex digits of a checksum.
const CHECK: usize = 32;

/// Form of a file: replaced whole, or appended to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Form {
    Whole,
    Journal,
}

impl Form {
    const fn word(self) -> &'static str {
        match self {
            Self::Whole => "betanet-state",
            Self::Journal => "betanet-journal",
        }
    }
}

/// The fields of a header line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Header<'a> {
    form: Form,
    kind: &'a str,
    version: u16,
    /// Length of the content that follows; 0 in a journal.
    len: usize,
    check: &'a str,
}

/// The reason why a line cannot be parsed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Problem {
    /// There is no header line.
    None,
    /// The line has a later format.
    Format(u16),
}

/// Parses a number in canonical form: no sign, no leading zero.
fn number(text: &str) -> Option<u64> {
    let n: u64 = text.parse().ok()?;
    (n.to_string() == text).then_some(n)
}

fn is_kind(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=32).contains(&text.len()) && text.bytes().all(fits)
}

impl<'a> Header<'a> {
    /// Parses the line at the start of `bytes`. Also returns the line up to its checksum, and the content after it.
    fn parse(bytes: &'a [u8]) -> Result<(Self, &'a [u8], &'a [u8]), Problem> {
        let first = &bytes[..bytes.len().min(LINE_MAX)];
        let end = first
            .iter()
            .position(|b| *b == b'\n')
            .ok_or(Problem::None)?;
        let line = std::str::from_utf8(&first[..end]).map_err(|_| Problem::None)?;
        let mut words = line.split(' ');
        let form = match words.next() {
            Some("betanet-state") => Form::Whole,
            Some("betanet-journal") => Form::Journal,
            _ => return Err(Problem::None),
        };
        let format = words.next().and_then(number);
        let format = format.and_then(|n| u16::try_from(n).ok());
        match format {
            Some(FORMAT) => {}
            Some(later) if later > FORMAT => return Err(Problem::Format(later)),
            _ => return Err(Problem::None),
        }
        let mut word = || words.next().ok_or(Problem::None);
        let (kind, version, len, check) = (word()?, word()?, word()?, word()?);
        let version = number(version).and_then(|n| u16::try_from(n).ok());
        let len = match (form, len) {
            (Form::Journal, "-") => Some(0),
            (Form::Journal, _) => None,
            (Form::Whole, len) => number(len).and_then(|n| usize::try_from(n).ok()),
        };
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let good = is_kind(kind) && check.len() == CHECK && check.bytes().all(digit);
        let (Some(version), Some(len), true, None) = (version, len, good, words.next()) else {
            return Err(Problem::None);
        };
        let header = Self {
            form,
            kind,
            version,
            len,
            check,
        };
        Ok((header, &bytes[..end - CHECK], &bytes[end + 1..]))
    }
}

/// Returns the first 16 bytes of SHA-256, in hex.
fn check(line: &[u8], content: &[u8]) -> String {
    let digest = Sha256::new().chain_update(line).chain_update(content);
    let mut out = String::with_capacity(CHECK);
    for byte in &digest.finalize()[..CHECK / 2] {
        // Writing to a string does not fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// Encodes a file's header line, followed by the content unless the file is a journal.
pub(crate) fn encode(form: Form, kind: Kind, content: &[u8]) -> Zeroizing<Vec<u8>> {
    let Kind { name, version } = kind;
    let word = form.word();
    let mut line = match form {
        Form::Whole => format!("{word} {FORMAT} {name} {version} {} ", content.len()),
        Form::Journal => format!("{word} {FORMAT} {name} {version} - "),
    };
    line += &check(line.as_bytes(), content);
    line.push('\n');
    // Reserve room for all of it, since a growing buffer leaves copies behind.
    let mut out = Zeroizing::new(Vec::with_capacity(line.len() + content.len()));
    out.extend_from_slice(line.as_bytes());
    out.extend_from_slice(content);
    out
}

/// Checks that a file has the requested form and kind. Returns its version and content.
pub(crate) fn decode<'a>(
    form: Form,
    kind: Kind,
    path: &Path,
    bytes: &'a [u8],
) -> Result<(u16, &'a [u8]), Error> {
    let damaged = |why| Error::Damaged {
        path: path.to_owned(),
        why,
    };
    let newer = |found, known| Error::Newer {
        path: path.to_owned(),
        found,
        known,
    };
    let (header, line, content) = Header::parse(bytes).map_err(|problem| match problem {
        Problem::None => damaged(Damage::Header),
        Problem::Format(found) => newer(found, FORMAT),
    })?;
    // Verify the checksum first: a corrupted digit is damage, not another version.
    let covered = match header.form {
        Form::Whole if header.len != content.len() => return Err(damaged(Damage::Length)),
        Form::Whole => content,
        Form::Journal => &[],
    };
    if check(line, covered) != header.check {
        return Err(damaged(Damage::Checksum));
    }
    if header.form != form || header.kind != kind.name {
        return Err(Error::WrongKind {
            path: path.to_owned(),
            wanted: kind.name,
        });
    }
    if header.version > kind.version {
        return Err(newer(header.version, kind.version));
    }
    Ok((header.version, content))
}

/// Decodes arbitrary bytes as files of both forms. A file that decodes must equal the encoding of its content.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    const KIND: Kind = Kind::new("fuzz", 3);
    let path = Path::new("fuzz");
    if let Ok((version, content)) = decode(Form::Whole, KIND, path, bytes) {
        let kind = Kind::new("fuzz", version);
        assert_eq!(&encode(Form::Whole, kind, content)[..], bytes);
    }
    if let Ok((version, records)) = decode(Form::Journal, KIND, path, bytes) {
        let mut again = encode(Form::Journal, Kind::new("fuzz", version), &[]);
        if let Ok(read) = crate::journal::read(records) {
            for record in &read.records {
                again.extend_from_slice(&crate::journal::encode(record));
            }
            assert_eq!(
                &again[..],
                &bytes[..bytes.len() - (records.len() - read.whole)]
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KIND: Kind = Kind::new("guard", 2);

    fn read(bytes: &[u8]) -> Result<(u16, &[u8]), Error> {
        decode(Form::Whole, KIND, Path::new("x"), bytes)
    }

    #[test]
    fn a_file_is_read_as_it_was_written() {
        let file = encode(Form::Whole, KIND, b"content");
        assert!(file.starts_with(b"betanet-state 1 guard 2 7 "));
        assert_eq!(read(&file).unwrap(), (2, &b"content"[..]));
        let older = encode(Form::Whole, Kind::new("guard", 1), b"old");
        assert_eq!(read(&older).unwrap(), (1, &b"old"[..]));
    }

    #[test]
    fn newer_ones_and_those_of_another_kind_are_told() {
        let newer = encode(Form::Whole, Kind::new("guard", 3), b"");
        assert!(matches!(
            read(&newer),
            Err(Error::Newer {
                found: 3,
                known: 2,
                ..
            })
        ));
        let format = b"betanet-state 2 anything at all\n";
        assert!(matches!(
            read(format),
            Err(Error::Newer {
                found: 2,
                known: 1,
                ..
            })
        ));
        for other in [
            encode(Form::Whole, Kind::new("mesh", 2), b"x"),
            encode(Form::Journal, KIND, b""),
        ] {
            assert!(matches!(read(&other), Err(Error::WrongKind { .. })));
        }
    }

    #[test]
    fn each_bit_that_rots_is_told() {
        let file = encode(Form::Whole, KIND, b"some content");
        for at in 0..file.len() {
            for bit in 0..8 {
                let mut bad = file.to_vec();
                bad[at] ^= 1 << bit;
                assert!(read(&bad).is_err(), "{at} {bit}");
            }
        }
        for len in 0..file.len() {
            assert!(matches!(read(&file[..len]), Err(Error::Damaged { .. })));
        }
    }

    #[test]
    fn corpus() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/state");
        let mut inputs = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            fuzz(&std::fs::read(entry.unwrap().path()).unwrap());
            inputs += 1;
        }
        assert!(inputs >= 10, "{inputs} inputs");
    }

    proptest! {
        #[test]
        fn whatever_reads_is_what_is_written(
            bytes in "betanet-(state|journal) [01]{1,2} (fuzz|x) [0-3]{1,2} [-0-4]{1,2} [0-9a-f]{32}\n.{0,4}",
            content in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            fuzz(bytes.as_bytes());
            fuzz(&encode(Form::Whole, Kind::new("fuzz", 1), &content));
            let mut journal = encode(Form::Journal, Kind::new("fuzz", 1), &[]).to_vec();
            journal.extend_from_slice(&content);
            fuzz(&journal);
        }
    }
}
