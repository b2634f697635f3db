//! Settings of a node as flags and variables: each as its section declares it.

use std::ffi::OsString;
use std::fmt;
use std::marker::PhantomData;

use betanet_runtime::{GatewayConfig, Given, Kind, Knob};
use clap::builder::ValueParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

/// The place of a setting that a flag gave.
pub(crate) const FLAGS: &str = "command line";

/// The settings that a command takes.
pub(crate) trait Choice {
    /// Names of those that are no flags of the command.
    const WITHOUT: &'static [&'static str];
}

/// Settings that the command line and its variables gave; flags win.
pub(crate) struct SettingArgs<C> {
    given: Vec<(&'static str, String, Vec<OsString>)>,
    choice: PhantomData<C>,
}

impl<C> fmt::Debug for SettingArgs<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may hold a key.
        let names = self.given.iter().map(|(name, ..)| name);
        f.debug_list().entries(names).finish()
    }
}

impl<C> SettingArgs<C> {
    /// Lays these settings over others.
    pub(crate) fn over(&self, below: &mut Given) {
        for (name, place, texts) in &self.given {
            below.put(name, place.clone(), texts.iter().cloned());
        }
    }
}

fn chosen<C: Choice>() -> impl Iterator<Item = Knob> {
    let all = GatewayConfig::knobs().into_iter();
    all.filter(|knob| !C::WITHOUT.contains(&knob.name))
}

fn arg(knob: Knob) -> Arg {
    let mut help = knob.help;
    if knob.kind == Kind::Switch && !knob.flips_to {
        let first = help.remove(0).to_ascii_lowercase();
        help.insert_str(0, &format!("Do not {first}"));
    }
    if let Some(default) = &knob.default {
        help = format!("{help} [default: {default}]");
    }
    let set = std::env::var_os(&knob.variable).filter(|v| !v.is_empty() && !knob.secret);
    let set = set.map(|v| v.display().to_string()).unwrap_or_default();
    let help = format!("{help} [env: {}={set}]", knob.variable);
    // The flag --log is also `betanet`'s own, which reads it as text.
    let parser = match knob.name {
        "log" => ValueParser::string(),
        _ => ValueParser::os_string(),
    };
    let arg = Arg::new(knob.name)
        .long(knob.flag)
        .help(help)
        .help_heading(knob.title);
    match knob.kind {
        Kind::Switch => arg.action(ArgAction::SetTrue),
        Kind::One => arg
            .value_name(knob.value)
            .action(ArgAction::Set)
            .value_parser(parser),
        Kind::Many => arg
            .value_name(knob.value)
            .action(ArgAction::Append)
            .value_parser(parser),
    }
}

impl<C: Choice> Args for SettingArgs<C> {
    fn augment_args(command: Command) -> Command {
        command.args(chosen::<C>().map(arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn is_given(matches: &ArgMatches, name: &str) -> bool {
    matches.value_source(name) == Some(ValueSource::CommandLine)
}

impl<C: Choice> FromArgMatches for SettingArgs<C> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut given = Vec::new();
        for knob in chosen::<C>() {
            let texts: Vec<OsString> = match knob.kind {
                Kind::Switch if matches.get_flag(knob.name) => {
                    vec![knob.flips_to.to_string().into()]
                }
                Kind::Switch => Vec::new(),
                // Under `betanet`, a flag may be one of its own, of another type and with a default.
                Kind::One | Kind::Many if is_given(matches, knob.name) => matches
                    .get_raw(knob.name)
                    .map(|all| all.map(OsString::from).collect())
                    .unwrap_or_default(),
                Kind::One | Kind::Many => Vec::new(),
            };
            let variable = || std::env::var_os(&knob.variable).filter(|v| !v.is_empty());
            if !texts.is_empty() {
                given.push((knob.name, FLAGS.to_owned(), texts));
            } else if let Some(text) = variable() {
                given.push((knob.name, knob.variable, vec![text]));
            }
        }
        Ok(Self {
            given,
            choice: PhantomData,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// All settings, as `gateway` takes them.
#[derive(Debug)]
pub(crate) struct All;

impl Choice for All {
    const WITHOUT: &'static [&'static str] = &[];
}

/// Those of a mixnode, which serves no folder.
#[derive(Debug)]
pub(crate) struct Mixing;

impl Choice for Mixing {
    const WITHOUT: &'static [&'static str] =
        &["serve", "writable", "allow", "quota", "entries", "listing"];
}

/// Those of a coordinator, which serves no folder.
#[derive(Debug)]
pub(crate) struct Coordinating;

impl Choice for Coordinating {
    const WITHOUT: &'static [&'static str] = Mixing::WITHOUT;
}

/// Those of a worker that listens. The others are its own, or those of its way to the coordinators, or of other roles.
#[derive(Debug)]
pub(crate) struct Working;

impl Choice for Working {
    const WITHOUT: &'static [&'static str] = &[
        "serve",
        "writable",
        "allow",
        "quota",
        "entries",
        "listing",
        "key",
        "state",
        "network",
        "roles",
        "org",
        "ca",
        "admin",
        "log",
        "log_format",
        "shape",
        "padding",
        "profile",
        "front_origins",
        "onward",
        "mix_rate",
        "mix_memory",
        "mix_workers",
        "mix_waiting",
        "mix_lose",
        "mix_lose_seed",
        "compat11",
        "compat11_tickets",
        "compat11_to",
        "compat11_dial",
    ];
}

/// Those of `betanet serve`, whose folder is an argument, and whose log lines are those of `betanet`.
#[derive(Debug)]
pub(crate) struct Serving;

impl Choice for Serving {
    const WITHOUT: &'static [&'static str] = &["serve", "log", "log_format"];
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> Result<betanet_runtime::ReadSettings, clap::Error> {
        let command = SettingArgs::<All>::augment_args(Command::new("test"));
        let matches = command.try_get_matches_from([&["test"], args].concat())?;
        let mut given = Given::new(FLAGS);
        SettingArgs::<All>::from_arg_matches(&matches)?.over(&mut given);
        Ok(given.read())
    }

    #[test]
    fn each_setting_has_a_flag_that_gives_it() {
        SettingArgs::<All>::augment_args(Command::new("test")).debug_assert();
        for knob in GatewayConfig::knobs() {
            let flag = format!("--{}", knob.flag);
            let mut args = vec![flag.as_str()];
            if knob.kind != Kind::Switch {
                args.push(knob.default.as_deref().unwrap_or("?"));
            }
            let read = read(&args).unwrap();
            // A text that is no value is refused by the setting's name; nobody else is.
            let wrong = read.problems.iter().all(|p| p.key == knob.name);
            assert!(wrong, "{flag}: {:?}", read.problems);
        }
    }

    #[test]
    fn switches_and_lists_read_as_they_are_meant() {
        let read = read(&[
            "--quic",
            "--no-alt-svc",
            "--no-aes",
            "--listen",
            "a:1,b:2",
            "--listen",
            "c:3",
            "--role",
            "seed",
            "--mix-rate",
            "7",
        ]);
        let config = read.unwrap().config;
        assert!(config.listener.quic && !config.listener.alt_svc && config.node.pq);
        assert!(!config.node.aes);
        assert_eq!(config.listener.listen, ["a:1", "b:2", "c:3"]);
        assert_eq!(config.mix.rate, 7);
        assert!(config.mesh.roles.has(betanet_runtime::Role::Seed));
    }
}
