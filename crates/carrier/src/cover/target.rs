//! A request target, decoded and without `.`, `..` and doubled slashes, as in the imitated server.

/// A path that begins with `/`, and the query.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Target {
    pub(crate) path: Vec<u8>,
    pub(crate) query: Vec<u8>,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum At {
    Usual,
    Slash,
    Dot,
    DotDot,
}

/// Parses a target; `None` for one that is answered with 400: a broken escape, NUL, or a way out of the site.
pub(crate) fn target(raw: &[u8]) -> Option<Target> {
    let mut out = Target::default();
    let path = &mut out.path;
    match raw.first() {
        Some(b'/') => {}
        // An absolute target may lack a path.
        None | Some(b'?') => path.push(b'/'),
        Some(_) => return None,
    }
    let mut at = At::Usual;
    let mut rest = raw;
    let mut query = None;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        let (b, literal) = match first {
            b'%' => {
                let (digits, after) = rest.split_at_checked(2)?;
                rest = after;
                let digit = |b: u8| {
                    char::from(b)
                        .to_digit(16)
                        .and_then(|d| u8::try_from(d).ok())
                };
                let b = digit(digits[0])? << 4 | digit(digits[1])?;
                if b == 0 {
                    return None;
                }
                // These bytes are taken literally.
                (b, matches!(b, b'%' | b'#' | b'?'))
            }
            0 => return None,
            b => (b, false),
        };
        if literal {
            path.push(b);
            at = At::Usual;
            continue;
        }
        let ends = matches!(b, b'/' | b'?' | b'#');
        match at {
            At::Dot if ends => {
                path.pop();
            }
            At::DotDot if ends => up(path)?,
            _ => {}
        }
        match b {
            b'?' => {
                query = Some(rest);
                at = At::Usual;
                break;
            }
            b'#' => {
                at = At::Usual;
                break;
            }
            b'/' => {
                if path.last() != Some(&b'/') {
                    path.push(b);
                }
                at = At::Slash;
            }
            _ => {
                path.push(b);
                at = match (at, b) {
                    (At::Slash, b'.') => At::Dot,
                    (At::Dot, b'.') => At::DotDot,
                    _ => At::Usual,
                };
            }
        }
    }
    match at {
        At::Dot => {
            path.pop();
        }
        At::DotDot => up(path)?,
        At::Usual | At::Slash => {}
    }
    if let Some(query) = query {
        let end = query.iter().position(|b| *b == b'#');
        out.query = query[..end.unwrap_or(query.len())].to_vec();
    }
    Some(out)
}

/// Removes `/x/..` from the end of a path, up to the slash before `x`.
fn up(path: &mut Vec<u8>) -> Option<()> {
    let before = path.len().checked_sub(3)?;
    let slash = path[..before].iter().rposition(|b| *b == b'/')?;
    path.truncate(slash + 1);
    Some(())
}

/// A path as escaped in `location`.
pub(crate) fn escaped(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    for &b in path {
        let escape = matches!(
            b,
            0..=0x20 | 0x7f.. | b'"' | b'#' | b'%' | b'<' | b'>' | b'?' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}'
        );
        if escape {
            out.extend_from_slice(format!("%{b:02X}").as_bytes());
        } else {
            out.push(b);
        }
    }
    out
}

/// A host from a field or a target, in lower case and without its port; `None` if it is invalid.
pub(crate) fn host(raw: &[u8]) -> Option<Vec<u8>> {
    let mut end = raw.len();
    let mut dot = None;
    let (mut literal, mut rest) = (false, false);
    for (i, &b) in raw.iter().enumerate() {
        match b {
            b'.' => {
                if i > 0 && dot == Some(i - 1) {
                    return None;
                }
                dot = Some(i);
            }
            b':' if !literal && !rest => {
                (end, rest) = (i, true);
            }
            b'[' if i == 0 => literal = true,
            b']' if literal && !rest => {
                (end, rest, literal) = (i + 1, true, false);
            }
            b'/' | 0..=0x20 | 0x7f => return None,
            _ => {}
        }
    }
    if end > 0 && dot == Some(end - 1) {
        end -= 1;
    }
    (end > 0).then(|| raw[..end].to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn targets_are_made_as_nginx_makes_them() {
        for (raw, path, query) in [
            ("/", "/", ""),
            ("", "/", ""),
            ("?a", "/", "a"),
            ("/a//b/./c/../d", "/a/b/d", ""),
            ("/a/..", "/", ""),
            ("/a/.", "/a/", ""),
            ("/a/.?x", "/a/", "x"),
            ("/a/b/..?x#y", "/a/", "x"),
            ("/%2e%2E/", "", ""),
            ("/a%2f%2fb", "/a/b", ""),
            ("/a%3fb%23c%25d", "/a?b#c%d", ""),
            ("/a#b?c", "/a", ""),
            ("/.#", "/", ""),
            ("/a/.#b", "/a/", ""),
            ("/a/..#", "/", ""),
            ("/a/b/..#?", "/a/", ""),
            ("/..a/.b/...", "/..a/.b/...", ""),
            ("/a/%2e", "/a/", ""),
            ("/a\\..\\b", "/a\\..\\b", ""),
            ("/..", "", ""),
            ("/../", "", ""),
            ("/a/../../b", "", ""),
            ("/%", "", ""),
            ("/%4", "", ""),
            ("/%zz", "", ""),
            ("/a%00", "", ""),
            ("/a?%zz", "/a", "%zz"),
        ] {
            let want = (!path.is_empty()).then(|| Target {
                path: path.into(),
                query: query.into(),
            });
            assert_eq!(target(raw.as_bytes()), want, "{raw}");
        }
    }

    #[test]
    fn hosts_are_taken_as_nginx_takes_them() {
        for (raw, want) in [
            ("Example.ORG", Some("example.org")),
            ("example.org.:443", Some("example.org")),
            ("[::1]:8443", Some("[::1]")),
            ("a:b:c", Some("a")),
            ("", None),
            (":80", None),
            (".", None),
            ("a..b", None),
            ("a/b", None),
            ("a b", None),
        ] {
            assert_eq!(
                host(raw.as_bytes()).as_deref(),
                want.map(str::as_bytes),
                "{raw}"
            );
        }
    }

    #[test]
    fn a_location_is_escaped_as_nginx_escapes_it() {
        assert_eq!(escaped("/a b%&+;\u{e4}".as_bytes()), b"/a%20b%25&+;%C3%A4");
    }

    proptest! {
        #[test]
        fn a_path_never_leads_out(raw in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'/'), Just(b'.'), Just(b'%'), Just(b'#'), Just(b'?')], 0..60)) {
            if let Some(found) = target(&raw) {
                prop_assert!(found.path.starts_with(b"/") && !found.path.contains(&0));
                let path = found.path[1..].strip_suffix(b"/").unwrap_or(&found.path[1..]);
                if !path.is_empty() {
                    prop_assert!(path.split(|b| *b == b'/').all(|s| !matches!(s, b"" | b"." | b"..")), "{:?}", found);
                }
            }
            let _ = host(&raw);
        }
    }
}
