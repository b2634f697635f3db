//! Files of a mint's operator, and the dealer that makes them.

use std::io;
use std::path::{Path, PathBuf};

use betanet_keys::PublicKey;
use betanet_machine::Rng;
use betanet_runtime::{FileError, new_identity, write_secret};
use betanet_store::disk::{self, Readers};
use betanet_vouchers::{
    DENOMINATION_MAX, KEYSET_MAX, KeyShare, Keyset, KeysetError, Terms, deal_keyset,
};
use betanet_wire::text::{hex, unhex_array};
use zeroize::Zeroizing;

use crate::Error;

/// The keyset as it is published.
pub const KEYSET_FILE: &str = "keyset.cbor";
/// The keys of refreshed shares; missing while the shares are those of `keyset.cbor`.
pub const REFRESH_FILE: &str = "refreshed.cbor";
/// A mint's shares, 34 bytes each. Only its owner may read it.
pub const SHARE_FILE: &str = "share.bin";
/// The key that signs coupons, as 64 hex digits.
pub const ISSUER_FILE: &str = "issuer.pub";
/// The issuer's private key, PKCS#8 PEM.
pub const ISSUER_KEY_FILE: &str = "issuer.pem";

/// Longest file of an issuer's public key.
const ISSUER_MAX: u64 = 256;

/// The files of one keyset on one node.
///
/// `keyset.cbor` is the keyset, and `refreshed.cbor` has the keys of its refreshed shares. `share.bin` has the shares of this mint; without it, the node only redeems. `issuer.pub` is the key of
/// whoever signs coupons; without it, the mint takes no coupons.
#[derive(Debug)]
pub struct MintFolder {
    /// The keyset, checked.
    pub keyset: Keyset,
    /// This mint's shares, one of each denomination; none on a node that only redeems.
    pub shares: Vec<KeyShare>,
    /// The key of the one who signs coupons.
    pub issuer: Option<PublicKey>,
}

impl MintFolder {
    /// Reads a folder. `rng` is for the keyset's check, and must not be known to the keyset's author.
    ///
    /// # Errors
    ///
    /// A file cannot be read or has another content; the error names it.
    pub fn open(dir: &Path, rng: &mut Rng) -> Result<Self, Error> {
        let path = dir.join(KEYSET_FILE);
        let bytes = disk::read_regular(&path, KEYSET_MAX as u64);
        let bytes = bytes.map_err(FileError::io(&path))?;
        let mut keyset =
            Keyset::check(&bytes, rng).map_err(|why| Error::KeysetFile { path, why })?;
        let path = dir.join(REFRESH_FILE);
        match disk::read_regular(&path, KEYSET_MAX as u64) {
            Ok(bytes) => keyset
                .refresh(&bytes, rng)
                .map_err(|why| Error::KeysetFile { path, why })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(FileError::io(&path)(error).into()),
        }
        let path = dir.join(SHARE_FILE);
        let shares = match disk::read_secret(&path, Readers::Owner) {
            Ok(bytes) => shares(&bytes).map_err(|why| Error::Content { path, why })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(FileError::io(&path)(error).into()),
        };
        let path = dir.join(ISSUER_FILE);
        let issuer = match disk::read_text(&path, ISSUER_MAX) {
            Ok(text) => Some(public_key(&text).map_err(|why| Error::Content { path, why })?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(FileError::io(&path)(error).into()),
        };
        Ok(Self {
            keyset,
            shares,
            issuer,
        })
    }
}

/// Reads the content of `share.bin`.
fn shares(bytes: &[u8]) -> Result<Vec<KeyShare>, &'static str> {
    let (all, rest) = bytes.as_chunks::<{ KeyShare::BYTES }>();
    if all.is_empty() || !rest.is_empty() || all.len() > usize::from(DENOMINATION_MAX) + 1 {
        return Err("not 1 to 41 shares of 34 bytes each");
    }
    let shares: Option<Vec<KeyShare>> = all.iter().map(KeyShare::from_bytes).collect();
    shares.ok_or("one of its shares is none")
}

/// Reads the content of `issuer.pub`.
fn public_key(text: &str) -> Result<PublicKey, &'static str> {
    let bytes = unhex_array(text.trim()).ok_or("a key is 64 lowercase hex digits")?;
    PublicKey::from_bytes(&bytes).map_err(|_| "not an Ed25519 public key")
}

/// A keyset to deal.
#[derive(Clone, Debug)]
pub struct Deal<'a> {
    /// Shares that sign together.
    pub t: u8,
    /// All shares.
    pub n: u8,
    /// Unit of the values.
    pub unit: &'a str,
    /// Exponents of the denominations.
    pub exponents: &'a [u8],
    /// Begin of its active life, in ms.
    pub not_before: u64,
    /// End of its active life, in ms.
    pub exp: u64,
    /// Key of the node that keeps the spent set.
    pub spender: PublicKey,
}

/// The files that a dealer has written.
#[derive(Debug)]
pub struct Dealt {
    /// The keyset.
    pub keyset: Keyset,
    /// The folder of each mint, by its index less one.
    pub mints: Vec<PathBuf>,
    /// The issuer's public key.
    pub issuer: PublicKey,
}

/// Makes the key with which coupons are signed, in a folder that may be missing. Gives its public half.
///
/// # Errors
///
/// The file exists, or cannot be written.
pub fn new_issuer(dir: &Path) -> Result<PublicKey, Error> {
    make(dir)?;
    Ok(*issuer(&dir.join(ISSUER_KEY_FILE))?.public())
}

/// Deals a keyset: writes `keyset.cbor` and `issuer.pem` to a folder, and a folder for each mint, `mint-1` to `mint-n`.
///
/// Each mint's folder moves to its own machine. The dealer knows the whole key while this runs, and forgets it.
///
/// # Errors
///
/// The numbers are out of range, or a file exists or cannot be written; the error names it.
pub fn mint_init(dir: &Path, deal: &Deal<'_>, rng: &mut Rng) -> Result<Dealt, Error> {
    let path = dir.join(KEYSET_FILE);
    let (keyset, shares) = dealt(deal, rng).map_err(|why| match why {
        KeysetError::Denominations | KeysetError::Threshold { .. } => Error::Deal,
        why => Error::KeysetFile {
            path: path.clone(),
            why,
        },
    })?;
    let bytes = keyset.as_bytes();
    make(dir)?;
    write_secret(&path, bytes)?;
    let issuer = *issuer(&dir.join(ISSUER_KEY_FILE))?.public();
    let mut mints = Vec::new();
    for (index, of) in (1..=deal.n).zip(&shares) {
        let mint = dir.join(format!("mint-{index}"));
        let mut all = Zeroizing::new(Vec::with_capacity(of.len() * KeyShare::BYTES));
        of.iter()
            .for_each(|share| all.extend_from_slice(&*share.to_bytes()));
        let text = hex(issuer.as_bytes()) + "\n";
        write_mint(&mint, (bytes, &[]), &all, &text)?;
        mints.push(mint);
    }
    Ok(Dealt {
        keyset,
        mints,
        issuer,
    })
}

/// The keyset, and the shares of each mint.
fn dealt(of: &Deal<'_>, rng: &mut Rng) -> Result<(Keyset, Vec<Vec<KeyShare>>), KeysetError> {
    let (t, n) = (of.t, of.n);
    // With fewer, the holders of one coupon find t mints several times (E-39).
    if 2 * u16::from(t) <= u16::from(n) {
        let (t, n) = (t.into(), n.into());
        return Err(KeysetError::Threshold { t, n });
    }
    let mut exponents = of.exponents.to_vec();
    exponents.sort_unstable();
    let terms = Terms {
        unit: of.unit,
        spender: of.spender,
        not_before: of.not_before,
        exp: of.exp,
        t,
        n,
    };
    deal_keyset(&terms, &exponents, rng)
}

fn issuer(path: &Path) -> Result<betanet_keys::Identity, Error> {
    new_identity(path).map_err(|error| match error {
        betanet_runtime::DialError::File(error) => error.into(),
        _ => Error::Randomness,
    })
}

/// Writes the folder of one mint. Without refreshed shares or an issuer, their files are left out.
pub(crate) fn write_mint(
    dir: &Path,
    (keyset, refresh): (&[u8], &[u8]),
    shares: &[u8],
    issuer: &str,
) -> Result<(), FileError> {
    make(dir)?;
    write_secret(&dir.join(KEYSET_FILE), keyset)?;
    if !refresh.is_empty() {
        write_secret(&dir.join(REFRESH_FILE), refresh)?;
    }
    write_secret(&dir.join(SHARE_FILE), shares)?;
    if !issuer.is_empty() {
        write_secret(&dir.join(ISSUER_FILE), issuer.as_bytes())?;
    }
    Ok(())
}

/// Makes a folder that only its owner may read.
pub(crate) fn make(dir: &Path) -> Result<(), FileError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir);
    made.map_err(FileError::io(dir))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use betanet_keys::Identity;
    use betanet_machine::Seed;
    use betanet_runtime::load_identity;
    use betanet_vouchers::MIN_LIFE;

    use super::*;

    fn two_of_three(dir: &Path) -> Result<Dealt, Error> {
        let deal = Deal {
            t: 2,
            n: 3,
            unit: "FOG",
            exponents: &[3, 0],
            not_before: 1_000,
            exp: 1_000 + MIN_LIFE,
            spender: *Identity::from_seed(&[9; 32]).public(),
        };
        mint_init(dir, &deal, &mut Rng::new(&Seed::from_number(1)))
    }

    #[test]
    fn each_mint_gets_its_shares_of_one_keyset_in_files_of_its_own() {
        let home = tempfile::tempdir().unwrap();
        let dealt = two_of_three(&home.path().join("m")).unwrap();
        let mut rng = Rng::new(&Seed::from_number(2));
        assert_eq!(dealt.mints.len(), 3);
        for (index, dir) in (1_u8..).zip(&dealt.mints) {
            let mint = MintFolder::open(dir, &mut rng).unwrap();
            assert_eq!(mint.keyset.id(), dealt.keyset.id());
            assert_eq!(mint.issuer, Some(dealt.issuer));
            assert!(mint.shares.iter().all(|s| s.index() == index));
            assert_eq!(mint.shares.len(), 2);
            for share in &mint.shares {
                let key = mint.keyset.key(share.denomination()).unwrap();
                assert_eq!(key.share(index).copied(), share.public());
            }
            let mode = dir
                .join(SHARE_FILE)
                .metadata()
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let key = load_identity(&home.path().join("m").join(ISSUER_KEY_FILE)).unwrap();
        assert_eq!(*key.public(), dealt.issuer);
        let again = two_of_three(&home.path().join("m")).unwrap_err();
        assert!(again.to_string().contains("keyset.cbor"), "{again}");
    }

    #[test]
    fn errors_name_the_file() {
        let home = tempfile::tempdir().unwrap();
        let mut rng = Rng::new(&Seed::from_number(3));
        let mut open = |dir: &Path| MintFolder::open(dir, &mut rng);
        let missing = open(home.path()).unwrap_err().to_string();
        assert!(missing.contains("keyset.cbor"), "{missing}");
        let dealt = two_of_three(&home.path().join("m")).unwrap();
        let dir = &dealt.mints[0];
        for (file, content, mode, why) in [
            (SHARE_FILE, &[1; 33][..], 0o600, "34 bytes"),
            (SHARE_FILE, &[0; 34][..], 0o600, "one of its shares"),
            (SHARE_FILE, &[1; 34][..], 0o644, "chmod 600"),
            (ISSUER_FILE, b"abc", 0o600, "64 lowercase hex"),
            (KEYSET_FILE, b"\xa0", 0o600, "not a keyset"),
        ] {
            let path = dir.join(file);
            let good = std::fs::read(&path).unwrap();
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let error = open(dir).unwrap_err().to_string();
            assert!(error.contains(file) && error.contains(why), "{error}");
            std::fs::write(&path, good).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        std::fs::remove_file(dir.join(SHARE_FILE)).unwrap();
        assert!(open(dir).unwrap().shares.is_empty(), "it only redeems");
    }

    #[test]
    fn numbers_out_of_range_deal_nothing() {
        let home = tempfile::tempdir().unwrap();
        let spender = *Identity::from_seed(&[9; 32]).public();
        for (t, n, exponents) in [
            (0, 3, &[0][..]),
            (4, 3, &[0]),
            // Half or less: one coupon would pay several times.
            (1, 2, &[0]),
            (2, 4, &[0]),
            (1, 1, &[41]),
            (1, 1, &[]),
            (1, 1, &[2, 2]),
        ] {
            let deal = Deal {
                t,
                n,
                unit: "FOG",
                exponents,
                not_before: 0,
                exp: 1,
                spender,
            };
            let dir = home.path().join("none");
            let dealt = mint_init(&dir, &deal, &mut Rng::new(&Seed::from_number(4)));
            assert!(matches!(dealt, Err(Error::Deal)), "{t} {n} {exponents:?}");
            assert!(!dir.exists());
        }
    }
}
