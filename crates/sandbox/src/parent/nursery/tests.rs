//! The thread that asks, with servers that are played by a thread of the test.

use std::{
    io::{Read as _, Write as _},
    os::fd::BorrowedFd,
};

use super::*;

/// A time that none of these tests waits for.
const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(100);

/// A process, and the other end of its socket, which the test answers from.
struct Played {
    pid: u32,
    theirs: Socket,
}

/// The thread that asks. Each server that it starts is handed to the test. The first has other times than the rest.
fn nursery(first: Patience, rest: Patience) -> (Sender<Ask>, Receiver<Played>) {
    let (asks, asked) = channel();
    let (started, servers) = channel();
    let mut times = std::iter::once(first).chain(std::iter::repeat(rest));
    let start = move || {
        let (control, theirs) = Socket::pair().unwrap();
        let child = Command::new("sleep")
            .arg("600")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pid = child.id();
        let server = Server::new(Process(child), control, times.next().unwrap());
        started.send(Played { pid, theirs }).unwrap();
        server
    };
    thread::spawn(move || work(start, &asked));
    (asks, servers)
}

fn times(first: Duration, then: Duration) -> Patience {
    Patience { first, then }
}

fn ask(asks: &Sender<Ask>) -> oneshot::Receiver<Result<Forked, Error>> {
    let (answer, asked) = oneshot::channel();
    let network = false;
    asks.send(Ask { network, answer }).unwrap();
    asked
}

impl Played {
    /// The child's end of the socket out of the next request.
    fn request(&self) -> Socket {
        let mut kind = [9_u8; 1];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut given = RecvAncillaryBuffer::new(&mut space);
        let into = &mut [IoSliceMut::new(&mut kind)];
        recvmsg(&self.theirs, into, &mut given, RecvFlags::CMSG_CLOEXEC).unwrap();
        let files = given.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut files) => files.next(),
            _ => None,
        });
        files.unwrap().into()
    }

    /// Answers with a file in the place of a child's handle. Whether anybody can read it.
    fn answer(&self, handle: BorrowedFd<'_>) -> bool {
        let handles = [handle];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut handed = SendAncillaryBuffer::new(&mut space);
        assert!(handed.push(SendAncillaryMessage::ScmRights(&handles)));
        let done = &[IoSlice::new(&[1])];
        sendmsg(&self.theirs, done, &mut handed, SendFlags::NOSIGNAL).is_ok()
    }

    /// Serves one request: its handle is the child's end of that very request.
    fn serve(&self) {
        let child = self.request();
        assert!(self.answer(child.as_fd()));
    }

    fn ended(&self) -> bool {
        // The thread waits for what it ends, so a process that is there has not ended.
        !std::path::Path::new(&format!("/proc/{}", self.pid)).exists()
    }

    /// Waits until it has ended, with the thread that nobody asks any more.
    fn end(&self) {
        while !self.ended() {
            thread::yield_now();
        }
    }
}

/// Whether socket and handle are those of one request.
fn belong((ours, handle): Forked) -> bool {
    let mut theirs = Socket::from(handle);
    let limit = Some(Duration::from_secs(5));
    theirs.set_read_timeout(limit).unwrap();
    let mut said = [0; 1];
    (&ours).write_all(b"x").is_ok() && theirs.read_exact(&mut said).is_ok()
}

#[test]
fn a_new_server_that_does_not_answer_in_time_ends_and_its_late_answer_reaches_nobody() {
    let (asks, servers) = nursery(times(SHORT, SHORT), times(LONG, LONG));
    let first = ask(&asks);
    let late = servers.recv().unwrap();
    let request = late.request();
    assert!(matches!(first.blocking_recv(), Ok(Err(Error::NotReady))));
    assert!(late.ended(), "the server goes on");
    // The answer comes nevertheless, as that of a server which was only slow would.
    assert!(!late.answer(request.as_fd()), "somebody takes it");
    let second = ask(&asks);
    let next = servers.recv().unwrap();
    next.serve();
    assert!(belong(second.blocking_recv().unwrap().unwrap()));
    drop(asks);
    next.end();
}

#[test]
fn a_stall_ends_no_server_that_has_children() {
    let (asks, servers) = nursery(times(LONG, SHORT), times(SHORT, SHORT));
    let first = ask(&asks);
    let old = servers.recv().unwrap();
    old.serve();
    assert!(belong(first.blocking_recv().unwrap().unwrap()));
    // It stalls, and so does every one that is started in its place.
    for _ in 0..SILENT_MAX + 2 {
        assert!(matches!(
            ask(&asks).blocking_recv(),
            Ok(Err(Error::NotReady))
        ));
        assert!(servers.recv().unwrap().ended());
    }
    assert!(!old.ended(), "the server of all guests was ended");
    drop(asks);
    old.end();
}

#[test]
fn nobody_is_asked_for_a_child_that_is_not_wanted_any_more() {
    let (asks, servers) = nursery(times(LONG, LONG), times(LONG, LONG));
    let held = ask(&asks);
    let server = servers.recv().unwrap();
    let child = server.request();
    // They wait for the thread, and their callers go.
    for _ in 0..3 {
        drop(ask(&asks));
    }
    let wanted = ask(&asks);
    assert!(server.answer(child.as_fd()));
    assert!(belong(held.blocking_recv().unwrap().unwrap()));
    server.serve();
    // The one request that was served is that of the one who waits.
    assert!(belong(wanted.blocking_recv().unwrap().unwrap()));
    drop(asks);
    server.end();
}
