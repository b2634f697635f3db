use std::string::ToString;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::testkit::Checked;
use crate::{Local, Table};

fn at(s: u64) -> Time {
    Time::ZERO + Duration::from_secs(s)
}

fn rules(text: &str) -> Rules {
    toml::from_str(text).unwrap()
}

/// Readings of an idle, cool device with its charger.
fn fine() -> Readings {
    Readings {
        charging: Some(true),
        battery: Some(90),
        health: Some(95),
        temperature: Some(45_000),
        idle_s: Some(3600),
        load: Some(20),
        memory_free: Some(700),
        pressure: Some(0),
        metered: Some(false),
        full_screen: Some(false),
        local: Some(Local {
            weekday: 0,
            minute: 600,
        }),
    }
}

const RUN: Decision = Decision::Run { share: 100 };

#[test]
fn each_reading_pauses_for_its_own_reason() {
    let hours = "hours = [\"daily 10:00-11:00\"]";
    type Change = fn(&mut Readings);
    let wrong: [(&str, Change, Reason); 11] = [
        ("", |r| r.charging = Some(false), Reason::Power),
        ("", |r| r.battery = Some(39), Reason::Battery),
        ("", |r| r.health = Some(49), Reason::Health),
        ("", |r| r.temperature = Some(85_001), Reason::Temperature),
        ("", |r| r.idle_s = Some(59), Reason::User),
        ("", |r| r.load = Some(251), Reason::Load),
        ("", |r| r.memory_free = Some(99), Reason::Memory),
        ("", |r| r.pressure = Some(201), Reason::Pressure),
        ("", |r| r.metered = Some(true), Reason::Metered),
        ("", |r| r.full_screen = Some(true), Reason::FullScreen),
        (
            hours,
            |r| {
                r.local = Some(Local {
                    weekday: 0,
                    minute: 660,
                });
            },
            Reason::Hours,
        ),
    ];
    for (text, change, reason) in wrong {
        let mut harvest = Checked::new(rules(text));
        assert_eq!(harvest.observe(at(0), &fine()), RUN);
        let mut readings = fine();
        change(&mut readings);
        let paused = Decision::Pause(reason);
        assert_eq!(harvest.observe(at(1), &readings), paused);
        let causes: Vec<Reason> = harvest.harvest().causes().map(|c| c.reason).collect();
        assert_eq!(causes, [reason]);
        assert_eq!(harvest.observe(at(31), &fine()), RUN, "{reason}");
    }
}

#[test]
fn heating_pauses_a_warm_device_and_not_a_cold_one() {
    for (start, runs) in [(40_000, true), (70_000, false)] {
        // A degree every two seconds.
        let mut harvest = Checked::new(rules("temperature = { pause = 95, resume = 75 }"));
        let mut last = RUN;
        for s in 0..30 {
            let temperature = Some(start + 500 * i32::try_from(s).unwrap());
            let readings = Readings {
                temperature,
                ..fine()
            };
            last = harvest.observe(at(s), &readings);
        }
        let expected = if runs {
            RUN
        } else {
            Decision::Pause(Reason::Heating)
        };
        assert_eq!(last, expected);
    }
}

#[test]
fn a_user_leaves_a_share_where_the_rules_say_so() {
    let mut harvest = Checked::new(rules("cpu = 90\ncpu_in_use = 25"));
    let with = |idle_s| Readings {
        idle_s: Some(idle_s),
        ..fine()
    };
    let share = |share| Decision::Run { share };
    assert_eq!(harvest.observe(at(0), &with(400)), share(90));
    assert_eq!(harvest.observe(at(1), &with(0)), share(25));
    // Between the bounds the user still counts as there.
    assert_eq!(harvest.observe(at(200), &with(299)), share(25));
    assert_eq!(harvest.observe(at(201), &with(300)), share(90));
    assert_eq!(harvest.harvest().stats().shares, 2);
}

#[test]
fn a_pause_that_lasts_gives_back_once() {
    let mut harvest = Checked::new(Rules::default());
    let unplugged = Readings {
        charging: Some(false),
        ..fine()
    };
    assert_eq!(
        harvest.observe(at(0), &unplugged),
        Decision::Pause(Reason::Power)
    );
    assert_eq!(
        harvest.harvest().poll_timeout(),
        Some(Wake {
            at: at(120),
            why: "give back"
        })
    );
    assert_eq!(
        harvest.observe(at(119), &unplugged),
        Decision::Pause(Reason::Power)
    );
    for s in [120, 121, 500] {
        assert_eq!(
            harvest.observe(at(s), &unplugged),
            Decision::GiveBack(Reason::Power)
        );
    }
    assert_eq!(harvest.harvest().poll_timeout(), None);
    assert_eq!(harvest.observe(at(501), &fine()), RUN);
    let stats = harvest.harvest().stats();
    assert_eq!((stats.given_back, stats.runs), (1, 1));
    assert_eq!(stats.paused, Duration::from_secs(501));
}

#[test]
fn what_is_not_there_holds_back_only_where_it_is_required() {
    let nothing = Readings::default();
    assert_eq!(Checked::new(Rules::default()).observe(at(0), &nothing), RUN);
    let mut harvest = Checked::new(rules("require = [\"temperature\", \"local\"]"));
    assert_eq!(
        harvest.observe(at(0), &nothing),
        Decision::Pause(Reason::Missing)
    );
    let causes = harvest.harvest().causes().map(|c| c.to_string());
    assert_eq!(
        causes.collect::<Vec<_>>(),
        ["missing temperature", "missing local"]
    );
    assert_eq!(harvest.observe(at(30), &fine()), RUN);
    // A sensor that is silent for less than a minute is believed.
    assert_eq!(harvest.observe(at(90), &nothing), RUN);
    assert_eq!(
        harvest.observe(at(91), &nothing),
        Decision::Pause(Reason::Missing)
    );
}

#[test]
fn time_that_stands_still_or_runs_back_is_no_harm() {
    let mut harvest = Harvest::new(Rules::default());
    harvest.observe(at(100), &fine());
    let busy = Readings {
        load: Some(900),
        ..fine()
    };
    assert_eq!(harvest.observe(at(50), &busy), RUN);
    assert_eq!(
        harvest.observe(at(101), &busy),
        Decision::Pause(Reason::Load)
    );
    assert_eq!(harvest.stats().ran, Duration::from_secs(1));
}

fn maybe<T: std::fmt::Debug + Clone + 'static>(
    some: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = Option<T>> {
    prop_oneof![1 => Just(None), 6 => some.prop_map(Some)]
}

prop_compose! {
    fn any_readings()(
        power in (maybe(any::<bool>()), maybe(30_u8..70), maybe(45_u8..65)),
        temperature in maybe(prop_oneof![Just(40_000), 70_000_i32..90_000]),
        idle_s in maybe(0_u32..400),
        machine in (maybe(0_u16..400), maybe(50_u16..300), maybe(0_u16..300)),
        metered in maybe(prop::bool::weighted(0.1)),
        full_screen in maybe(prop::bool::weighted(0.1)),
        local in maybe((0_u8..7, 0_u16..1440)),
    ) -> Readings {
        Readings {
            charging: power.0,
            battery: power.1,
            health: power.2,
            temperature,
            idle_s,
            load: machine.0,
            memory_free: machine.1,
            pressure: machine.2,
            metered,
            full_screen,
            local: local.map(|(weekday, minute)| Local { weekday, minute }),
        }
    }
}

prop_compose! {
    fn any_rules()(
        run_min_s in 0_i64..20,
        pause_min_s in 1_i64..60,
        later in 0_i64..120,
        cpu_in_use in prop_oneof![Just(0_i64), 1_i64..100],
        charging: bool,
        required: bool,
    ) -> Rules {
        let require = if required { vec!["battery".to_string()] } else { Vec::new() };
        Table {
            run_min_s,
            pause_min_s,
            give_back_s: pause_min_s + later,
            cpu_in_use,
            charging,
            require,
            hours: vec!["mo-th 08:00-22:00".to_string()],
            ..Table::default()
        }
        .check()
        .unwrap()
    }
}

proptest! {
    /// `Checked` holds the laws: least times, no change on its own, giving back in time, wake-ups that are true.
    #[test]
    fn least_times_hold_and_nothing_changes_on_its_own(
        rules in any_rules(),
        steps in prop::collection::vec((1_u64..40, any_readings(), 0_usize..6), 1..60),
    ) {
        let mut harvest = Checked::new(rules);
        let mut now = 0;
        for (step, readings, again) in steps {
            for _ in 0..=again {
                now += step;
                harvest.observe(at(now), &readings);
            }
        }
    }

    /// A reading that trembles between the bounds never changes anything.
    #[test]
    fn readings_between_the_bounds_change_nothing(starts_low: bool, loads in prop::collection::vec(101_u16..=250, 1..80)) {
        let mut harvest = Checked::new(Rules::default());
        let first = Readings { load: Some(if starts_low { 0 } else { 300 }), ..fine() };
        let runs = harvest.observe(at(0), &first).runs();
        for (s, load) in (1..).zip(loads) {
            let readings = Readings { load: Some(load), ..fine() };
            prop_assert_eq!(harvest.observe(at(100 * s), &readings).runs(), runs);
        }
    }

    /// Same rules, readings and times, same decisions.
    #[test]
    fn decisions_follow_from_what_was_read(rules in any_rules(), steps in prop::collection::vec((1_u64..40, any_readings()), 1..40)) {
        let run = || {
            let mut harvest = Harvest::new(rules.clone());
            let mut now = 0;
            let decide = |(step, readings): &(u64, Readings)| {
                now += step;
                harvest.observe(at(now), readings)
            };
            steps.iter().map(decide).collect::<Vec<_>>()
        };
        prop_assert_eq!(run(), run());
    }
}
