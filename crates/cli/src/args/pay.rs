//! `pay`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{DialArgs, RegistryArgs};

#[derive(Debug, Args)]
pub(crate) struct PayArgs {
    #[command(subcommand)]
    pub(crate) command: PayCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PayCommand {
    /// Make the keyset of a mint, and a folder for each gateway that runs a part of it.
    #[command(
        after_help = "DIR gets keyset.cbor, which is public, issuer.pem, which signs coupons, and mint-1 … mint-N. Move each mint's folder to\n\
                      its gateway and delete it here: --threshold of them together can issue. The gateway with the key --spender redeems.\n\n\
                      Example: betanet pay mint-init ./mint --spender ./shop.pem"
    )]
    MintInit(MintInitArgs),
    /// Plan fresh shares of a keyset, which make the old ones worthless.
    #[command(
        after_help = "Shares that somebody copied are of no use once all mints have fresh ones. The keyset and its vouchers stay. DIR gets\n\
                      plan.cbor; pay mint-round goes on from there.\n\n\
                      Example: betanet pay mint-refresh ./again --mint ./mint --member ./a.pem --member ./b.pem --member ./c.pem"
    )]
    MintRefresh(MintRefreshArgs),
    /// Take the other mints' files of a round of key generation, and write this mint's next one.
    #[command(
        after_help = "The first call makes DIR and needs --plan. Give the file that is printed to all other mints, and call this again with\n\
                      theirs. The files are public. A mint that breaks the rules is named. At the end DIR/mint is the folder for --mint.\n\n\
                      Example: betanet pay mint-round ./run --key ./a.pem --plan ./plan.cbor"
    )]
    MintRound(MintRoundArgs),
    /// Sign a coupon: whoever has it can have vouchers of its value issued, once.
    #[command(after_help = "Example: betanet pay coupon 10 --mint ./mint")]
    Coupon(CouponArgs),
    /// Publish a keyset in the network's ledger of names, signed by its maintainers.
    #[command(
        after_help = "FILE keeps the record with the signatures so far. Give it from one maintainer to the next: the command publishes it once enough\n\
                      have signed, two thirds of them and at least five. pay mint --registered takes only keysets that stand there.\n\n\
                      Example: betanet pay publish ./keyset.record --keyset ./mint/keyset.cbor --maintainer ./me.pem --network NETWORK.toml"
    )]
    Publish(PublishKeysetArgs),
    /// Make an empty wallet, and print the phrase from which it can be rebuilt.
    #[command(
        after_help = "Write the phrase down: it is shown once, and whoever reads it owns the wallet. --password-file names the file of the\n\
                      password under which the wallet lies on disk.\n\n\
                      Example: betanet pay new --wallet ./wallet --password-file ./password"
    )]
    New(NewArgs),
    /// Learn the keysets of mints, and keep their addresses.
    #[command(
        after_help = "Compare the keyset's ID with the one that the mint's operator published.\n\n\
                      Example: betanet pay mint bnp1… --wallet ./wallet --password-file ./password"
    )]
    Mint(LearnMintArgs),
    /// Have vouchers issued for a coupon.
    #[command(
        after_help = "Example: betanet pay issue bnc1… --wallet ./wallet --password-file ./password"
    )]
    Issue(IssueArgs),
    /// Buy vouchers with units of a ledger: the ledger takes the units, and its mints issue the vouchers.
    #[command(
        after_help = "The key of --key pays: betanet token swap gets its units. Each step is on disk before it is sent, and pay resume goes on after\n\
                      a crash. The ledger shows who bought how much, and not which vouchers they are.\n\n\
                      Example: betanet pay buy 10 --mint bnp1… --ledger bnp1… --genesis ./GENESIS --key ./alice.pem --wallet ./wallet --password-file ./password"
    )]
    Buy(Box<BuyArgs>),
    /// Show what the wallet holds.
    #[command(
        after_help = "Example: betanet pay balance --wallet ./wallet --password-file ./password --json"
    )]
    Balance(WalletArgs),
    /// Take vouchers out of the wallet, and print them: whoever has them owns them.
    #[command(
        after_help = "If no vouchers sum to the amount, some are swapped at the mint first.\n\n\
                      Example: betanet pay send 3 --wallet ./wallet --password-file ./password"
    )]
    Send(AmountArgs),
    /// Put vouchers into the wallet that somebody sent, and swap them for fresh ones.
    #[command(
        after_help = "Until they are swapped, the sender can spend them too. --offline checks their signatures alone.\n\n\
                      Example: betanet pay receive - --wallet ./wallet --password-file ./password < vouchers"
    )]
    Receive(ReceiveArgs),
    /// Redeem vouchers to a node's balance at the redemption service.
    #[command(
        after_help = "Example: betanet pay redeem 3 --to bn1:… --wallet ./wallet --password-file ./password"
    )]
    Redeem(RedeemArgs),
    /// Go on with operations that a crash or a lost connection has cut off, and drop vouchers that were spent elsewhere.
    #[command(
        after_help = "Vouchers that others sent are swapped too. A purchase needs its --ledger and --genesis.\n\n\
                      Example: betanet pay resume --wallet ./wallet --password-file ./password"
    )]
    Resume(ResumeArgs),
    /// Write a copy of the encrypted wallet.
    #[command(
        after_help = "The copy needs the wallet's password. Vouchers that the wallet spends later are refused from the copy.\n\n\
                      Example: betanet pay backup ./wallet.backup --wallet ./wallet --password-file ./password"
    )]
    Backup(BackupArgs),
    /// Rebuild a wallet from its phrase or from a copy, by the records of the mints.
    #[command(
        after_help = "PHRASE is a file with the words, a copy that pay backup wrote, or - for standard input. A copy needs the wallet's password.\n\
                      A phrase does not find vouchers that others sent and that were not swapped. Stop the lost wallet first: two wallets of one phrase compete for the same vouchers.\n\n\
                      Example: betanet pay restore ./phrase bnp1… --wallet ./again --password-file ./password"
    )]
    Restore(RestoreWalletArgs),
    /// Show a node's accounts with its peers: what it forwarded for them, and what they countersigned.
    #[command(
        after_help = "The node keeps accounts with --accounts. -o writes the records with both signatures, which pay evidence verifies.\n\n\
                      Example: betanet pay accounts --admin 127.0.0.1:9464 -o ./evidence.cbor"
    )]
    Accounts(AccountsArgs),
    /// Verify both signatures of each record in a file of evidence.
    #[command(after_help = "Example: betanet pay evidence ./evidence.cbor")]
    Evidence(EvidenceArgs),
}

#[derive(Debug, Args)]
pub(crate) struct AccountsArgs {
    /// Admin address of the node.
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin: String,
    /// File for the evidence.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct EvidenceArgs {
    /// File of evidence.
    pub(crate) file: PathBuf,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A node's accounts with its peers.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct AccountFlags {
    /// Keep accounts with other nodes: count what is forwarded, and sign each other's counts. Needs --state and --network.
    #[arg(long, help_heading = "Accounts")]
    pub(crate) accounts: bool,
    /// Interval at which peers are asked to countersign, in seconds. Default: 3600.
    #[arg(
        long,
        value_name = "SECONDS",
        help_heading = "Accounts",
        env = "BETANET_ACCOUNTS_EVERY"
    )]
    pub(crate) accounts_every: Option<u64>,
    /// Units for each 2^20 forwarded bytes, which the node announces. Needs --account-allowance.
    #[arg(
        long,
        value_name = "UNITS",
        help_heading = "Accounts",
        env = "BETANET_ACCOUNT_PRICE"
    )]
    pub(crate) account_price: Option<u64>,
    /// Bytes that a peer may have without its countersignature. Beyond them, its new streams are refused.
    #[arg(
        long,
        value_name = "BYTES",
        help_heading = "Accounts",
        env = "BETANET_ACCOUNT_ALLOWANCE"
    )]
    pub(crate) account_allowance: Option<u64>,
}

/// A gateway's mint.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct MintFlags {
    /// Folder of a mint that `betanet pay mint-init` made: issue, swap and redeem its vouchers here. May be repeated, for further
    /// keysets.
    #[arg(
        long,
        value_name = "DIR",
        help_heading = "Vouchers",
        env = "BETANET_MINT",
        value_delimiter = ','
    )]
    pub(crate) mint: Vec<PathBuf>,
    /// Another gateway with a share of the keysets that this one redeems. A PEER, or a name or an alias that the network knows.
    /// It is asked each minute how many points it signed; if more is redeemed than that allows, the alarm is raised. May be repeated:
    /// name all of them.
    #[arg(
        long,
        value_name = "PEER",
        help_heading = "Vouchers",
        env = "BETANET_MINT_PEER",
        value_delimiter = ','
    )]
    pub(crate) mint_peer: Vec<String>,
    /// Node of a ledger, named in the same ways. Vouchers of the unit FOG are issued for purchases there, and redeemed to its accounts.
    /// May be repeated: a gateway that redeems needs the leader among them.
    #[arg(
        long,
        value_name = "PEER",
        help_heading = "Vouchers",
        env = "BETANET_MINT_LEDGER",
        value_delimiter = ','
    )]
    pub(crate) mint_ledger: Vec<String>,
    /// Genesis of that ledger. Its signers verify what the node answers.
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "Vouchers",
        env = "BETANET_MINT_GENESIS"
    )]
    pub(crate) mint_genesis: Option<PathBuf>,
    /// Swaps that one address may make in a day, with eight vouchers and points each on average. Default: 1024. All callers over the mix
    /// together may make eight times as many.
    #[arg(
        long,
        value_name = "N",
        help_heading = "Vouchers",
        env = "BETANET_MINT_SWAPS",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub(crate) mint_swaps: Option<u32>,
    /// Units that each request for the folder costs. They are paid in vouchers that this gateway redeems, and go to its balance.
    #[arg(
        long,
        value_name = "UNITS",
        help_heading = "Vouchers",
        env = "BETANET_PRICE"
    )]
    pub(crate) price: Option<u64>,
}

/// A wallet that pays for requests.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct SpendArgs {
    /// Pay for requests that the peer asks a price for, with at most this many units in all.
    #[arg(long, value_name = "UNITS", requires = "wallet")]
    pub(crate) pay_max: Option<u64>,
    /// Folder of the wallet that pays; betanet pay new makes one.
    #[arg(long, value_name = "DIR", env = "BETANET_WALLET")]
    pub(crate) wallet: Option<PathBuf>,
    /// File whose first line is the wallet's password. Without it, the variable BETANET_WALLET_PASSWORD is used.
    #[arg(long, value_name = "FILE", env = "BETANET_WALLET_PASSWORD_FILE")]
    pub(crate) password_file: Option<PathBuf>,
}

/// A wallet, and its password.
#[derive(Clone, Debug, Args)]
pub(crate) struct WalletArgs {
    /// Folder of the wallet. One process holds it at a time.
    #[arg(long, value_name = "DIR", env = "BETANET_WALLET")]
    pub(crate) wallet: PathBuf,
    /// File whose first line is the wallet's password. Without it, the variable BETANET_WALLET_PASSWORD is used.
    #[arg(long, value_name = "FILE", env = "BETANET_WALLET_PASSWORD_FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A wallet, and the way to its mints.
#[derive(Clone, Debug, Args)]
pub(crate) struct OnlineArgs {
    #[command(flatten)]
    pub(crate) wallet: WalletArgs,
    #[command(flatten)]
    pub(crate) dial: DialArgs,
}

#[derive(Debug, Args)]
pub(crate) struct MintInitArgs {
    /// Folder to make.
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// Key of the gateway that redeems: its key file, or its public key in hex.
    #[arg(long, value_name = "KEY")]
    pub(crate) spender: String,
    /// Mints that issue together: more than half of them, which is the default. Fewer could sign for one coupon several times.
    #[arg(long, value_name = "T")]
    pub(crate) threshold: Option<u8>,
    /// Number of mints.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) mints: u8,
    /// Let the mints make the keys together, so that nobody ever knows a whole one. DIR gets plan.cbor, for pay mint-round.
    #[arg(long, requires = "member", conflicts_with = "mints")]
    pub(crate) dkg: bool,
    /// Key of a mint, in the form of --spender. Repeat it for each mint: the order is that of their shares.
    #[arg(long, value_name = "KEY", requires = "dkg")]
    pub(crate) member: Vec<String>,
    /// Days for which the keyset issues. It redeems for 29 days more.
    #[arg(long, value_name = "DAYS", default_value_t = 90, value_parser = clap::value_parser!(u16).range(1..=3650))]
    pub(crate) days: u16,
    /// Unit of the values: 1 to 32 visible ASCII characters. Keysets of the unit FOG belong to a ledger, which sells them.
    #[arg(long, value_name = "UNIT", default_value = "credit")]
    pub(crate) unit: String,
    /// Denominations are 2^0 … 2^E.
    #[arg(long, value_name = "E", default_value_t = 20, value_parser = clap::value_parser!(u8).range(0..=40))]
    pub(crate) max: u8,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct MintRefreshArgs {
    /// Folder to make.
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// Folder of one of the mints, with its present share.
    #[arg(long, value_name = "DIR")]
    pub(crate) mint: PathBuf,
    /// Key of a mint: its key file, or its public key in hex. Repeat it for each mint, in the order of their shares.
    #[arg(long, value_name = "KEY", required = true)]
    pub(crate) member: Vec<String>,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct MintRoundArgs {
    /// Folder of this run, on this mint.
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// Files of the other mints.
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Key file of this mint.
    #[arg(long, value_name = "FILE", env = "BETANET_KEY")]
    pub(crate) key: PathBuf,
    /// The plan, which all mints have. Needed once.
    #[arg(long, value_name = "FILE")]
    pub(crate) plan: Option<PathBuf>,
    /// For a refresh: the folder of this mint, with its present share.
    #[arg(long, value_name = "DIR")]
    pub(crate) mint: Option<PathBuf>,
    /// End this round without the files that are missing. All mints must leave out the same ones.
    #[arg(long)]
    pub(crate) without_missing: bool,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CouponArgs {
    /// Its value in units.
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) value: u64,
    /// Folder that `pay mint-init` made.
    #[arg(long, value_name = "DIR")]
    pub(crate) mint: PathBuf,
    /// Days for which it is good.
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=3650))]
    pub(crate) days: u16,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    #[command(flatten)]
    pub(crate) wallet: WalletArgs,
    /// Words of the phrase: 12 or 24.
    #[arg(long, default_value = "24", value_parser = ["12", "24"])]
    pub(crate) words: String,
}

#[derive(Debug, Args)]
pub(crate) struct LearnMintArgs {
    /// A gateway with a mint: a PEER, or a name or an alias that the address book or --network knows. Name all mints of a keyset.
    #[arg(required = true, value_name = "PEER")]
    pub(crate) mints: Vec<String>,
    /// Refuse other keysets than this one.
    #[arg(long, value_name = "HEX")]
    pub(crate) keyset: Option<String>,
    /// Take only keysets that the network's ledger of names proves. Needs --network.
    #[arg(long)]
    pub(crate) registered: bool,
    #[command(flatten)]
    pub(crate) online: OnlineArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PublishKeysetArgs {
    /// The keyset, keyset.cbor of its mint's folder; needed where FILE is to be made.
    #[arg(long, value_name = "KEYSET")]
    pub(crate) keyset: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) record: RegistryArgs,
}

#[derive(Debug, Args)]
pub(crate) struct IssueArgs {
    /// The coupon, bnc1….
    pub(crate) coupon: String,
    /// Issue under a keyset that lives less than 30 days, or beside another active one of its unit. It may name its users: for tests.
    #[arg(long)]
    pub(crate) any_keyset: bool,
    #[command(flatten)]
    pub(crate) online: OnlineArgs,
}

#[derive(Debug, Args)]
pub(crate) struct BuyArgs {
    /// Amount in units: a whole number.
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) amount: u64,
    /// A gateway with a mint that sells for the ledger; may be repeated: name as many as sign together.
    #[arg(long, required = true, value_name = "PEER")]
    pub(crate) mint: Vec<String>,
    /// Node that leads the ledger.
    #[arg(long, value_name = "PEER", env = "BETANET_LEDGER")]
    pub(crate) ledger: String,
    /// Genesis of the ledger. Its signers verify what the node answers.
    #[arg(long, value_name = "FILE", env = "BETANET_GENESIS")]
    pub(crate) genesis: PathBuf,
    /// Buy under a keyset that this wallet saw proven less than 24 hours ago. It may have been made to name you: for trials.
    #[arg(long)]
    pub(crate) new_keyset: bool,
    #[command(flatten)]
    pub(crate) online: OnlineArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// Node that leads the ledger, for purchases.
    #[arg(long, value_name = "PEER", env = "BETANET_LEDGER")]
    pub(crate) ledger: Option<String>,
    /// Genesis of the ledger, for purchases.
    #[arg(long, value_name = "FILE", env = "BETANET_GENESIS")]
    pub(crate) genesis: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) online: OnlineArgs,
}

#[derive(Debug, Args)]
pub(crate) struct AmountArgs {
    /// Amount in units: a whole number.
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) amount: u64,
    #[command(flatten)]
    pub(crate) online: OnlineArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ReceiveArgs {
    /// Vouchers, bnv1…, or - to read them from standard input, one a line.
    #[arg(required = true, value_name = "VOUCHER")]
    pub(crate) vouchers: Vec<String>,
    /// Do not ask the mint. The sender can still spend them.
    #[arg(long)]
    pub(crate) offline: bool,
    #[command(flatten)]
    pub(crate) online: OnlineArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RedeemArgs {
    /// Amount in units.
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) amount: u64,
    /// Node whose balance grows, by its name or its alias.
    #[arg(long, value_name = "NAME")]
    pub(crate) to: String,
    #[command(flatten)]
    pub(crate) online: OnlineArgs,
}

#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// File to write, which must not exist.
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) wallet: WalletArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreWalletArgs {
    /// File with the phrase, or with a copy of the wallet; - for standard input.
    pub(crate) phrase: PathBuf,
    /// The mints, as for `pay mint`.
    #[arg(required = true, value_name = "PEER")]
    pub(crate) mints: Vec<String>,
    /// Search only this keyset. May be repeated. Without it, all keysets that the mints offer are searched.
    #[arg(long, value_name = "HEX")]
    pub(crate) keyset: Vec<String>,
    #[command(flatten)]
    pub(crate) online: OnlineArgs,
}
