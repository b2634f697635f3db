//! Aliases where a command names a node.

use crate::args::{DialArgs, PayCommand};
use crate::{Fail, name};

/// Puts names in place of the aliases of mints, payees and relays.
pub(super) async fn aliases(command: &mut PayCommand) -> Result<(), Fail> {
    let (texts, dial): (Vec<&mut String>, &mut DialArgs) = match command {
        PayCommand::Mint(args) => (args.mints.iter_mut().collect(), &mut args.online.dial),
        PayCommand::Restore(args) => (args.mints.iter_mut().collect(), &mut args.online.dial),
        PayCommand::Redeem(args) => (vec![&mut args.to], &mut args.online.dial),
        PayCommand::Issue(args) => (Vec::new(), &mut args.online.dial),
        PayCommand::Send(args) => (Vec::new(), &mut args.online.dial),
        PayCommand::Receive(args) => (Vec::new(), &mut args.online.dial),
        PayCommand::Buy(args) => (args.mint.iter_mut().collect(), &mut args.online.dial),
        PayCommand::Resume(args) => (Vec::new(), &mut args.online.dial),
        _ => return Ok(()),
    };
    name::named(texts, dial).await?;
    name::relays(dial).await
}
