//! Hours of the week in which a device may work.

use alloc::vec::Vec;
use core::str::FromStr;

use crate::Local;

/// Most windows of one set of rules.
pub const WINDOWS_MAX: usize = 32;
/// The form of a window, in words.
pub(crate) const FORM: &str =
    "days and times such as \"mo-fr 19:00-07:00\", \"sa,su 00:00-24:00\" or \"daily 22:00-06:00\"";

const DAY: u16 = 24 * 60;
const DAYS: [&str; 7] = ["mo", "tu", "we", "th", "fr", "sa", "su"];

/// One window: days, and a time of the day that may go past midnight. It belongs to the day on which it begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Window {
    /// A bit for each day; Monday is bit 0.
    days: u8,
    from: u16,
    to: u16,
}

impl Window {
    const fn on(&self, weekday: u8) -> bool {
        self.days & (1 << (weekday % 7)) != 0
    }

    fn has(&self, at: Local) -> bool {
        let before = (at.weekday % 7 + 6) % 7;
        if self.from < self.to {
            return self.on(at.weekday) && (self.from..self.to).contains(&at.minute);
        }
        (self.on(at.weekday) && at.minute >= self.from) || (self.on(before) && at.minute < self.to)
    }
}

/// A text is not a window of time.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not {FORM}")]
pub struct NotHours;

fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let number = |t: &str| {
        let digits = t.len() == 2 && t.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| t.parse::<u16>().ok()).flatten()
    };
    let (hour, minute) = (number(hour)?, number(minute)?);
    let all = hour * 60 + minute;
    (minute < 60 && all <= DAY).then_some(all)
}

fn day(text: &str) -> Option<usize> {
    DAYS.iter().position(|d| *d == text)
}

fn days(text: &str) -> Option<u8> {
    if text == "daily" {
        return Some(0x7f);
    }
    let mut bits = 0;
    for part in text.split(',') {
        match part.split_once('-') {
            None => bits |= 1 << day(part)?,
            Some((first, last)) => {
                let (first, last) = (day(first)?, day(last)?);
                // "fr-mo" goes past Sunday.
                let length = (last + 7 - first) % 7;
                (0..=length).for_each(|n| bits |= 1 << ((first + n) % 7));
            }
        }
    }
    Some(bits)
}

impl FromStr for Window {
    type Err = NotHours;

    fn from_str(text: &str) -> Result<Self, NotHours> {
        let read = || {
            let (on, times) = text.split_once(' ')?;
            let (from, to) = times.split_once('-')?;
            let window = Self {
                days: days(on)?,
                from: minute(from)?,
                to: minute(to)?,
            };
            (window.from != window.to && window.from < DAY).then_some(window)
        };
        read().ok_or(NotHours)
    }
}

/// Hours of the week. None at all means always.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Hours(Vec<Window>);

impl Hours {
    /// Reads windows, of which there are at most [`WINDOWS_MAX`].
    ///
    /// # Errors
    ///
    /// The index of the first that cannot be read, or is one too many.
    pub fn read<T: AsRef<str>>(texts: &[T]) -> Result<Self, usize> {
        let mut windows = Vec::new();
        for (at, text) in texts.iter().enumerate() {
            let window = text.as_ref().parse().map_err(|NotHours| at)?;
            if windows.len() == WINDOWS_MAX {
                return Err(at);
            }
            windows.push(window);
        }
        Ok(Self(windows))
    }

    /// Whether the device may work at that time.
    #[must_use]
    pub fn has(&self, at: Local) -> bool {
        self.0.is_empty() || self.0.iter().any(|w| w.has(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(day_name: &str, time: &str) -> Local {
        Local {
            weekday: u8::try_from(day(day_name).unwrap()).unwrap(),
            minute: minute(time).unwrap(),
        }
    }

    #[test]
    fn a_window_past_midnight_belongs_to_the_day_on_which_it_begins() {
        let hours = Hours::read(&["mo-fr 19:00-07:00", "su 12:00-13:30"]).unwrap();
        for (day, time, has) in [
            ("mo", "06:59", false),
            ("mo", "18:59", false),
            ("mo", "19:00", true),
            ("tu", "06:59", true),
            ("tu", "07:00", false),
            ("sa", "06:59", true),
            ("sa", "19:00", false),
            ("su", "13:29", true),
            ("su", "13:30", false),
        ] {
            assert_eq!(hours.has(at(day, time)), has, "{day} {time}");
        }
    }

    #[test]
    fn days_go_past_sunday_and_no_windows_mean_always() {
        let hours = Hours::read(&["sa-mo 00:00-24:00"]).unwrap();
        let on = |day| hours.has(at(day, "12:00"));
        assert_eq!(DAYS.map(on), [true, false, false, false, false, true, true]);
        assert!(Hours::default().has(at("we", "03:00")));
    }

    #[test]
    fn what_is_not_a_window_is_refused_by_its_place() {
        for wrong in [
            "",
            "mo",
            "mo 10:00",
            "mo 10:00-10:00",
            "mo 24:00-10:00",
            "mo 9:00-10:00",
            "mo 09:60-10:00",
            "mo 09:00-24:01",
            "mx 09:00-10:00",
            "mo- 09:00-10:00",
            "mo,, 09:00-10:00",
            "mo  09:00-10:00",
            "mo +9:00-10:00",
            "MO 09:00-10:00",
        ] {
            assert_eq!(
                Hours::read(&["daily 22:00-06:00", wrong]),
                Err(1),
                "{wrong:?}"
            );
        }
        assert!(Hours::read(&["mo 00:00-24:00"; WINDOWS_MAX]).is_ok());
        let many = ["mo 00:00-24:00"; WINDOWS_MAX + 1];
        assert_eq!(Hours::read(&many), Err(WINDOWS_MAX));
    }
}
