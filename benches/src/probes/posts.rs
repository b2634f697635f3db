//! POSTs, over HTTP/1.1 and HTTP/2: tickets of all sorts, and bodies that come whole, in pieces, otherwise than was said, or never.

use super::h2::frames::{END_STREAM, Type, frame, headers, request, start};
use super::kinds::{COOKIE, Kind, Probe, message1, old_ticket, ticket};
use super::{h1, h2};

/// How a body comes.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Body {
    None,
    Whole,
    Held,
    Drops,
    Short,
    Long,
    Never,
}

const BODIES: [(&str, Body); 7] = [
    ("no body", Body::None),
    ("whole body", Body::Whole),
    ("body held open", Body::Held),
    ("body byte by byte", Body::Drops),
    ("body too short", Body::Short),
    ("body too long", Body::Long),
    ("body that never comes", Body::Never),
];

/// What is said of a ticket.
fn tickets() -> Vec<(&'static str, Vec<(&'static str, String)>)> {
    let right = ticket("0123456789abcdef01234567");
    let field = "bn-ticket";
    vec![
        ("no ticket", vec![]),
        ("wrong ticket", vec![(field, right.clone())]),
        ("malformed ticket", vec![(field, "v=v1".into())]),
        ("ticket twice", vec![(field, right.clone()), (field, right)]),
        ("1.1 ticket", vec![("cookie", old_ticket())]),
    ]
}

/// Bytes of a body that comes one by one.
const DROPS: usize = 24;

fn over_h1(path: &str, fields: &[(&str, String)], how: Body) -> h1::Script {
    let body = message1();
    let length = match how {
        Body::None => 0,
        Body::Short => body.len() + 1,
        Body::Long => body.len() - 1,
        _ => body.len(),
    };
    let mut said =
        format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n");
    for (name, value) in fields {
        said.push_str(&format!("{name}: {value}\r\n"));
    }
    said.push_str("\r\n");
    let mut said = said.into_bytes();
    let mut drops = Vec::new();
    match how {
        Body::None | Body::Never => {}
        Body::Whole | Body::Short | Body::Long => said.extend_from_slice(&body),
        Body::Held => said.extend_from_slice(&body[..600]),
        Body::Drops => drops = body[..DROPS].to_vec(),
    }
    h1::Script {
        said,
        drops,
        answers: 1,
        ..h1::Script::default()
    }
}

fn over_h2(path: &str, fields: &[(&str, String)], how: Body) -> h2::Script {
    let body = message1();
    let length = (body.len() + usize::from(how == Body::Short)).to_string();
    let length = if how == Body::Long {
        (body.len() - 1).to_string()
    } else {
        length
    };
    let mut more: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (*n, v.as_str())).collect();
    if matches!(how, Body::Short | Body::Long) {
        more.push(("content-length", &length));
    }
    let mut said = start();
    said.extend(headers(1, &request("POST", path, &more), how == Body::None));
    let mut drops = Vec::new();
    match how {
        Body::None | Body::Never => {}
        Body::Whole | Body::Short | Body::Long => {
            said.extend(frame(Type::Data, END_STREAM, 1, &body));
        }
        Body::Held => said.extend(frame(Type::Data, 0, 1, &body[..600])),
        Body::Drops => {
            drops = body[..DROPS]
                .iter()
                .map(|b| frame(Type::Data, 0, 1, &[*b]))
                .collect();
        }
    }
    h2::Script {
        said,
        drops,
        awaits: vec![1],
        ..h2::Script::default()
    }
}

/// A POST over HTTP/1.1 as it is written here.
fn written(name: &str, said: &str) -> Kind {
    let script = h1::Script {
        said: said.as_bytes().to_vec(),
        answers: 1,
        ..h1::Script::default()
    };
    Kind::new(format!("post h1 {name}"), Probe::H1(script))
}

fn odd() -> Vec<Kind> {
    let chunked = |rest: &str| {
        format!("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{rest}")
    };
    let with =
        |fields: &str, rest: &str| format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n{rest}");
    vec![
        written("chunked", &chunked("5\r\nabcde\r\n0\r\n\r\n")),
        written(
            "chunked, malformed size",
            &chunked("zz\r\nabcde\r\n0\r\n\r\n"),
        ),
        written("chunked, held open", &chunked("5\r\nab")),
        written(
            "smuggling: length and chunked",
            &with(
                "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
                "0\r\n\r\nG",
            ),
        ),
        written(
            "smuggling: two lengths",
            &with("Content-Length: 4\r\nContent-Length: 5\r\n", "abcde"),
        ),
        written(
            "smuggling: same length twice",
            &with("Content-Length: 4\r\nContent-Length: 4\r\n", "abcd"),
        ),
        written(
            "smuggling: unknown coding",
            &with("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
        ),
        written(
            "smuggling: two codings",
            &with("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
        ),
        written("length malformed", &with("Content-Length: 4x\r\n", "abcd")),
        written("length negative", &with("Content-Length: -1\r\n", "")),
        written("length of 2 MiB", &with("Content-Length: 2097152\r\n", "")),
        written(
            "length of 20 digits",
            &with("Content-Length: 99999999999999999999\r\n", ""),
        ),
        written("no length", &with("", "")),
        written(
            "expect: 100-continue",
            &with("Content-Length: 4\r\nExpect: 100-continue\r\n", ""),
        ),
        written(
            "expect: other",
            &with("Content-Length: 4\r\nExpect: x\r\n", "abcd"),
        ),
        written(
            "HTTP/1.0",
            "POST / HTTP/1.0\r\nContent-Length: 4\r\n\r\nabcd",
        ),
        written(
            "to nothing",
            "POST /none HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nabcd",
        ),
        written(
            "to a folder",
            "POST /folder HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nabcd",
        ),
        written(
            "form with a 1.1 ticket",
            &with(
                &format!(
                    "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n",
                    old_ticket().len() - COOKIE.len() + 4
                ),
                &format!("bn1={}", &old_ticket()[COOKIE.len()..]),
            ),
        ),
    ]
}

pub(super) fn all() -> Vec<Kind> {
    let mut kinds = odd();
    for (said, fields) in tickets() {
        for (came, how) in BODIES {
            let script = over_h2("/", &fields, how);
            kinds.push(Kind::new(
                format!("post h2 {said}, {came}"),
                Probe::H2(script),
            ));
            let script = over_h1("/", &fields, how);
            kinds.push(Kind::new(
                format!("post h1 {said}, {came}"),
                Probe::H1(script),
            ));
        }
        let script = over_h2("/none", &fields, Body::Whole);
        kinds.push(Kind::new(
            format!("post h2 {said}, to nothing"),
            Probe::H2(script),
        ));
    }
    let right = ticket("0123456789abcdef01234567");
    let gets = request("GET", "/", &[("bn-ticket", &right)]);
    let script = h2::Script {
        said: [start(), headers(1, &gets, true)].concat(),
        awaits: vec![1],
        ..h2::Script::default()
    };
    kinds.push(Kind::new(
        "post h2 GET with a wrong ticket",
        Probe::H2(script),
    ));
    let twice = request("POST", "/", &[("bn-ticket", &right)]);
    let script = h2::Script {
        said: [start(), headers(1, &twice, false), headers(3, &twice, true)].concat(),
        awaits: vec![1, 3],
        ..h2::Script::default()
    };
    kinds.push(Kind::new(
        "post h2 one ticket on two streams",
        Probe::H2(script),
    ));
    kinds
}
