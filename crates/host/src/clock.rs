//! The clock on the wall, by the machine's own time zone.

use betanet_harvest::Local;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::Root;

/// The time zone, read anew when its file changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock {
    zone: Option<(Vec<u8>, TimeZone)>,
}

impl Clock {
    /// The local time. A machine without `/etc/localtime` has UTC, as everywhere on Linux.
    pub(crate) fn read(&mut self, root: &Root, unix_ms: u64) -> Option<Local> {
        let bytes = root.bytes("etc/localtime").unwrap_or_default();
        if self.zone.as_ref().is_none_or(|(known, _)| *known != bytes) {
            let zone = if bytes.is_empty() {
                TimeZone::UTC
            } else {
                TimeZone::tzif("Local", &bytes).ok()?
            };
            self.zone = Some((bytes, zone));
        }
        let (_, zone) = self.zone.as_ref()?;
        let at = Timestamp::from_millisecond(i64::try_from(unix_ms).ok()?).ok()?;
        let at = at.to_zoned_datetime(zone.clone());
        let weekday = at.weekday().to_monday_zero_offset();
        let minute = i16::from(at.hour()) * 60 + i16::from(at.minute());
        Some(Local {
            weekday: u8::try_from(weekday).ok()?,
            minute: u16::try_from(minute).ok()?,
        })
    }
}
