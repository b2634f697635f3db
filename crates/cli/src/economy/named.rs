//! Aliases where a command names an account.

use super::amount::is_system;
use crate::args::{BooksArgs, GovCommand, LedgerCommand, StakeCommand, TokenCommand};
use crate::{Fail, name};

/// Puts names in place of the aliases of accounts. A word such as treasury is a system account.
async fn accounts(texts: Vec<&mut String>, books: &BooksArgs) -> Result<(), Fail> {
    let texts = texts.into_iter().filter(|text| !is_system(text));
    name::named(texts, &books.dial).await
}

pub(super) async fn token(command: &mut TokenCommand) -> Result<(), Fail> {
    match command {
        TokenCommand::Balance(args) | TokenCommand::History(args) => {
            accounts(args.account.iter_mut().collect(), &args.books).await
        }
        TokenCommand::Send(args) => accounts(vec![&mut args.to], &args.ask.books).await,
        TokenCommand::Hold(args) => accounts(vec![&mut args.to], &args.ask.books).await,
        _ => Ok(()),
    }
}

pub(super) async fn stake(command: &mut StakeCommand) -> Result<(), Fail> {
    match command {
        StakeCommand::Delegate(args) | StakeCommand::Unbond(args) => {
            accounts(vec![&mut args.node], &args.ask.books).await
        }
        StakeCommand::Redelegate(args) => {
            accounts(vec![&mut args.from, &mut args.to], &args.ask.books).await
        }
        StakeCommand::Audit(args) => {
            for text in &mut args.probes {
                if let Some((node, counts)) = text.rsplit_once('=') {
                    let mut node = node.to_owned();
                    accounts(vec![&mut node], &args.ask.books).await?;
                    *text = format!("{node}={counts}");
                }
            }
            Ok(())
        }
        StakeCommand::Status(args) => {
            accounts(args.account.iter_mut().collect(), &args.books).await
        }
        _ => Ok(()),
    }
}

pub(super) async fn gov(command: &mut GovCommand) -> Result<(), Fail> {
    match command {
        GovCommand::Delegate(args) | GovCommand::Undelegate(args) => {
            accounts(vec![&mut args.node], &args.ask.books).await
        }
        _ => Ok(()),
    }
}

pub(super) async fn ledger(command: &mut LedgerCommand) -> Result<(), Fail> {
    match command {
        LedgerCommand::Proof(args) => {
            accounts(args.account.iter_mut().collect(), &args.books).await
        }
        _ => Ok(()),
    }
}
