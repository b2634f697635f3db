use betanet_traffic::template::{FLIGHT_MAX, Flight, HELLO_MAX, Hello, Template, Transport};

/// First bytes of a client, and templates: no input breaks the parsers, and their output is bounded by the input.
pub fn hello(data: &[u8]) {
    let read = [
        Hello::from_stream(data).ok().flatten(),
        Hello::from_message(data).ok(),
    ];
    for hello in read.into_iter().flatten() {
        let bodies: usize = hello.extensions.iter().map(|(_, body)| body.len()).sum();
        assert!(bodies <= data.len().min(HELLO_MAX));
        assert_eq!(hello.ja4(Transport::Quic).len(), 36);
        assert_eq!(hello.ja3().len(), 32);
        assert!(hello.fields(true).len() >= 12);
        let template = Template::of_client(&[hello], None).map(|t| t.to_bytes());
        assert!(template.is_some_and(|bytes| Template::from_bytes(&bytes).is_ok()));
    }
    if let Ok(Some(flight)) = Flight::from_stream(data) {
        assert!(flight.frames.len() <= data.len() && flight.frames.last() == Some(&1));
    } else if let Ok(None) = Flight::from_stream(data) {
        assert!(data.len() < FLIGHT_MAX);
    }
    if let Ok(template) = Template::from_bytes(data) {
        // Unknown keys are left out.
        let bytes = template.to_bytes();
        assert!(bytes.len() <= data.len());
        assert_eq!(Template::from_bytes(&bytes).as_ref(), Ok(&template));
    }
}
