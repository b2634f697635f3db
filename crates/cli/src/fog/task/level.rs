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
