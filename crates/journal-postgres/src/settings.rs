use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use betanet_journal::{Error, LEASE_MS};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use crate::tls::Connector;

/// Settings of a PostgreSQL journal.
#[derive(Clone)]
pub struct Settings {
    pub(crate) config: Config,
    pub(crate) tls: Connector,
    /// Schema of the tables, created if it does not exist. One schema holds one journal.
    pub(crate) schema: Box<str>,
    /// Name of this coordinator, which others are shown.
    pub(crate) leader: Box<str>,
    pub(crate) lease: Duration,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The configuration has the password.
        f.debug_struct("Settings")
            .field("schema", &self.schema)
            .field("leader", &self.leader)
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

const fn wrong(key: &'static str, why: &'static str) -> Error {
    Error::Settings { key, why }
}

impl Settings {
    /// Parses a URL: `postgres://USER[:PASSWORD]@HOST[:PORT]/DATABASE`, or a `key=value` text as of libpq.
    ///
    /// # Errors
    ///
    /// [`Error::Settings`] if the URL does not parse, or leads to another machine without `sslmode=require`.
    pub fn new(url: &str) -> Result<Self, Error> {
        // The parser's own error may repeat parts of the URL.
        let config: Config = url.parse().map_err(|_| {
            wrong(
                "store",
                "not a URL of PostgreSQL: postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=require",
            )
        })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(wrong("store", "the URL of PostgreSQL has no host"));
        }
        let tls = match config.get_ssl_mode() {
            SslMode::Require => Connector::with_public_roots()?,
            _ if is_local(&config) => Connector::none(),
            _ => {
                return Err(wrong(
                    "store",
                    "a connection to another machine needs TLS: add sslmode=require to the URL",
                ));
            }
        };
        Ok(Self {
            config,
            tls,
            schema: "betanet".into(),
            leader: "coordinator".into(),
            lease: Duration::from_millis(LEASE_MS),
        })
    }

    /// Trusts the certificates of these authorities, in PEM, in place of the public ones.
    ///
    /// # Errors
    ///
    /// [`Error::Settings`] if there is no certificate in it.
    pub fn with_authorities(mut self, pem: &[u8]) -> Result<Self, Error> {
        if self.tls.is_tls() {
            self.tls = Connector::with_roots(pem)?;
        }
        Ok(self)
    }

    /// Sets the schema of the tables: 1 to 48 of `a-z 0-9 _`, beginning with a letter. The default is `betanet`.
    ///
    /// # Errors
    ///
    /// [`Error::Settings`] if it is not of this form.
    pub fn with_schema(mut self, schema: &str) -> Result<Self, Error> {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        let good = (1..=48).contains(&schema.len())
            && schema.bytes().all(fits)
            && schema.as_bytes()[0].is_ascii_lowercase()
            && !schema.starts_with("pg_");
        if !good {
            let why =
                "a schema is 1 to 48 of a-z, 0-9 and _, begins with a letter, and not with pg_";
            return Err(wrong("schema", why));
        }
        self.schema = schema.into();
        Ok(self)
    }

    /// Sets the duration of a lease. The default is 10 s, as chapter 10 has it; other values serve tests.
    #[must_use]
    pub const fn with_lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Sets the name of this coordinator, which others are shown while it leads. Longer names are cut to 64 characters.
    #[must_use]
    pub fn with_leader(mut self, name: &str) -> Self {
        self.leader = name.chars().take(64).collect::<String>().into();
        self
    }
}

/// Whether every address is a Unix socket or of this machine.
fn is_local(config: &Config) -> bool {
    let named = config.get_hosts().iter().all(|host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
        }
    });
    let addresses = config.get_hostaddrs();
    let loopback = addresses.iter().all(IpAddr::is_loopback);
    loopback && (named || addresses.len() == config.get_hosts().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_machine_is_reached_by_tls_only() {
        for good in [
            "postgres://fog@localhost/fog",
            "postgres://fog@127.0.0.9:5433/fog?sslmode=disable",
            "postgres://fog@[::1]/fog",
            "host=/run/postgresql user=fog",
            "postgres://fog@db.example/fog?sslmode=require",
            "postgres://fog@a,b/fog?sslmode=require",
        ] {
            let settings = Settings::new(good).unwrap();
            assert_eq!(settings.tls.is_tls(), good.contains("require"), "{good}");
        }
        for bad in [
            "postgres://fog:secret@db.example/fog",
            "postgres://fog:secret@db.example/fog?sslmode=prefer",
            "postgres://fog:secret@10.0.0.1/fog?sslmode=disable",
            "postgres://fog:secret@localhost,db.example/fog",
            "host=localhost hostaddr=10.0.0.1 user=fog password=secret",
        ] {
            let said = Settings::new(bad).unwrap_err().to_string();
            assert!(said.contains("sslmode=require"), "{said}");
            assert!(!said.contains("secret"), "{said}");
        }
        for bad in ["postgres://fog:secret@[/fog", "", "user=secret", "http://x"] {
            let said = Settings::new(bad).unwrap_err().to_string();
            assert!(!said.contains("secret"), "{said}");
        }
    }

    #[test]
    fn a_schema_is_a_plain_word() {
        let settings = || Settings::new("postgres://fog@localhost/fog").unwrap();
        assert_eq!(&*settings().with_schema("fog_2").unwrap().schema, "fog_2");
        let long = "a".repeat(49);
        for bad in ["", "2", "Fog", "a;drop", "pg_x", "a b", "_a", &long] {
            assert!(settings().with_schema(bad).is_err(), "{bad}");
        }
        let shown = format!("{:?}", settings());
        assert!(!shown.contains("localhost"), "{shown}");
    }
}
