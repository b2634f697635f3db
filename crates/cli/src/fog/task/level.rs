//! Duties of a task's owner above the level public.

use betanet_fog::Level;

use crate::Fail;
use crate::args::FogArgs;

/// Checks before anything is sent that the command's way is one for this level, and that it sends cover while the task lives.
pub(in crate::fog) fn check(level: Level, args: &FogArgs, stays: bool) -> Result<(), Fail> {
    let (relays, mix) = (level.relays(), args.dial.mix.map_or(0, usize::from));
    if relays > mix {
        return Err(Fail::Usage(format!(
            "privacy_route: a {level} task travels over {relays} relays or more: --mix {relays} --network FILE; nothing was sent"
        )));
    }
    if !level.cover() {
        return Ok(());
    }
    if args.dial.mix_cover.is_none() {
        return Err(Fail::Usage(format!(
            "a {level} task needs cover traffic: --mix-cover MS, such as 200; nothing was sent"
        )));
    }
    if !stays {
        return Err(Fail::Usage(format!(
            "a {level} task needs cover traffic while it lives, so this command stays until its end: leave --detach out, or add --wait"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        fog: FogArgs,
    }

    fn fog(line: &str) -> FogArgs {
        let given = ["x", "--coordinator", "bn1:x", "--network", "n.toml"];
        let all = given.into_iter().chain(line.split_whitespace());
        Line::try_parse_from(all)
            .unwrap_or_else(|error| panic!("{error}"))
            .fog
    }

    #[test]
    fn a_way_with_fewer_relays_than_the_level_or_without_its_cover_sends_nothing() {
        let cover = "--mix 7 --mix-cover 200";
        for (level, line, stays, said) in [
            (Level::Public, "", false, None),
            (Level::Public, "--mix 3", false, None),
            (Level::Private, "", false, Some("--mix 3")),
            (Level::Private, "--mix 3", false, None),
            (Level::Private, "--mix 5", false, None),
            (Level::Confidential, "--mix 3", true, Some("--mix 5")),
            (Level::Confidential, "--mix 5", true, Some("--mix-cover")),
            (Level::Confidential, cover, false, Some("--detach")),
            (Level::Confidential, cover, true, None),
            (
                Level::Secret,
                "--mix 5 --mix-cover 200",
                true,
                Some("--mix 7"),
            ),
            (Level::Secret, "--mix 7", true, Some("--mix-cover")),
            (Level::Secret, cover, false, Some("--detach")),
            (Level::Secret, cover, true, None),
        ] {
            match (check(level, &fog(line), stays), said) {
                (Ok(()), None) => {}
                (Err(Fail::Usage(text)), Some(said)) => {
                    assert!(text.contains(said), "{level} {line}: {text}");
                    let refused = text.contains("privacy_route");
                    assert_eq!(refused, said.starts_with("--mix "), "{text}");
                }
                (done, _) => panic!("{level} {line} {stays}: {done:?}"),
            }
        }
    }
}
