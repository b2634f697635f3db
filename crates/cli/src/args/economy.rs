//! `token`, `stake`, `gov` and `ledger`, and the flags of a coordinator's economy.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{DialArgs, PEERS};

/// The economy of a coordinator.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "The economy")]
pub(crate) struct EconomyFlags {
    /// Genesis of the economy's ledger, which `betanet ledger genesis` makes. Without one, the coordinator has no economy.
    #[arg(long, value_name = "FILE", env = "BETANET_ECONOMY")]
    pub(crate) economy: Option<PathBuf>,
    /// Follow this coordinator's ledger: replay its records, and sign its heads. By default, this coordinator leads the ledger.
    /// May be repeated: where one does not answer, the next is tried.
    #[arg(long, value_name = "PEER")]
    pub(crate) economy_leader: Vec<String>,
    /// Key file with which to sign heads and settlements of tasks, besides the node's own key; may be repeated. Only keys that the
    /// ledger lists count.
    #[arg(long, value_name = "FILE")]
    pub(crate) economy_signer: Vec<PathBuf>,
    /// Another coordinator that the ledger lists, which is asked to sign settlements too; may be repeated. It checks each one before
    /// it signs. Only needed where the keys here are too few.
    #[arg(long, value_name = "PEER")]
    pub(crate) economy_cosigner: Vec<String>,
    /// Node of the network's ledger of names, to which the leader posts one head of each epoch; may be repeated. Whoever verifies the
    /// ledger finds it there. Needs --network.
    #[arg(long, value_name = "PEER")]
    pub(crate) economy_names: Vec<String>,
    /// Key file of a maintainer of the network, who signs these posts; may be repeated. Nodes with --economy-leader sign too. Together
    /// it takes two thirds of the maintainers, and at least five. Needs --network.
    #[arg(long, value_name = "FILE")]
    pub(crate) economy_maintainer: Vec<PathBuf>,
    /// Longest time between two heads, in seconds [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=60))]
    pub(crate) economy_head: Option<u64>,
    /// When ended tasks are paid from the ledger: after the day in UTC in which they ended, or, for trials, soon after their end.
    /// Tasks are paid from a ledger whose genesis lists coordinators [default: day]
    #[arg(long, value_name = "WHEN", value_parser = ["day", "soon"])]
    pub(crate) economy_settle: Option<String>,
}

/// The ledger's node, and the genesis that verifies its answers.
#[derive(Clone, Debug, Args)]
pub(crate) struct BooksArgs {
    /// Node of the ledger: a PEER, or a name or an alias that the network knows. Requests need the leader; balances and proofs are read
    /// from any node.
    #[arg(long, value_name = "PEER", env = "BETANET_LEDGER")]
    pub(crate) ledger: String,
    /// Genesis of the ledger. Its signers verify the node's answers.
    #[arg(long, value_name = "FILE", env = "BETANET_GENESIS")]
    pub(crate) genesis: PathBuf,
    #[command(flatten)]
    pub(crate) dial: DialArgs,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A request that the key of --key signs.
#[derive(Clone, Debug, Args)]
pub(crate) struct AskArgs {
    /// Wait until a final head covers the record.
    #[arg(long)]
    pub(crate) wait: bool,
    /// Account that --key signs for, if token rekey gave it this key. By default the account of the key itself.
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) account: Option<String>,
    #[command(flatten)]
    pub(crate) books: BooksArgs,
}

/// How a task is paid.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Payment")]
pub(crate) struct EscrowArgs {
    /// Hold the whole budget of each task in tokens first. Nodes whose receipts decide a task are paid from it, and the rest comes
    /// back.
    #[arg(long, requires_all = ["ledger", "genesis"])]
    pub(crate) escrow: bool,
    /// Node that leads the ledger: a PEER, or a name or an alias that the network knows.
    #[arg(long, value_name = "PEER", env = "BETANET_LEDGER")]
    pub(crate) ledger: Option<String>,
    /// Genesis of the ledger.
    #[arg(long, value_name = "FILE", env = "BETANET_GENESIS")]
    pub(crate) genesis: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct TokensArgs {
    #[command(subcommand)]
    pub(crate) command: TokenCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Open an account for a key. Your account pays for it.
    #[command(
        after_help = format!("An account's key is a node's or a person's: betanet id new makes one, betanet id show prints it.\n{PEERS}\n\n\
                      Example: betanet token open KEYHEX --ledger bnp1… --genesis ./GENESIS")
    )]
    Open(OpenArgs),
    /// Show an account's balances, each proven under a final head.
    #[command(
        after_help = "Example: betanet token balance --ledger bnp1… --genesis ./GENESIS --json"
    )]
    Balance(AccountArgs),
    /// Pay FOG to an account.
    #[command(
        after_help = "The ID makes a payment happen once, however often it is sent: repeat a payment that had no answer with its --id.\n\n\
                      Example: betanet token send 2.5 --to bn1:… --ledger bnp1… --genesis ./GENESIS"
    )]
    Send(SendArgs),
    /// Hold FOG for a relay that forwards for your node. The relay's counter ends the hold: it pays for the bytes, and the rest comes
    /// back.
    #[command(
        after_help = "Both nodes count what the relay forwards, and sign it (betanet pay accounts). The relay collects with betanet token meter.\n\
                      One hold pays for one day. If the relay does not collect, the amount comes back after --hours.\n\n\
                      Example: betanet token hold 5 --to bn1:… --price 0.01 --hours 72 --key ./node.pem --ledger bnp1… --genesis ./GENESIS"
    )]
    Hold(HoldArgs),
    /// Collect a hold as the relay: pay for the bytes of a day that both nodes signed.
    #[command(
        after_help = "The file is that of betanet pay accounts -o. A day of a peer is paid once, and ends one hold. By default it is the oldest day\n\
                      that has ended and is not paid. --day chooses another; what is forwarded after a record is not paid for that day.\n\n\
                      Example: betanet token meter ./evidence --hold HEX --key ./node.pem --ledger bnp1… --genesis ./GENESIS"
    )]
    Meter(MeterArgs),
    /// Swap FOG for voucher units, each worth 1 FOG, or back.
    #[command(
        after_help = "Units buy vouchers with betanet pay buy. If no answer comes, look at token balance before you repeat it.\n\n\
                      Example: betanet token swap 5 --wait --ledger bnp1… --genesis ./GENESIS"
    )]
    Swap(SwapArgs),
    /// List what changed an account's money, from a journal that is verified record by record.
    #[command(
        after_help = "Payments have a line each. The record's other changes together have one: fees, holds that ended, tasks, stake, rewards.\n\n\
                      Example: betanet token history --ledger bnp1… --genesis ./GENESIS"
    )]
    History(AccountArgs),
    /// Show a keyset of vouchers: its spender, its end, and the units that were bought and redeemed under it.
    #[command(
        after_help = "Example: betanet token keyset KEYSETHEX --ledger bnp1… --genesis ./GENESIS"
    )]
    Keyset(KeysetArgs),
    /// Give your account another key. From then on only that one signs for it.
    #[command(
        after_help = "The account keeps its name, its money, its stake and its votes. Name it with --account where the new key signs.\n\
                      Only token, stake and gov take --account: a task's budget and vouchers are paid by the account of the key itself.\n\n\
                      Example: betanet token rekey ./new.pem --key ./old.pem --ledger bnp1… --genesis ./GENESIS"
    )]
    Rekey(RekeyArgs),
    /// Close your account for ever. Nothing may be left in it.
    #[command(
        after_help = "Send away what it has first: all but the fee of that request. Stake has to be unbonded and paid out, and holds and\n\
                      open proposals to have ended.\n\n\
                      Example: betanet token close --wait --key ./old.pem --ledger bnp1… --genesis ./GENESIS"
    )]
    Close(AskArgs),
    /// Show the totals of the ledger: issued, burned, and what the system accounts hold.
    #[command(after_help = "Example: betanet token supply --ledger bnp1… --genesis ./GENESIS")]
    Supply(BooksArgs),
}

#[derive(Debug, Args)]
pub(crate) struct OpenArgs {
    /// Public key of the account.
    #[arg(value_name = "KEYHEX")]
    pub(crate) owner: String,
    /// Open a node's account, which can bond stake.
    #[arg(long)]
    pub(crate) node: bool,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RekeyArgs {
    /// Key file with the new key, which betanet id new makes.
    #[arg(value_name = "NEW")]
    pub(crate) new: PathBuf,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct AccountArgs {
    /// Account: a name, a public key, or a system account such as treasury. By default that of --key.
    pub(crate) account: Option<String>,
    #[command(flatten)]
    pub(crate) books: BooksArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SendArgs {
    /// Amount in FOG, with up to six decimals.
    #[arg(allow_negative_numbers = true)]
    pub(crate) amount: String,
    /// Payee: a name, a public key, treasury or burn.
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) to: String,
    /// ID of the payment, 32 hex digits. By default a fresh one.
    #[arg(long, value_name = "HEX")]
    pub(crate) id: Option<String>,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct HoldArgs {
    /// Most that is paid, in FOG, with up to six decimals.
    #[arg(allow_negative_numbers = true)]
    pub(crate) amount: String,
    /// The relay: a name or a public key.
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) to: String,
    /// Price of a MiB in FOG, with up to six decimals.
    #[arg(long, value_name = "FOG")]
    pub(crate) price: String,
    /// Time for the relay to collect, in hours: up to 8784.
    #[arg(long, default_value_t = 72, value_parser = clap::value_parser!(u64).range(1..=8784))]
    pub(crate) hours: u64,
    /// ID of the hold, 32 hex digits. By default a fresh one.
    #[arg(long, value_name = "HEX")]
    pub(crate) id: Option<String>,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct MeterArgs {
    /// Evidence of pay accounts.
    #[arg(value_name = "EVIDENCE")]
    pub(crate) file: PathBuf,
    /// ID of the hold, 32 hex digits: token hold prints it.
    #[arg(long, value_name = "HEX")]
    pub(crate) hold: String,
    /// Day to be paid, as pay accounts numbers it. It may be one that has not ended.
    #[arg(long, value_name = "N")]
    pub(crate) day: Option<u64>,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct KeysetArgs {
    /// ID of the keyset, 64 hex digits: pay mint-init prints it.
    #[arg(value_name = "KEYSETHEX")]
    pub(crate) keyset: String,
    #[command(flatten)]
    pub(crate) books: BooksArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SwapArgs {
    /// Amount in whole units: 1 to 2^40.
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    pub(crate) amount: u64,
    /// Swap units back for FOG.
    #[arg(long)]
    pub(crate) back: bool,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct StakeArgs {
    #[command(subcommand)]
    pub(crate) command: StakeCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StakeCommand {
    /// Bond FOG of your node's account as its own stake.
    #[command(
        after_help = "Example: betanet stake bond 1000 --commission 50000 --key ./node.pem --ledger bnp1… --genesis ./GENESIS"
    )]
    Bond(BondArgs),
    /// Add stake to another's node.
    #[command(
        after_help = "Example: betanet stake delegate 100 --node bn1:… --ledger bnp1… --genesis ./GENESIS"
    )]
    Delegate(MoveStakeArgs),
    /// Take stake back. It is paid out after the ledger's delay of unbonding.
    #[command(
        after_help = "Example: betanet stake unbond 100 --node bn1:… --ledger bnp1… --genesis ./GENESIS"
    )]
    Unbond(MoveStakeArgs),
    /// Move stake from one node to another at once. It stays liable for the old node until the delay of unbonding is over.
    #[command(
        after_help = "Until then it cannot move on. A node's own stake cannot move.\n\n\
                      Example: betanet stake redelegate 100 --from bn1:… --to bn1:… --ledger bnp1… --genesis ./GENESIS"
    )]
    Redelegate(RedelegateArgs),
    /// End your node's jail, once its time is over and its own stake is enough.
    #[command(
        after_help = "betanet stake status shows when that is. A banned node stays jailed.\n\n\
                      Example: betanet stake unjail --key ./node.pem --ledger bnp1… --genesis ./GENESIS"
    )]
    Unjail(AskArgs),
    /// Prove that a key signed two things that exclude each other. Its node loses stake and is banned; you get a tenth of it.
    #[command(
        after_help = "Two heads of the ledger of one size (betanet ledger head -o), or two receipts of one assignment (as task verify reads\n\
                      them). Of heads, each key that signed both is accused; only nodes that have bonded lose something.\n\n\
                      Example: betanet stake evidence one.head other.head --ledger bnp1… --genesis ./GENESIS"
    )]
    Evidence(OffenceArgs),
    /// As auditors: report how many probes of nodes came back in this epoch. Relays that return nine in ten share the relays' part of
    /// the pool; those that miss too many lose stake.
    #[command(
        after_help = "More than half of the auditors sign, and at least two: --key and each --auditor. A node is reported once an epoch, up to 64 at\n\
                      once. Fewer than 20 probes earn nothing. betanet mix loop --json counts an auditor's loops.\n\n\
                      Example: betanet stake audit bn1:…=200/198 --key a1.pem --auditor a2.pem --ledger bnp1… --genesis ./GENESIS"
    )]
    Audit(ProbesArgs),
    /// Write the ratings of all nodes of the ledger, which mix directory build --standing reads.
    #[command(
        after_help = "The journal is replayed up to the final head. Reputation and stake are the node's; a jailed node counts as one without stake.\n\
                      Performance is the part of probes that came back in this epoch or the last one, 0 without probes. Relays that are not on\n\
                      the ledger get the least weight: change the table [others] in the file if they should count.\n\n\
                      Example: betanet stake standing -o standing.toml --ledger bnp1… --genesis ./GENESIS"
    )]
    Standing(StandingArgs),
    /// Show a node's standing, its own stake, and yours with it.
    #[command(
        after_help = "Example: betanet stake status bn1:… --ledger bnp1… --genesis ./GENESIS"
    )]
    Status(AccountArgs),
}

#[derive(Debug, Args)]
pub(crate) struct BondArgs {
    /// Amount in FOG.
    #[arg(allow_negative_numbers = true)]
    pub(crate) amount: String,
    /// Commission in millionths of the node's pay: at most 500000, and later only less.
    #[arg(long, value_name = "PPM", default_value_t = 0)]
    pub(crate) commission: u64,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RedelegateArgs {
    /// Amount in FOG.
    #[arg(allow_negative_numbers = true)]
    pub(crate) amount: String,
    /// Node that it leaves.
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) from: String,
    /// Node that it goes to.
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) to: String,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct OffenceArgs {
    /// One head or receipt.
    #[arg(value_name = "FILE")]
    pub(crate) one: PathBuf,
    /// The other.
    #[arg(value_name = "OTHER")]
    pub(crate) other: PathBuf,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct StandingArgs {
    /// TOML file to write.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) books: BooksArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ProbesArgs {
    /// A node, the probes that were sent over it, and those that came back.
    #[arg(value_name = "ACCOUNT=SENT/BACK", required = true)]
    pub(crate) probes: Vec<String>,
    /// Key file of a further auditor; may be repeated.
    #[arg(long, value_name = "FILE")]
    pub(crate) auditor: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct MoveStakeArgs {
    /// Amount in FOG.
    #[arg(allow_negative_numbers = true)]
    pub(crate) amount: String,
    /// Node's account.
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) node: String,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct GovArgs {
    #[command(subcommand)]
    pub(crate) command: GovCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum GovCommand {
    /// Propose effects to a vote. The change is shown and tried on a copy of the ledger first.
    #[command(
        after_help = "Effects are executed together, in this order: --param, --spend, --role, --keyset, --freeze, --thaw, --upgrade. Without any, \
                      the proposal is its text alone.\n\n\
                      Example: betanet gov propose --param fee_tx=200 --text ./why.txt --dry-run --ledger bnp1… --genesis ./GENESIS"
    )]
    Propose(Box<ProposeArgs>),
    /// Show a proposal, its effects, and its votes.
    #[command(after_help = "Example: betanet gov show PID --ledger bnp1… --genesis ./GENESIS")]
    Show(ProposalArgs),
    /// Lend a node your vote: stake that you add to it votes as the node does, unless you vote yourself.
    #[command(
        after_help = "The ledger has no other way to lend a vote: this is stake delegate. The stake counts in proposals that are made after \
                      the end of this epoch. Your own vote takes it out of the node's, before or after the node's.\n\n\
                      Example: betanet gov delegate 100 --node bn1:… --ledger bnp1… --genesis ./GENESIS"
    )]
    Delegate(MoveStakeArgs),
    /// Take back a vote that you lent, with its stake, which is paid out after the delay of unbonding.
    #[command(
        after_help = "Example: betanet gov undelegate 100 --node bn1:… --ledger bnp1… --genesis ./GENESIS"
    )]
    Undelegate(MoveStakeArgs),
    /// Vote once for, against, or abstain. The vote counts the stake of the proposal's snapshot.
    #[command(after_help = "Example: betanet gov vote PID for --ledger bnp1… --genesis ./GENESIS")]
    Vote(VoteArgs),
    /// Replay the journal, and show a proposal's votes one by one with their sum.
    #[command(
        after_help = "Exit code 6 if the sum is not the proposal's.\n\nExample: betanet gov tally PID --ledger bnp1… --genesis ./GENESIS"
    )]
    Tally(ProposalArgs),
    /// Execute a passed proposal, once its time lock has ended.
    #[command(after_help = "Example: betanet gov execute PID --ledger bnp1… --genesis ./GENESIS")]
    Execute(ActArgs),
    /// As guardians: veto a passed proposal, or pause the ledger's risky requests for three days.
    #[command(
        after_help = "More than half of the guardians sign, and at least two: --key and each --guardian.\n\n\
                      Example: betanet gov brake --veto PID --key g1.pem --guardian g2.pem --ledger bnp1… --genesis ./GENESIS"
    )]
    Brake(BrakeArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ProposeArgs {
    /// New value of a parameter; may be repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) param: Vec<String>,
    /// Payment from the treasury in FOG; may be repeated.
    #[arg(long, value_name = "ACCOUNT=FOG")]
    pub(crate) spend: Vec<String>,
    /// All members of a role, accounts or keys of signers; may be repeated.
    #[arg(long, value_name = "ROLE=A,B,C")]
    pub(crate) role: Vec<String>,
    /// Keyset of vouchers that the ledger sells from then on: the keyset.cbor of pay mint-init; may be repeated.
    #[arg(long, value_name = "FILE")]
    pub(crate) keyset: Vec<PathBuf>,
    /// Account that pays nothing from then on; may be repeated.
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) freeze: Vec<String>,
    /// Frozen account that pays again; may be repeated.
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) thaw: Vec<String>,
    /// Signal for an upgrade and its time in UNIX ms; may be repeated.
    #[arg(long, value_name = "NAME=MS")]
    pub(crate) upgrade: Vec<String>,
    /// File with the reasons. The ledger keeps its hash.
    #[arg(long, value_name = "FILE")]
    pub(crate) text: Option<PathBuf>,
    /// Show the change and the outcome on a copy of the ledger, and send nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ProposalArgs {
    /// ID of the proposal, 32 hex digits.
    #[arg(value_name = "PID")]
    pub(crate) proposal: String,
    #[command(flatten)]
    pub(crate) books: BooksArgs,
}

#[derive(Debug, Args)]
pub(crate) struct VoteArgs {
    /// ID of the proposal, 32 hex digits.
    #[arg(value_name = "PID")]
    pub(crate) proposal: String,
    /// The vote.
    #[arg(value_parser = ["for", "against", "abstain"])]
    pub(crate) vote: String,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ActArgs {
    /// ID of the proposal, 32 hex digits.
    #[arg(value_name = "PID")]
    pub(crate) proposal: String,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct BrakeArgs {
    /// Passed proposal to veto.
    #[arg(long, value_name = "PID", required_unless_present = "pause")]
    pub(crate) veto: Option<String>,
    /// Pause execution, reservations, swaps, and sales of vouchers.
    #[arg(long, conflicts_with = "veto")]
    pub(crate) pause: bool,
    /// Key file of a further guardian; may be repeated.
    #[arg(long, value_name = "FILE")]
    pub(crate) guardian: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct LedgersArgs {
    #[command(subcommand)]
    pub(crate) command: LedgerCommand,
}

/// An example of what `ledger genesis` reads.
const GENESIS: &str = "Example: ledger.toml\n\
    name = \"our fog\"\n\
    epoch_hours = 24\n\
    cap = 1000000            # FOG that are ever issued\n\
    base = 100               # FOG issued in an epoch, before halvings\n\
    halving = 1460           # epochs between two halvings\n\
    treasury = 10000\n\
    signers = [\"KEYHEX\", \"KEYHEX\"]  # two or more sign each head\n\
    guardians = []           # accounts: names or keys; also coordinators, auditors\n\
    [[alloc]]\n\
    key = \"KEYHEX\"           # betanet id show prints it\n\
    amount = 1000\n\
    node = false\n\
    [[keysets]]              # keysets of vouchers that the ledger sells; their spenders have accounts above\n\
    file = \"mint/keyset.cbor\"\n\
    [params]\n\
    fee_tx = 100             # in millionths of a FOG";

#[derive(Debug, Subcommand)]
pub(crate) enum LedgerCommand {
    /// Make the genesis of a ledger from a TOML file.
    #[command(after_help = format!("Example: betanet ledger genesis ledger.toml -o GENESIS\n\n{GENESIS}"))]
    Genesis(GenesisArgs),
    /// Show the final head, with its signatures verified.
    #[command(
        after_help = "Example: betanet ledger head -o kept.head --ledger bnp1… --genesis ./GENESIS"
    )]
    Head(HeadArgs),
    /// Save the journal up to the final head, the head, and the genesis to a folder.
    #[command(
        after_help = "Example: betanet ledger save ./audit --ledger bnp1… --genesis ./GENESIS"
    )]
    Save(SaveLedgerArgs),
    /// Put a saved ledger into the state of a coordinator, which goes on with it.
    #[command(
        after_help = "For a leader whose disk is lost, on a journal in SQLite. Restore the newest saved ledger: a signer that signed a later head\n\
                      could sign another one of the same size, and lose its stake. The head's signers are those of the genesis.\n\n\
                      Example: betanet ledger restore ./audit --state ./one --genesis ./GENESIS"
    )]
    Restore(RestoreLedgerArgs),
    /// Replay a journal: signatures, log, state, sums, and tallies of open proposals.
    #[command(
        after_help = format!("Exit code 6 if anything is wrong; the message names the record.\n{PEERS}\n\n\
                      Example: betanet ledger verify ./audit --genesis ./GENESIS --head kept.head")
    )]
    Verify(VerifyLedgerArgs),
    /// Save the proof of an account's balance of FOG, or of its vote, which `ledger verify` checks offline.
    #[command(after_help = "An account that has not voted gets a proof of that.\n\n\
                      Example: betanet ledger proof bn1:… -o balance.proof --ledger bnp1… --genesis ./GENESIS\n\
                      Example: betanet ledger proof bn1:… --vote PID -o vote.proof --ledger bnp1… --genesis ./GENESIS")]
    Proof(ProofArgs),
}

#[derive(Debug, Args)]
pub(crate) struct GenesisArgs {
    /// TOML file of the ledger's constants.
    pub(crate) file: PathBuf,
    /// File to write; it must not be there yet.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct HeadArgs {
    /// File to keep the head in.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) books: BooksArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SaveLedgerArgs {
    /// Folder to make.
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) books: BooksArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreLedgerArgs {
    /// Folder of `ledger save`.
    pub(crate) dir: PathBuf,
    /// State folder of a coordinator that does not run. Its ledger must be empty.
    #[arg(long, value_name = "DIR")]
    pub(crate) state: PathBuf,
    /// Genesis of the ledger.
    #[arg(long, value_name = "FILE", env = "BETANET_GENESIS")]
    pub(crate) genesis: PathBuf,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyLedgerArgs {
    /// Folder of `ledger save`, file of `ledger proof` or of a journal, or the PEER of a node of the ledger.
    #[arg(value_name = "WHAT")]
    pub(crate) what: String,
    /// Genesis of the ledger.
    #[arg(long, value_name = "FILE", env = "BETANET_GENESIS")]
    pub(crate) genesis: PathBuf,
    /// Head that you kept: the journal must contain what it covers; may be repeated. A journal's file needs one.
    #[arg(long, value_name = "FILE")]
    pub(crate) head: Vec<PathBuf>,
    /// Node of the network's ledger of names, whose newest head of this ledger the journal must contain; may be repeated. A node can
    /// hide a newer head. Needs --network
    #[arg(long, value_name = "PEER")]
    pub(crate) names: Vec<String>,
    #[command(flatten)]
    pub(crate) dial: DialArgs,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ProofArgs {
    /// Account: a name, a public key, or a system account. By default that of --key.
    pub(crate) account: Option<String>,
    /// Prove the account's vote on this proposal, 32 hex digits.
    #[arg(long, value_name = "PID")]
    pub(crate) vote: Option<String>,
    /// File to write.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) books: BooksArgs,
}
