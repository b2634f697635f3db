//! When a packet really left: a write that follows a silence takes the kernel ten times as long as the next one.

use std::time::Duration;

use tokio::net::TcpStream;

/// A socket that can tell when what was written last left the kernel.
pub(crate) trait Stamps {
    /// What is written from now on is looked at, or is not any longer.
    fn look(&self, on: bool);
    /// How long ago the last of what was looked at left, where the system says so.
    fn left(&self) -> Option<Duration>;
    /// How many bytes it has for who reads, where the system says so.
    fn unread(&self) -> Option<usize>;
}

#[cfg(target_os = "linux")]
impl Stamps for TcpStream {
    fn look(&self, on: bool) {
        use nix::sys::socket::{TimestampingFlag, setsockopt, sockopt};

        let flags = TimestampingFlag::SOF_TIMESTAMPING_TX_SOFTWARE
            | TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE
            | TimestampingFlag::SOF_TIMESTAMPING_OPT_TSONLY;
        let flags = if on { flags } else { TimestampingFlag::empty() };
        // Where it can't be had, nothing is told.
        let _ = setsockopt(self, sockopt::Timestamping, &flags);
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the kernel's stamps are of this clock, and only how long ago they were is told"
    )]
    fn left(&self) -> Option<Duration> {
        use std::os::fd::AsRawFd as _;
        use std::time::SystemTime;

        use nix::sys::socket::{ControlMessageOwned, MsgFlags, Timestamps, recvmsg};

        // Beside the stamps comes what the queue is for: an error, of 16 bytes, and an address.
        let mut room = nix::cmsg_space!(Timestamps, [u8; 48]);
        let mut last = None;
        // What was written in pieces is told of each of them.
        for _ in 0..4 {
            let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
            let told = recvmsg::<()>(self.as_raw_fd(), &mut [], Some(&mut room), flags);
            let Ok(told) = told else { break };
            let stamp = told.cmsgs().ok()?.find_map(|message| match message {
                ControlMessageOwned::ScmTimestampsns(stamps) => Some(stamps.system),
                _ => None,
            });
            last = stamp.or(last);
        }
        let since = Duration::from(last?);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.ok()?.checked_sub(since)
    }

    fn unread(&self) -> Option<usize> {
        usize::try_from(rustix::io::ioctl_fionread(self).ok()?).ok()
    }
}

#[cfg(not(target_os = "linux"))]
impl Stamps for TcpStream {
    fn look(&self, _: bool) {}

    fn left(&self) -> Option<Duration> {
        None
    }

    fn unread(&self) -> Option<usize> {
        None
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn what_was_looked_at_is_told_and_nothing_else() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(at), listener.accept());
        let (mut near, (mut far, _)) = (near.unwrap(), far.unwrap());
        near.write_all(b"unseen").await.unwrap();
        assert_eq!(near.left(), None);
        near.look(true);
        let before = Instant::now();
        near.write_all(b"seen").await.unwrap();
        let left = near.left();
        let within = before.elapsed();
        near.look(false);
        near.write_all(b"unseen").await.unwrap();
        assert_eq!(near.left(), None);
        #[cfg(target_os = "linux")]
        assert!(left.unwrap() <= within, "{left:?} of {within:?}");
        // The connection is none the worse for it.
        let mut all = [0; 16];
        far.read_exact(&mut all).await.unwrap();
        assert_eq!(&all, b"unseenseenunseen");
        far.write_all(b"back").await.unwrap();
        near.read_exact(&mut all[..4]).await.unwrap();
        assert_eq!(&all[..4], b"back");
    }
}
