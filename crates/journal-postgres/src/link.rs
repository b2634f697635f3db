//! One connection, which is made again when it was cut.

use std::future::poll_fn;
use std::time::Duration;

use betanet_journal::{Error, Failure, Place};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, Connection, NoTls, Statement};

use crate::settings::Settings;

/// Time for one operation or for a connection to be made. An answer that takes longer counts as a cut connection.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// A connection, or none yet.
pub(crate) struct Link {
    settings: Settings,
    /// Counts notifications, and ends of connections.
    heard: watch::Sender<u64>,
    listen: bool,
    open: Option<Open>,
}

struct Open {
    client: Client,
    driver: JoinHandle<()>,
    /// The statement of an append, once it is prepared.
    append: Option<Statement>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.cut();
    }
}

impl Link {
    /// A connection that listens counts what it hears.
    pub(crate) fn new(settings: Settings, listen: bool) -> Self {
        Self {
            settings,
            heard: watch::Sender::new(0),
            listen,
            open: None,
        }
    }

    pub(crate) fn hear(&self) -> watch::Receiver<u64> {
        self.heard.subscribe()
    }

    /// Drops the connection. Its statement may go on in the server.
    pub(crate) fn cut(&mut self) {
        if let Some(open) = self.open.take() {
            open.driver.abort();
        }
    }

    /// Returns the connection, which is made if there is none.
    pub(crate) async fn client(&mut self) -> Result<&mut Client, Error> {
        if self.open.as_ref().is_some_and(|o| o.client.is_closed()) {
            self.cut();
        }
        if self.open.is_none() {
            let made = tokio::time::timeout(PATIENCE, self.connect()).await;
            let made = made.map_err(Error::backend("connect to PostgreSQL"))?;
            let (client, driver) = made?;
            self.open = Some(Open {
                client,
                driver,
                append: None,
            });
        }
        match &mut self.open {
            Some(open) => Ok(&mut open.client),
            None => Err(Error::Closed),
        }
    }

    /// Returns the statement of an append, which is prepared once on each connection.
    pub(crate) async fn append(&mut self, sql: &str) -> Result<(&Client, Statement), Failure> {
        self.client().await?;
        let open = self.open.as_mut().ok_or(Error::Closed)?;
        let statement = match &open.append {
            Some(statement) => statement.clone(),
            None => {
                let prepared = open.client.prepare(sql).await?;
                open.append.insert(prepared).clone()
            }
        };
        Ok((&open.client, statement))
    }

    async fn connect(&self) -> Result<(Client, JoinHandle<()>), Error> {
        let mut config = self.settings.config.clone();
        config.application_name("betanet-journal");
        config.keepalives_idle(Duration::from_secs(5));
        let failed = Error::backend::<Failure>("connect to PostgreSQL");
        let (client, driver) = match self.settings.tls.tls() {
            Some(tls) => match config.connect(tls).await {
                Ok((client, connection)) => (client, self.drive(connection)),
                Err(e) => return Err(failed(e.into())),
            },
            None => match config.connect(NoTls).await {
                Ok((client, connection)) => (client, self.drive(connection)),
                Err(e) => return Err(failed(e.into())),
            },
        };
        let schema = &self.settings.schema;
        let listen = if self.listen {
            format!("LISTEN {schema}_journal")
        } else {
            String::new()
        };
        // A commit that is acknowledged has to outlast a crash of the server.
        let begin = format!(
            "SET search_path TO {schema};
            SELECT CASE WHEN current_setting('synchronous_commit') = 'off'
                THEN set_config('synchronous_commit', 'on', false) END;
            {listen}"
        );
        if let Err(e) = client.batch_execute(&begin).await {
            driver.abort();
            return Err(Error::backend("set up the connection to PostgreSQL")(e));
        }
        Ok((client, driver))
    }

    fn drive<S, T>(&self, mut connection: Connection<S, T>) -> JoinHandle<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let heard = self.heard.clone();
        tokio::spawn(async move {
            loop {
                match poll_fn(|context| connection.poll_message(context)).await {
                    Some(Ok(AsyncMessage::Notification(_))) => heard.send_modify(|n| *n += 1),
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => break,
                }
            }
            // Notifications may be lost from here on: who waits has to look.
            heard.send_modify(|n| *n += 1);
        })
    }
}

/// Whether an error leaves open what the server did: the connection was cut, or the server is shutting down.
pub(crate) fn is_cut(e: &tokio_postgres::Error) -> bool {
    e.as_db_error()
        .is_none_or(|db| db.code().code().starts_with("57") || db.severity() == "FATAL")
}

/// Sorts a failure: damage at `place`, a full disk, or the backend's own.
pub(crate) fn fault(action: &'static str, place: Place, e: tokio_postgres::Error) -> Error {
    let code = e.code();
    if code == Some(&SqlState::DISK_FULL) {
        return Error::DiskFull;
    }
    // A page or an index that does not match its checksum or its form.
    if code == Some(&SqlState::DATA_CORRUPTED) || code == Some(&SqlState::INDEX_CORRUPTED) {
        return Error::damaged(place, betanet_journal::Damage::Form);
    }
    Error::backend(action)(e)
}
