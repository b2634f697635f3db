//! A session over any ordered byte stream: here TCP on this machine, with one thread for each end and no executor.
//!
//! `cargo run -p betanet-htx --example session` sends a line to the server and prints its answer.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "an example prints, and this driver is the one that reads the clock"
)]

use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use betanet_htx::{Command, Config, Event, Input, Secrets, Session, Transmit, kind, ticket};
use betanet_keys::{Identity, PublicKey};
use betanet_machine::{Machine as _, Now, Rng, Seed, Time};
use bytes::Bytes;
use zeroize::Zeroizing;

type Failure = Box<dyn Error + Send + Sync>;

/// Read timeout, after which the session's timers are checked again.
const TICK: Duration = Duration::from_millis(5);

/// Stands for TLS's exporter: 32 bytes that only the two ends of this very stream know. A hash of a constant, as here, binds the
/// session to nothing; over TLS, take the connection's exporter.
fn export(context: &[u8]) -> [u8; 32] {
    betanet_keys::hash(&[b"example", context])
}

/// A seed from the clock, for an example only. Draw it from the system's randomness.
fn seed(label: &str) -> Seed {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanos = now.map_or(0, |d| d.as_nanos());
    Seed::new(betanet_keys::hash(&[
        label.as_bytes(),
        &nanos.to_be_bytes(),
    ]))
}

struct Clock(Instant);

impl Clock {
    fn now(&self) -> Now {
        let mono = self.0.elapsed().as_micros();
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        Now::new(
            Time::from_micros(u64::try_from(mono).unwrap_or(u64::MAX)),
            unix.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
        )
    }
}

/// Moves a session's bytes until it is over. `act` receives each event and answers it with commands.
fn drive<S: Read + Write>(
    mut stream: S,
    clock: &Clock,
    mut session: Session,
    mut act: impl FnMut(&mut Session, Now, Event) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut buffer = [0; 4096];
    let mut ended = false;
    loop {
        let now = clock.now();
        if session.poll_timeout().is_some_and(|w| w.at <= now.mono) {
            session.handle_timeout(now);
        }
        while let Some(transmit) = session.poll_transmit() {
            match transmit {
                Transmit::Bytes(bytes) => stream.write_all(&bytes)?,
                Transmit::NeedExport(context) => {
                    let exported = Zeroizing::new(export(&context));
                    session.handle_input(now, Input::Exported(exported))?;
                }
                // A plain stream has no such message.
                Transmit::GoAway => {}
                Transmit::End | Transmit::Reset => ended = true,
            }
        }
        while let Some(event) = session.poll_event() {
            act(&mut session, now, event)?;
        }
        if ended {
            return Ok(stream.flush()?);
        }
        // Due timers run before the next read, as do the remaining outputs of a session whose queues were full.
        let due = session.poll_timeout().is_some_and(|w| w.at <= now.mono);
        if due || !session.has_room(buffer.len()) {
            continue;
        }
        let input = match stream.read(&mut buffer) {
            Ok(0) => Input::End,
            Ok(n) => Input::Bytes(Bytes::copy_from_slice(&buffer[..n])),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(_) => Input::Lost,
        };
        session.handle_input(clock.now(), input)?;
    }
}

/// Answers every stream with its bytes in upper case.
fn serve(mut stream: TcpStream, identity: &Identity) -> Result<(), Failure> {
    let clock = Clock(Instant::now());
    // Message 1 has its length in front: 16 bits, big-endian.
    let mut len = [0; 2];
    stream.read_exact(&mut len)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut message)?;
    stream.set_read_timeout(Some(TICK))?;
    let secrets = Secrets::draw(&mut Rng::new(&seed("server")));
    let exported = export(ticket::EXPORTER_CONTEXT);
    let config = Config::default();
    let session = Session::accept(clock.now(), config, identity, &exported, &message, secrets)?;
    drive(stream, &clock, session, |session, now, event| {
        if let Event::Data { stream, data, fin } = event {
            let bytes = data.len() as u64;
            session.consume(now, stream, bytes);
            let data = data.to_ascii_uppercase().into();
            session.handle_command(now, Command::Write { stream, data, fin })?;
        }
        Ok(())
    })
}

/// Opens one stream, sends a line, and returns the answer.
fn ask(stream: TcpStream, server: &PublicKey, line: &'static str) -> Result<Vec<u8>, Failure> {
    let clock = Clock(Instant::now());
    stream.set_read_timeout(Some(TICK))?;
    let identity = Identity::from_seed(&Rng::new(&seed("client")).array());
    let secrets = Secrets::draw(&mut Rng::new(&seed("secrets")));
    let exported = export(ticket::EXPORTER_CONTEXT);
    let config = Config::default();
    let session = Session::connect(clock.now(), config, &identity, server, &exported, secrets)?;
    let mut answer = Vec::new();
    drive(stream, &clock, session, |session, now, event| {
        match event {
            Event::Established => {
                let opened = session.handle_command(now, Command::Open { kind: kind::BAR })?;
                let stream = opened.ok_or("OPEN answers with a stream")?;
                let write = Command::Write {
                    stream,
                    data: Bytes::from_static(line.as_bytes()),
                    fin: true,
                };
                session.handle_command(now, write)?;
            }
            Event::Data { data, fin, .. } => {
                answer.extend_from_slice(&data);
                if fin {
                    session.handle_command(now, Command::Finish)?;
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(answer)
}

fn main() -> Result<(), Failure> {
    let identity = Identity::from_seed(&Rng::new(&seed("identity")).array());
    let key = *identity.public();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let server = thread::spawn(move || serve(listener.accept()?.0, &identity));
    let answer = ask(TcpStream::connect(address)?, &key, "hello over a session")?;
    println!("{}", String::from_utf8_lossy(&answer));
    server.join().map_err(|_| "the server's thread panicked")?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_comes_back_in_capitals() {
        let identity = Identity::from_seed(&[7; 32]);
        let key = *identity.public();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || serve(listener.accept()?.0, &identity));
        let stream = TcpStream::connect(address).unwrap();
        assert_eq!(ask(stream, &key, "hello").unwrap(), b"HELLO");
        server.join().unwrap().unwrap();
    }
}
