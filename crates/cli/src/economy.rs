//! `betanet token`, `stake`, `gov` and `ledger`: the economy of a fog, each answer verified here.

pub(crate) mod amount;
mod anchors;
pub(crate) mod escrow;
mod evidence;
mod genesis;
mod govern;
mod history;
mod journal;
mod keys;
mod metered;
mod named;
pub(crate) mod net;
mod nonces;
pub(crate) mod past;
mod proofs;
pub(crate) mod purchase;
pub(crate) mod seen;
mod stakes;
mod standing;
mod tokens;
pub(crate) mod words;

pub(crate) use journal::keep;

use crate::Fail;
use crate::args::{
    GovArgs, GovCommand, LedgerCommand, LedgersArgs, StakeArgs, StakeCommand, TokenCommand,
    TokensArgs,
};
use crate::fail::interruptible;

pub(crate) async fn token(mut args: TokensArgs) -> Result<(), Fail> {
    named::token(&mut args.command).await?;
    match args.command {
        TokenCommand::Open(args) => interruptible(tokens::open(&args)).await,
        TokenCommand::Balance(args) => interruptible(tokens::balance(&args)).await,
        TokenCommand::Send(args) => interruptible(tokens::send(&args)).await,
        TokenCommand::Hold(args) => interruptible(metered::hold(&args)).await,
        TokenCommand::Meter(args) => interruptible(metered::meter(&args)).await,
        TokenCommand::Swap(args) => interruptible(tokens::swap(&args)).await,
        TokenCommand::History(args) => interruptible(history::history(&args)).await,
        TokenCommand::Keyset(args) => interruptible(tokens::keyset(&args)).await,
        TokenCommand::Rekey(args) => interruptible(keys::rekey(&args)).await,
        TokenCommand::Close(args) => interruptible(keys::close(&args)).await,
        TokenCommand::Supply(args) => interruptible(tokens::supply(&args)).await,
    }
}

pub(crate) async fn stake(mut args: StakeArgs) -> Result<(), Fail> {
    named::stake(&mut args.command).await?;
    match args.command {
        StakeCommand::Bond(args) => interruptible(stakes::bond(&args)).await,
        StakeCommand::Delegate(args) => interruptible(stakes::delegate(&args)).await,
        StakeCommand::Unbond(args) => interruptible(stakes::unbond(&args)).await,
        StakeCommand::Redelegate(args) => interruptible(stakes::redelegate(&args)).await,
        StakeCommand::Unjail(args) => interruptible(stakes::unjail(&args)).await,
        StakeCommand::Evidence(args) => interruptible(evidence::evidence(&args)).await,
        StakeCommand::Audit(args) => interruptible(stakes::audit(&args)).await,
        StakeCommand::Standing(args) => interruptible(standing::standing(&args)).await,
        StakeCommand::Status(args) => interruptible(stakes::status(&args)).await,
    }
}

pub(crate) async fn gov(mut args: GovArgs) -> Result<(), Fail> {
    named::gov(&mut args.command).await?;
    match args.command {
        GovCommand::Propose(args) => interruptible(govern::propose(&args)).await,
        GovCommand::Show(args) => interruptible(govern::show(&args)).await,
        GovCommand::Delegate(args) => interruptible(stakes::delegate(&args)).await,
        GovCommand::Undelegate(args) => interruptible(stakes::unbond(&args)).await,
        GovCommand::Vote(args) => interruptible(govern::vote(&args)).await,
        GovCommand::Tally(args) => interruptible(govern::tally(&args)).await,
        GovCommand::Execute(args) => interruptible(govern::execute(&args)).await,
        GovCommand::Brake(args) => interruptible(govern::brake(&args)).await,
    }
}

pub(crate) async fn ledger(mut args: LedgersArgs) -> Result<(), Fail> {
    named::ledger(&mut args.command).await?;
    match args.command {
        LedgerCommand::Genesis(args) => genesis::make(&args),
        LedgerCommand::Head(args) => interruptible(proofs::head(&args)).await,
        LedgerCommand::Save(args) => interruptible(journal::save(&args)).await,
        LedgerCommand::Restore(args) => interruptible(journal::restore(&args)).await,
        LedgerCommand::Verify(args) => interruptible(journal::verify(&args)).await,
        LedgerCommand::Proof(args) => interruptible(proofs::proof(&args)).await,
    }
}
