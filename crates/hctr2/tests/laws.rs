//! Both implementations beside another crate's, at every length around their groups and blocks.

use betanet_hctr2::Hctr2;
use proptest::prelude::*;

fn both(key: &[u8; 32]) -> [Hctr2; 2] {
    [Hctr2::new(key), Hctr2::portable(key)]
}

fn agrees(key: &[u8; 32], plain: &[u8]) {
    let mut wanted = vec![0; plain.len()];
    let other = hctr2_rs::Hctr2_256::new(key);
    let sealed = other.encrypt(plain, &[], &mut wanted);
    assert!(sealed.is_ok());
    for (n, cipher) in both(key).into_iter().enumerate() {
        let mut text = plain.to_vec();
        cipher.encrypt(&mut text);
        assert_eq!(text, wanted, "{n}, {} bytes", plain.len());
        cipher.decrypt(&mut text);
        assert_eq!(text, plain, "{n}, {} bytes", plain.len());
    }
}

#[test]
fn every_length_to_three_groups_gives_what_another_implementation_gives() {
    let text: Vec<u8> = (0..900_u16)
        .map(|n| (n * 7 % 251).to_le_bytes()[0])
        .collect();
    for len in 16..=text.len() {
        agrees(&[len.to_le_bytes()[0]; 32], &text[..len]);
    }
}

#[test]
fn a_shorter_message_stays() {
    for cipher in both(&[1; 32]) {
        for len in 0..16 {
            let mut text = vec![5; len];
            cipher.encrypt(&mut text);
            cipher.decrypt(&mut text);
            assert_eq!(text, vec![5; len]);
        }
    }
}

proptest! {
    #[test]
    fn random_keys_and_messages_give_what_another_implementation_gives(
        key: [u8; 32],
        text in proptest::collection::vec(any::<u8>(), 16..4200),
    ) {
        agrees(&key, &text);
    }
}
