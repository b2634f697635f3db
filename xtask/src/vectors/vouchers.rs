//! Vouchers: an issue from the secret to the bytes, and what decoders refuse.

use betanet_bls::{Error, G1Affine, G2Affine, Scalar, pairings_cancel};
use betanet_vouchers::{Denomination, KeysetId, Voucher, VoucherError, join, message_point};
use serde_json::Value;

use super::{Tally, array, list, number, same, text};

pub(super) fn vouchers(cases: &Value) -> Result<Tally, String> {
    let mut tally = Tally::default();
    for (i, case) in list(cases, "cases")?.iter().enumerate() {
        tally.case(format!("issue {i}"), issue(case));
    }
    Ok(tally)
}

pub(super) fn edges(cases: &Value) -> Result<Tally, String> {
    let mut tally = Tally::default();
    for (i, case) in list(&cases["points"], "points")?.iter().enumerate() {
        tally.case(format!("point {i}"), point(case));
    }
    for (i, case) in list(&cases["vouchers"], "vouchers")?.iter().enumerate() {
        tally.case(format!("voucher {i}"), refused(case));
    }
    for (i, case) in list(&cases["texts"], "texts")?.iter().enumerate() {
        tally.case(format!("text {i}"), of_text(case));
    }
    Ok(tally)
}

/// Pairs of an index and a point.
fn pairs<const N: usize>(v: &Value, what: &str) -> Result<Vec<(u8, [u8; N])>, String> {
    let pair = |p: &Value| {
        let index = p[0].as_u64().and_then(|n| u8::try_from(n).ok());
        let bytes = p[1].as_str().and_then(betanet_wire::text::unhex_array);
        index
            .zip(bytes)
            .ok_or_else(|| format!("{what}: not an index and a point"))
    };
    list(v, what)?.iter().map(pair).collect()
}

fn issue(case: &Value) -> Result<(), String> {
    let wrong = |why: Error| why.to_string();
    let e = u8::try_from(number(case, "e")?)
        .ok()
        .and_then(Denomination::new);
    let (id, e) = (KeysetId(array(case, "keyset_id")?), e.ok_or("e")?);
    let (secret, r) = (array(case, "secret")?, array(case, "r")?);
    let r = Scalar::from_bytes(&r).map_err(wrong)?;
    let point = message_point(&id, e, &secret).ok_or("no point")?;
    same("hash_point", point.to_bytes(), array(case, "hash_point")?)?;
    let blinded = point.times(&r).to_affine().ok_or("no blinded point")?;
    same("blinded", blinded.to_bytes(), array(case, "blinded")?)?;
    let publics = pairs::<96>(&case["share_publics"], "share_publics")?;
    let mut parts = Vec::new();
    for (index, bytes) in pairs::<48>(&case["partials"], "partials")? {
        let part = G1Affine::from_bytes(&bytes).map_err(wrong)?;
        let public = publics
            .iter()
            .find(|(i, _)| *i == index)
            .ok_or("no public")?;
        let key = G2Affine::from_bytes(&public.1).map_err(wrong)?;
        if !pairings_cancel(&[(blinded, key), (part, G2Affine::minus_generator())]) {
            return Err(format!("share {index} does not verify"));
        }
        parts.push((index, part));
    }
    same("n", publics.len() as u64, number(case, "n")?)?;
    same("t", parts.len() as u64, number(case, "t")?)?;
    let joined = join(&parts).ok_or("not joined")?;
    let signature = joined
        .times(&r.inverse())
        .to_affine()
        .ok_or("no signature")?;
    same("signature", signature.to_bytes(), array(case, "signature")?)?;
    let key = G2Affine::from_bytes(&array(case, "public")?).map_err(wrong)?;
    if !pairings_cancel(&[(point, key), (signature, G2Affine::minus_generator())]) {
        return Err("the signature does not verify".to_owned());
    }
    let voucher = Voucher::new(&id, e, &secret, &signature);
    same("voucher", *voucher.as_bytes(), array(case, "voucher")?)
}

fn point(case: &Value) -> Result<(), String> {
    let result = match text(case, "bytes")?.len() {
        96 => G1Affine::from_bytes(&array(case, "bytes")?).err(),
        _ => G2Affine::from_bytes(&array(case, "bytes")?).err(),
    };
    let name = match result {
        Some(Error::NotOnCurve) => "not on the curve",
        Some(Error::WrongSubgroup) => "wrong subgroup",
        Some(Error::Identity) => "identity",
        _ => "accepted",
    };
    same("error", name, text(case, "error")?)
}

fn refused(case: &Value) -> Result<(), String> {
    let name = match Voucher::from_bytes(&array::<128>(case, "bytes")?).err() {
        Some(VoucherError::Checksum) => "checksum",
        Some(VoucherError::Version(_)) => "version",
        Some(VoucherError::Denomination(_)) => "denomination",
        Some(VoucherError::Spare) => "spare",
        _ => "accepted",
    };
    same("error", name, text(case, "error")?)
}

fn of_text(case: &Value) -> Result<(), String> {
    let parsed = text(case, "text")?.parse::<Voucher>();
    match (case.get("voucher"), parsed) {
        (Some(_), Ok(voucher)) => same("voucher", *voucher.as_bytes(), array(case, "voucher")?),
        (Some(_), Err(why)) => Err(why.to_string()),
        (None, Ok(_)) => Err("accepted".to_owned()),
        (None, Err(_)) => Ok(()),
    }
}
