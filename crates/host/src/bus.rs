//! Answers of services on D-Bus: of logind about users, of NetworkManager about costs.

use std::time::Duration;

use betanet_harvest::Readings;
use betanet_machine::{Now, Time};
use zbus::wire::Variant;
use zbus::{Connection, connection};
use zruntime::SharedRuntime;

/// Time that one answer of a service may take.
const ANSWER: Duration = Duration::from_millis(500);
/// Time that all of them and the connection may take.
const ALL_ANSWERS: Duration = Duration::from_secs(1);
/// Time after which a bus that failed is tried again.
const REST: Duration = Duration::from_secs(60);

const LOGIND: Service = Service {
    name: "org.freedesktop.login1",
    path: "/org/freedesktop/login1",
    interface: "org.freedesktop.login1.Manager",
};
const NETWORK_MANAGER: Service = Service {
    name: "org.freedesktop.NetworkManager",
    path: "/org/freedesktop/NetworkManager",
    interface: "org.freedesktop.NetworkManager",
};

struct Service {
    name: &'static str,
    path: &'static str,
    interface: &'static str,
}

/// A bus, connected to when it is first asked.
#[derive(Debug)]
pub struct Bus {
    /// `None` for the system's.
    address: Option<String>,
    connection: Option<Connection>,
    rests_until: Time,
}

/// Logind's answers about users.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Users {
    idle: Option<bool>,
    /// Microseconds since 1970.
    since: Option<u64>,
    /// Whether a program keeps the screen lit: films, games and talks do.
    lit: Option<bool>,
}

impl Bus {
    /// The system's bus.
    #[must_use]
    pub const fn system() -> Self {
        Self {
            address: None,
            connection: None,
            rests_until: Time::ZERO,
        }
    }

    /// The bus at an address, such as `unix:path=/run/dbus/system_bus_socket`.
    #[must_use]
    pub fn at(address: &str) -> Self {
        Self {
            address: Some(address.to_owned()),
            ..Self::system()
        }
    }

    /// Lays what services know over what files tell.
    pub(crate) fn lay_over(&mut self, now: Now, readings: &mut Readings) {
        if now.mono < self.rests_until {
            return;
        }
        let Some((connection, users, metered)) = self.ask() else {
            self.rests_until = now.mono + REST;
            return;
        };
        self.connection = Some(connection);
        readings.metered = metered.or(readings.metered);
        readings.full_screen = users.lit.or(readings.full_screen);
        readings.idle_s = match users.idle {
            // A user at a keyboard that files do not show.
            Some(false) => Some(0),
            Some(true) => users.since.map(|us| {
                let s = now.unix_ms.saturating_sub(us / 1000) / 1000;
                u32::try_from(s).unwrap_or(u32::MAX)
            }),
            None => None,
        }
        .or(readings.idle_s);
    }

    /// `None` where the bus is not there, or too slow.
    fn ask(&mut self) -> Option<(Connection, Users, Option<bool>)> {
        let known = self.connection.take();
        let asked = async {
            let connection = match known {
                Some(connection) => connection,
                None => self.connect().await?,
            };
            let users = users(&connection).await?;
            let metered = metered(&connection).await?;
            Ok::<_, zbus::Error>((connection, users, metered))
        };
        zruntime::block_on(async {
            let runtime = SharedRuntime::current().ok()?;
            runtime.timeout(ALL_ANSWERS, asked).await.ok()?.ok()
        })
    }

    async fn connect(&self) -> zbus::Result<Connection> {
        let builder = match &self.address {
            Some(address) => connection::Builder::address(address.as_str()),
            None => connection::Builder::system(),
        };
        builder.method_timeout(ANSWER).build().await
    }
}

/// Whether a service is there. Asking one that is not would start it.
async fn there(connection: &Connection, service: &Service) -> zbus::Result<bool> {
    let (bus, path) = ("org.freedesktop.DBus", "/org/freedesktop/DBus");
    let body = &(service.name);
    let answer = connection
        .call_method(Some(bus), path, Some(bus), "NameHasOwner", body)
        .await?;
    answer.body().deserialize()
}

/// A property. `None` where the service does not have it, or refuses.
async fn property<T>(
    connection: &Connection,
    service: &Service,
    name: &str,
) -> zbus::Result<Option<T>>
where
    T: for<'a> TryFrom<Variant<'a>>,
{
    let body = &(service.interface, name);
    let properties = Some("org.freedesktop.DBus.Properties");
    let answer = connection
        .call_method(Some(service.name), service.path, properties, "Get", body)
        .await;
    match answer {
        Ok(answer) => {
            let body = answer.body();
            let value: Variant<'_> = body.deserialize()?;
            Ok(T::try_from(value).ok())
        }
        Err(zbus::Error::MethodError(..) | zbus::Error::FDO(_)) => Ok(None),
        Err(e) => Err(e),
    }
}

async fn users(connection: &Connection) -> zbus::Result<Users> {
    if !there(connection, &LOGIND).await? {
        return Ok(Users::default());
    }
    let inhibited: Option<String> = property(connection, &LOGIND, "BlockInhibited").await?;
    Ok(Users {
        idle: property(connection, &LOGIND, "IdleHint").await?,
        since: property(connection, &LOGIND, "IdleSinceHint").await?,
        lit: inhibited.map(|what| what.split(':').any(|w| w == "idle")),
    })
}

async fn metered(connection: &Connection) -> zbus::Result<Option<bool>> {
    if !there(connection, &NETWORK_MANAGER).await? {
        return Ok(None);
    }
    let metered: Option<u32> = property(connection, &NETWORK_MANAGER, "Metered").await?;
    Ok(match metered {
        // Yes, and a guess that says yes.
        Some(1 | 3) => Some(true),
        Some(2 | 4) => Some(false),
        _ => None,
    })
}
