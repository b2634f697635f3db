#![allow(clippy::unwrap_used, reason = "a test stops where it is surprised")]

use alloc::string::ToString as _;
use alloc::vec;

use proptest::prelude::*;

use super::*;

/// Hello that Debian's Chromium 156 sent to `localhost`.
const CHROMIUM: &[u8] = include_bytes!("../../tests/data/chromium-156.hello");

fn chromium() -> Hello {
    Hello::from_stream(CHROMIUM).unwrap().unwrap()
}

#[test]
fn a_browsers_hello_is_read_and_known_by_its_fingerprint() {
    let hello = chromium();
    // Public databases list this value for this version's hello.
    assert_eq!(
        hello.ja4(Transport::Tcp),
        "t13d1517h2_8daaf6152771_cb7bf5808d99"
    );
    assert!(hello.ja4(Transport::Quic).starts_with("q13d1517h2_"));
    // MD5 of "771,4865-4866-4867-…", as another program computed it from the same file.
    assert_eq!(hello.ja3(), "028976c7434c3bd15a33474407dbd5d0");
    assert!(hello.greases());
    assert_eq!(hello.alpn(), ["h2", "http/1.1"]);
    let fields = hello.fields(true);
    let field = |name: &str| &fields.iter().find(|(n, _)| n == name).unwrap().1;
    assert_eq!(field("groups"), "GREASE 11ec 001d 0017 0018");
    assert_eq!(field("key_shares"), "GREASE:1 11ec:1216 001d:32");
    assert_eq!(field("extension 17613"), "0003026832");
    let template = Template::of_client(&[hello], None).unwrap();
    assert_eq!(
        (template.ciphers.len(), template.extensions.len()),
        (15, 17)
    );
    assert!(template.grease && !template.permute);
}

/// The same message in records of `size` bytes.
fn in_records(size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for part in CHROMIUM[5..].chunks(size) {
        let len = u16::try_from(part.len()).unwrap().to_be_bytes();
        out.extend_from_slice(&[22, 3, 1, len[0], len[1]]);
        out.extend_from_slice(part);
    }
    out
}

#[test]
fn a_hello_is_read_whatever_pieces_it_comes_in() {
    for size in [1, 3, 4, 700, 4000] {
        let bytes = in_records(size);
        assert_eq!(Hello::from_stream(&bytes), Ok(Some(chromium())), "{size}");
        for len in [0, 1, 4, 5, 6, 900] {
            assert_eq!(Hello::from_stream(&bytes[..len]), Ok(None), "{size} {len}");
        }
    }
    assert_eq!(Hello::from_message(&CHROMIUM[5..]), Ok(chromium()));
    let whole = CHROMIUM.len() - 1;
    assert_eq!(
        Hello::from_message(&CHROMIUM[5..whole]),
        Err(HelloError::Short)
    );
}

#[test]
fn what_is_no_hello_is_said() {
    assert_eq!(
        Hello::from_stream(b"GET / HTTP/1.1\r\n"),
        Err(HelloError::NoRecord)
    );
    assert_eq!(
        Hello::from_stream(&[22, 2, 0, 0, 1]),
        Err(HelloError::NoRecord)
    );
    // A ServerHello; a record with too large a length; a message with one.
    assert_eq!(
        Hello::from_stream(&[22, 3, 3, 0, 1, 2]),
        Err(HelloError::NoHello)
    );
    assert_eq!(
        Hello::from_stream(&[22, 3, 3, 0xff, 0xff, 1]),
        Err(HelloError::Long)
    );
    assert_eq!(
        Hello::from_stream(&[22, 3, 3, 0, 4, 1, 1, 0, 0]),
        Err(HelloError::Long)
    );
    // A list within an extension that is longer than the extension.
    let mut bad = CHROMIUM.to_vec();
    let groups = [0, 10, 0, 12, 0, 10];
    let at = bad.windows(6).position(|w| w == groups).unwrap();
    bad[at + 5] = 11;
    let why = Hello::from_stream(&bad).unwrap_err();
    assert_eq!(why.to_string(), "a length within it does not fit: groups");
}

fn frame(kind: u8, flags: u8, stream: u32, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).unwrap().to_be_bytes();
    let mut out = vec![len[1], len[2], len[3], kind, flags];
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(body);
    out
}

/// Start of a Chromium connection: SETTINGS, WINDOW_UPDATE, HEADERS with a priority block and `:method :authority :scheme :path`.
fn first_flight() -> Vec<u8> {
    let settings = [(1_u16, 65_536_u32), (2, 0), (4, 6_291_456), (6, 262_144)];
    let settings: Vec<u8> = settings
        .iter()
        .flat_map(|(n, v)| [&n.to_be_bytes()[..], &v.to_be_bytes()].concat())
        .collect();
    let request = [
        &[0x80, 0, 0, 0, 255][..],
        &[0x82, 0x41, 0x85],
        b"abcde",
        &[0x87, 0x84],
        // user-agent
        &[0x7a, 0x01, b'x'],
    ]
    .concat();
    [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        &frame(4, 0, 0, &settings),
        &frame(8, 0, 0, &15_663_105_u32.to_be_bytes()),
        &frame(1, 0x25, 1, &request),
    ]
    .concat()
}

#[test]
fn a_browsers_first_frames_are_read() {
    let bytes = first_flight();
    let flight = Flight::from_stream(&bytes).unwrap().unwrap();
    assert_eq!(flight.order, [1, 2, 4, 6]);
    assert_eq!(flight.settings.0[&4], 6_291_456);
    assert_eq!((flight.window, flight.stream), (15_663_105, 1));
    assert_eq!(flight.priority, Some((true, 0, 255)));
    assert_eq!(flight.pseudo, "masp");
    assert_eq!(flight.frames, [4, 8, 1]);
    for len in 0..bytes.len() {
        assert_eq!(Flight::from_stream(&bytes[..len]), Ok(None), "{len}");
    }
    let template = Template::of_client(&[chromium()], Some(&flight)).unwrap();
    assert_eq!(template.h2_window, Some(15_663_105));
    assert_eq!(template.h2, Some(flight.settings));
    let h1 = Flight::from_stream(b"GET / HTTP/1.1\r\n");
    assert_eq!(h1, Err(FlightError::Preface));
    let ping = [&bytes[..24], &frame(6, 0, 0, &[0; 8])].concat();
    assert_eq!(Flight::from_stream(&ping), Err(FlightError::NoSettings));
    let odd = [&bytes[..24], &frame(4, 0, 0, &[0; 5])].concat();
    assert_eq!(Flight::from_stream(&odd), Err(FlightError::Frame(4)));
    let endless = [&bytes[..24], &frame(4, 0, 0, &[])].concat();
    let endless = [&endless[..], &frame(9, 0, 0, &vec![0; FLIGHT_MAX])].concat();
    assert_eq!(Flight::from_stream(&endless), Err(FlightError::Long));
}

#[test]
fn hellos_in_another_order_show_that_a_client_permutes() {
    let one = chromium();
    let mut other = one.clone();
    other.extensions.swap(3, 4);
    let template = Template::of_client(&[one.clone(), other.clone()], None).unwrap();
    assert!(template.permute && template.extensions.is_sorted());
    assert_eq!(one.fields(true), other.fields(true));
    assert_ne!(one.fields(false), other.fields(false));
    assert_eq!(Template::of_client(&[], None), None);
}

proptest! {
    #[test]
    fn a_template_reads_as_it_was_written(
        numbers in proptest::collection::btree_map(any::<u64>(), any::<u64>(), 0..6),
        lists in proptest::collection::vec(any::<u16>(), 0..9),
        window in any::<Option<u32>>(),
        grease in any::<bool>(),
        ping_ms in any::<u64>(),
    ) {
        let template = Template {
            alpn: vec!["h2".to_string()],
            ciphers: lists.clone(),
            extensions: lists,
            grease,
            h2: Some(Numbers(numbers)),
            h2_window: window,
            ping_ms,
            ..Template::default()
        };
        let bytes = template.to_bytes();
        prop_assert_eq!(Template::from_bytes(&bytes), Ok(template));
        for len in 0..bytes.len() {
            prop_assert!(Template::from_bytes(&bytes[..len]).is_err());
        }
    }

    #[test]
    fn nothing_that_is_sent_breaks_the_readers(at in 0..1990_usize, to in any::<u8>()) {
        let mut hello = CHROMIUM.to_vec();
        let at = at.min(hello.len() - 1);
        hello[at] = to;
        if let Ok(Some(hello)) = Hello::from_stream(&hello) {
            prop_assert!(hello.ja4(Transport::Tcp).len() == 36);
            let _ = (hello.ja3(), hello.fields(false), hello.fields(true));
        }
        let mut flight = first_flight();
        let at = at % flight.len();
        flight[at] = to;
        let _ = Flight::from_stream(&flight);
    }
}
