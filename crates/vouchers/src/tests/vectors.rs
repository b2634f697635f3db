//! The known answers of `spec-vectors/vouchers.json` and `voucher_edges.json`.

use std::vec::Vec;

use betanet_bls::{G1Affine, G2Affine, Scalar};
use betanet_wire::text::unhex_array;
use serde_json::Value;

use crate::polynomial::lagrange;
use crate::voucher::message_point;
use crate::{Blinding, Denomination, KeysetId, Voucher, VoucherError};

fn file(name: &str) -> Value {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec-vectors/");
    let text = std::fs::read_to_string(std::format!("{folder}{name}.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn hex<const N: usize>(v: &Value) -> [u8; N] {
    unhex_array(v.as_str().unwrap()).unwrap()
}

#[test]
fn an_issue_gives_the_known_bytes_at_every_step() {
    let file = file("vouchers");
    for case in file["cases"].as_array().unwrap() {
        let id = KeysetId(hex(&case["keyset_id"]));
        let e = Denomination::new(case["e"].as_u64().unwrap().try_into().unwrap()).unwrap();
        let secret: [u8; 32] = hex(&case["secret"]);
        let r = Scalar::from_bytes(&hex(&case["r"])).unwrap();
        let point = message_point(&id, e, &secret).unwrap();
        assert_eq!(point.to_bytes(), hex(&case["hash_point"]));
        let blinded = point.times(&r).to_affine().unwrap();
        assert_eq!(blinded.to_bytes(), hex(&case["blinded"]));
        assert!(Blinding::new(e, &secret, r.clone()).is_some());
        let parts = case["partials"].as_array().unwrap();
        let index = |p: &Value| u8::try_from(p[0].as_u64().unwrap()).unwrap();
        let indices: Vec<u8> = parts.iter().map(index).collect();
        let points: Vec<G1Affine> = parts
            .iter()
            .map(|p| G1Affine::from_bytes(&hex(&p[1])).unwrap())
            .collect();
        for (part, index) in points.iter().zip(&indices) {
            let publics = case["share_publics"].as_array().unwrap();
            let public = publics
                .iter()
                .find(|p| p[0].as_u64() == Some((*index).into()))
                .unwrap();
            let key = G2Affine::from_bytes(&hex(&public[1])).unwrap();
            let claim = crate::batch::Claim {
                base: blinded,
                signature: *part,
                key,
            };
            assert!(claim.holds(), "share {index}");
        }
        let weights = lagrange(&indices).unwrap();
        let joined = betanet_bls::G1Projective::sum_of_products(&points, &weights);
        let signature = joined.times(&r.inverse()).to_affine().unwrap();
        assert_eq!(signature.to_bytes(), hex(&case["signature"]));
        let voucher = Voucher::new(&id, e, &secret, &signature);
        assert_eq!(voucher.as_bytes(), &hex(&case["voucher"]));
        let key = G2Affine::from_bytes(&hex(&case["public"])).unwrap();
        assert!(
            crate::batch::Claim {
                base: point,
                signature,
                key
            }
            .holds()
        );
    }
}

#[test]
fn edges_are_refused_as_the_file_says() {
    let file = file("voucher_edges");
    for case in file["cases"]["points"].as_array().unwrap() {
        let text = case["bytes"].as_str().unwrap();
        let why = match text.len() {
            96 => G1Affine::from_bytes(&hex(&case["bytes"])).err(),
            _ => G2Affine::from_bytes(&hex(&case["bytes"])).err(),
        };
        let said = match case["error"].as_str().unwrap() {
            "not on the curve" => betanet_bls::Error::NotOnCurve,
            "wrong subgroup" => betanet_bls::Error::WrongSubgroup,
            "identity" => betanet_bls::Error::Identity,
            other => panic!("{other}"),
        };
        assert_eq!(why, Some(said), "{text}");
    }
    for case in file["cases"]["vouchers"].as_array().unwrap() {
        let bytes: [u8; 128] = hex(&case["bytes"]);
        let said = match case["error"].as_str().unwrap() {
            "checksum" => VoucherError::Checksum,
            "version" => VoucherError::Version(bytes[112]),
            "denomination" => VoucherError::Denomination(bytes[113]),
            "spare" => VoucherError::Spare,
            other => panic!("{other}"),
        };
        assert_eq!(Voucher::from_bytes(&bytes).err(), Some(said));
    }
    for case in file["cases"]["texts"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        match case["voucher"].as_str() {
            Some(_) => {
                let voucher: Voucher = text.parse().unwrap();
                assert_eq!(voucher.as_bytes(), &hex(&case["voucher"]));
            }
            None => assert!(text.parse::<Voucher>().is_err(), "{text}"),
        }
    }
}
