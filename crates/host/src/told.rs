//! Readings that other programs tell: files of one folder, each with the name of a reading.
//!
//! A sensor that this crate does not know can be told so, and a desktop's own word for whether a program has the whole screen.

use betanet_harvest::{Reading, Readings};

use crate::Root;

/// The folder, below the root.
pub const TOLD: &str = "run/betanet/readings";

fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "true" | "yes" => Some(true),
        "0" | "false" | "no" => Some(false),
        _ => None,
    }
}

/// Puts one told reading in its place. `None` where the text is none of that reading.
pub(crate) fn put(readings: &mut Readings, reading: Reading, text: &str) -> Option<()> {
    fn number<N: std::str::FromStr + PartialOrd>(text: &str, most: N) -> Option<N> {
        text.parse().ok().filter(|n| *n <= most)
    }
    let text = text.trim();
    match reading {
        Reading::Charging => readings.charging = Some(truth(text)?),
        Reading::Metered => readings.metered = Some(truth(text)?),
        Reading::FullScreen => readings.full_screen = Some(truth(text)?),
        Reading::Battery => readings.battery = Some(number(text, 100)?),
        Reading::Health => readings.health = Some(number(text, 100)?),
        Reading::Temperature => readings.temperature = Some(number(text, 200_000)?),
        Reading::IdleS => readings.idle_s = Some(number(text, u32::MAX)?),
        Reading::Load => readings.load = Some(number(text, 1000)?),
        Reading::MemoryFree => readings.memory_free = Some(number(text, 1000)?),
        Reading::Pressure => readings.pressure = Some(number(text, 1000)?),
        // A clock is not told: every machine has one.
        Reading::Local => return None,
    }
    Some(())
}

/// Lays what was told over what was read. Returns the files whose text cannot be used.
pub(crate) fn lay_over(root: &Root, readings: &mut Readings) -> Vec<Reading> {
    let mut wrong = Vec::new();
    for reading in Reading::ALL {
        let text = root.text(format!("{TOLD}/{}", reading.as_str()));
        if let Some(text) = text
            && put(readings, *reading, &text).is_none()
        {
            wrong.push(*reading);
        }
    }
    wrong
}
