//! The shape of `NETWORK.toml`, with the place of each value.

use serde::Deserialize;
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) name: Spanned<String>,
    #[serde(default, rename = "seed")]
    pub(super) seeds: Vec<Spanned<SeedFile>>,
    pub(super) signers: Option<Spanned<Vec<Spanned<String>>>>,
    #[serde(default, rename = "signer")]
    pub(super) signer: Vec<Spanned<SignerFile>>,
    pub(super) maintainers: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    pub(super) banned: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) policy: PolicyFile,
    pub(super) mix: Option<MixFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MixFile {
    pub(super) beacon_key: Spanned<String>,
    pub(super) layers: Option<Spanned<u8>>,
    #[serde(default)]
    pub(super) poisson: bool,
    pub(super) first_epoch: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignerFile {
    pub(super) key: Spanned<String>,
    pub(super) peer: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SeedFile {
    pub(super) key: Spanned<String>,
    pub(super) addrs: Vec<Spanned<String>>,
    pub(super) pin: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PolicyFile {
    pub(super) links: Option<Spanned<usize>>,
    pub(super) gossip_every_s: Option<Spanned<(u64, u64)>>,
    pub(super) link_life_s: Option<Spanned<u64>>,
    pub(super) dial_every_ms: Option<Spanned<u64>>,
    pub(super) dial_prefix_every_s: Option<Spanned<u64>>,
    pub(super) untested: Option<Spanned<usize>>,
    pub(super) untested_per_teller: Option<Spanned<usize>>,
    pub(super) per_prefix: Option<Spanned<usize>>,
    pub(super) per_address: Option<Spanned<usize>>,
    pub(super) opens: Option<Spanned<(u32, u32)>>,
    pub(super) anchors: Option<Spanned<usize>>,
    pub(super) view: Option<Spanned<usize>>,
    pub(super) private: Option<bool>,
}
