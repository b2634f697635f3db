use std::process::ExitCode;

use betanet_runtime::{DialError, Error, FileError, MixnetError, RelayError, SessionError};

use crate::hint;
use crate::stop::{Stop, Stops};

/// The failure of a command, by the party at fault.
#[derive(Debug)]
pub(crate) enum Fail {
    /// The peer or the network is at fault.
    Peer(String),
    /// The command line is wrong.
    Usage(String),
    /// This machine's files or settings are at fault.
    Local(String),
    /// A task ended otherwise than its owner wished, with an exit code of its own.
    Coded(u8, String),
    /// A signal ended the command.
    Stopped(Stop),
    /// The reader of standard output closed it.
    Unread,
}

impl Fail {
    /// Prints the reason on standard error. Returns the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        let (code, why) = match self {
            Self::Peer(why) => (1, why.as_str()),
            Self::Usage(why) => (2, why.as_str()),
            Self::Local(why) => (3, why.as_str()),
            Self::Coded(code, why) => (*code, why.as_str()),
            Self::Stopped(stop) => (stop.code(), stop.word()),
            Self::Unread => return ExitCode::SUCCESS,
        };
        note!("error: {why}");
        ExitCode::from(code)
    }

    /// Returns the reason.
    pub(crate) fn why(&self) -> &str {
        match self {
            Self::Peer(why) | Self::Usage(why) | Self::Local(why) | Self::Coded(_, why) => why,
            Self::Stopped(stop) => stop.word(),
            Self::Unread => "standard output is read no more",
        }
    }

    pub(crate) fn file(path: &std::path::Path) -> impl Fn(std::io::Error) -> Self + use<> {
        let path = path.display().to_string();
        move |e| Self::Local(format!("{path}: {e}{}", hint::of_io(&e)))
    }

    pub(crate) fn output(e: std::io::Error) -> Self {
        if e.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::Unread;
        }
        Self::Local(format!("standard output: {e}{}", hint::of_io(&e)))
    }
}

impl From<Error> for Fail {
    fn from(error: Error) -> Self {
        let mut text = chain(&error);
        text.push_str(&hint::of(&error));
        if error.is_local() {
            Self::Local(text)
        } else {
            Self::Peer(text)
        }
    }
}

/// A failure of a crate below the node's is one of the node.
macro_rules! of_a_node {
    ($($error:ty)*) => {$(
        impl From<$error> for Fail {
            fn from(error: $error) -> Self {
                Error::from(error).into()
            }
        }
    )*};
}

of_a_node!(SessionError DialError RelayError MixnetError FileError);

/// Returns an error with its causes, outermost first, without repetitions.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(c) = cause {
        let said = c.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = c.source();
    }
    text
}

/// Runs work until it ends or a signal arrives.
pub(crate) async fn interruptible<T>(
    work: impl Future<Output = Result<T, Fail>>,
) -> Result<T, Fail> {
    let mut stops = Stops::listen();
    tokio::select! {
        done = work => done,
        stop = stops.told() => Err(Fail::Stopped(stop)),
    }
}
