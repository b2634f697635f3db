//! Parameters: their defaults, bounds and steps. Votes change them within these.

/// A parameter, in the order of names.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Param {
    /// Share of fees that burns.
    BurnPpm,
    /// Rest of a defeated effect, and between two changes of a parameter.
    CoolMs,
    /// Weight of other nodes' like offences.
    Corr,
    /// From a proposal to its vote.
    DelayMs,
    /// Deposit of a proposal, in µ.
    Deposit,
    /// Extension by a late quorum.
    ExtMs,
    /// Price of an account, in µ.
    FeeOpen,
    /// Fee on pay for work.
    FeePpm,
    /// Fee of a request, in µ.
    FeeTx,
    /// Time to execute a passed proposal.
    GraceMs,
    /// Least time in jail.
    JailMs,
    /// From the end of a vote to its execution.
    LockMs,
    /// Most rewards for work, relative to the fees of a node's jobs.
    MatchPpm,
    /// Least stake of a node's own, in µ.
    MinBond,
    /// Missed epochs in a row that are an offence.
    OffEpochs,
    /// Share of returned probes under which an epoch is missed.
    OffPpm,
    /// Share of votes that passes.
    PassPpm,
    /// Share of all power that a proposer needs.
    PropPpm,
    /// Share of all power that must vote.
    QuorumPpm,
    /// Base slash of equivocation.
    SlashEquiv,
    /// Base slash of absence.
    SlashOff,
    /// Base slash of a double signature.
    SlashSign,
    /// Base slash of a wrong result.
    SlashWrong,
    /// Share of the treasury that a proposal may spend.
    SpendPpm,
    /// Share of votes that passes a change of rules.
    SuperPpm,
    /// Share of issuance and fees that goes to the treasury.
    TreasuryPpm,
    /// Delay of unbonding.
    UnbondMs,
    /// Length of a vote.
    VoteMs,
    /// Weight of fuel.
    WFuel,
    /// Weight of transferred KiB.
    WKib,
    /// Weight of MiB hours.
    WMibh,
    /// Share of the pool that is for work.
    WorkPpm,
    /// Most rewards for relaying in an epoch, relative to stake.
    YieldPpm,
}

/// Name, default, least, most and largest step of a parameter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rule {
    /// The parameter.
    pub param: Param,
    /// Its name.
    pub name: &'static str,
    /// Its value unless genesis names another.
    pub default: u64,
    /// Its least value.
    pub least: u64,
    /// Its greatest value.
    pub most: u64,
    /// The most by which one vote changes it.
    pub step: u64,
}

const fn rule(param: Param, name: &'static str, numbers: [u64; 4]) -> Rule {
    let [default, least, most, step] = numbers;
    Rule {
        param,
        name,
        default,
        least,
        most,
        step,
    }
}

/// All parameters, in the order of their names.
pub const RULES: [Rule; 33] = [
    rule(Param::BurnPpm, "burn_ppm", [500_000, 0, 600_000, 100_000]),
    rule(
        Param::CoolMs,
        "cool_ms",
        [2_592_000_000, 604_800_000, 7_776_000_000, 1_296_000_000],
    ),
    rule(Param::Corr, "corr", [20, 0, 1_000, 10]),
    rule(
        Param::DelayMs,
        "delay_ms",
        [86_400_000, 86_400_000, 604_800_000, 86_400_000],
    ),
    rule(
        Param::Deposit,
        "deposit",
        [500_000_000, 1_000_000, 1_000_000_000_000, 500_000_000],
    ),
    rule(
        Param::ExtMs,
        "ext_ms",
        [172_800_000, 86_400_000, 259_200_000, 86_400_000],
    ),
    rule(
        Param::FeeOpen,
        "fee_open",
        [100_000, 0, 100_000_000, 100_000],
    ),
    rule(Param::FeePpm, "fee_ppm", [20_000, 0, 100_000, 10_000]),
    rule(Param::FeeTx, "fee_tx", [100, 0, 1_000_000, 1_000]),
    rule(
        Param::GraceMs,
        "grace_ms",
        [1_209_600_000, 604_800_000, 2_592_000_000, 604_800_000],
    ),
    rule(
        Param::JailMs,
        "jail_ms",
        [86_400_000, 3_600_000, 2_592_000_000, 604_800_000],
    ),
    rule(
        Param::LockMs,
        "lock_ms",
        [259_200_000, 172_800_000, 1_209_600_000, 172_800_000],
    ),
    rule(
        Param::MatchPpm,
        "match_ppm",
        [1_000_000, 0, 1_000_000, 250_000],
    ),
    rule(
        Param::MinBond,
        "min_bond",
        [1_000_000_000, 1_000_000, 1_000_000_000_000, 500_000_000],
    ),
    rule(Param::OffEpochs, "off_epochs", [3, 1, 30, 2]),
    rule(Param::OffPpm, "off_ppm", [500_000, 0, 900_000, 100_000]),
    rule(
        Param::PassPpm,
        "pass_ppm",
        [500_000, 500_000, 750_000, 50_000],
    ),
    rule(Param::PropPpm, "prop_ppm", [10_000, 1_000, 100_000, 10_000]),
    rule(
        Param::QuorumPpm,
        "quorum_ppm",
        [200_000, 100_000, 500_000, 50_000],
    ),
    rule(
        Param::SlashEquiv,
        "slash_equiv",
        [50_000, 10_000, 1_000_000, 50_000],
    ),
    rule(Param::SlashOff, "slash_off", [100, 0, 10_000, 1_000]),
    rule(
        Param::SlashSign,
        "slash_sign",
        [100_000, 10_000, 1_000_000, 100_000],
    ),
    rule(
        Param::SlashWrong,
        "slash_wrong",
        [10_000, 0, 200_000, 10_000],
    ),
    rule(Param::SpendPpm, "spend_ppm", [50_000, 0, 100_000, 10_000]),
    rule(
        Param::SuperPpm,
        "super_ppm",
        [666_667, 600_000, 900_000, 50_000],
    ),
    rule(
        Param::TreasuryPpm,
        "treasury_ppm",
        [200_000, 0, 400_000, 50_000],
    ),
    rule(
        Param::UnbondMs,
        "unbond_ms",
        [1_209_600_000, 1_123_200_000, 5_184_000_000, 604_800_000],
    ),
    rule(
        Param::VoteMs,
        "vote_ms",
        [604_800_000, 259_200_000, 1_209_600_000, 172_800_000],
    ),
    rule(Param::WFuel, "w_fuel", [1, 0, 1_000_000, 10]),
    rule(Param::WKib, "w_kib", [1_000, 0, 1_000_000, 1_000]),
    rule(Param::WMibh, "w_mibh", [20_000, 0, 1_000_000, 20_000]),
    rule(
        Param::WorkPpm,
        "work_ppm",
        [600_000, 100_000, 900_000, 100_000],
    ),
    rule(Param::YieldPpm, "yield_ppm", [1_000, 0, 10_000, 500]),
];

impl Param {
    /// Default, bounds and step.
    #[must_use]
    pub const fn rule(self) -> &'static Rule {
        &RULES[self as usize]
    }

    /// The parameter of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        RULES.iter().find(|r| r.name == name).map(|r| r.param)
    }

    /// The parameter's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.rule().name
    }
}

/// A role, in the order of names.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Role {
    /// Accounts that report probes of relays.
    Auditors,
    /// Accounts that settle work and report wrong results.
    Coordinators,
    /// Accounts that may pause and veto.
    Guardians,
    /// Keys that sign heads.
    Signers,
}

/// All roles with their names.
pub const ROLES: [(Role, &str); 4] = [
    (Role::Auditors, "auditors"),
    (Role::Coordinators, "coordinators"),
    (Role::Guardians, "guardians"),
    (Role::Signers, "signers"),
];

impl Role {
    /// The role of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        ROLES.iter().find(|(_, n)| *n == name).map(|(r, _)| *r)
    }

    /// The role's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        ROLES[self as usize].1
    }

    /// Length of the role's members: keys for signers, accounts otherwise.
    #[must_use]
    pub const fn member_len(self) -> usize {
        match self {
            Self::Signers => 32,
            _ => 20,
        }
    }
}
