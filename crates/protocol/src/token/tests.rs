use proptest::prelude::*;

use super::*;

const OLD: &[u8] = b"an old key of thirty-two bytes..";
const NEW: &[u8] = b"a new key, somewhat longer than thirty-two bytes";
const NOW: u64 = 1_800_000_000_000;

fn sealer(keys: &[&[u8]]) -> Sealer {
    Sealer::new(keys).expect("good keys")
}

fn binding(principal: &str) -> Binding<'_> {
    Binding {
        principal,
        request: digest(&[b"tools/call", b"files__read"]),
    }
}

fn seal(sealer: &Sealer, payload: &[u8]) -> String {
    sealer
        .seal(Purpose::RequestState, &binding("ada"), NOW + 1, payload)
        .expect("sealed")
}

fn open(sealer: &Sealer, token: &str) -> Result<Vec<u8>, TokenError> {
    sealer.open(Purpose::RequestState, &binding("ada"), NOW, token)
}

/// The token with its raw bytes changed.
fn tampered(token: &str, change: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut bytes = URL_SAFE_NO_PAD.decode(token).expect("base64url");
    change(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

#[test]
fn a_token_opens_for_whom_and_what_it_was_made() {
    let sealer = sealer(&[NEW]);
    let token = seal(&sealer, b"state");
    assert_eq!(open(&sealer, &token).as_deref(), Ok(&b"state"[..]));
    assert_ne!(seal(&sealer, b"state"), token);
    assert!(!token.contains(['+', '/', '=']));

    let other_request = Binding {
        request: digest(&[b"tools/call", b"files__write"]),
        ..binding("ada")
    };
    for binding in [binding("bob"), binding(""), other_request] {
        assert_eq!(
            sealer.open(Purpose::RequestState, &binding, NOW, &token),
            Err(TokenError::Rejected)
        );
    }
}

#[test]
fn a_token_ends_at_its_expiry() {
    let sealer = sealer(&[NEW]);
    let token = seal(&sealer, b"");
    let at = |now| sealer.open(Purpose::RequestState, &binding("ada"), now, &token);
    assert_eq!(at(0), Ok(Vec::new()));
    assert_eq!(at(NOW), Ok(Vec::new()));
    assert_eq!(at(NOW + 1), Err(TokenError::Expired));
    assert_eq!(at(u64::MAX), Err(TokenError::Expired));
    // Only who may open it learns that it expired.
    assert_eq!(
        sealer.open(Purpose::RequestState, &binding("bob"), NOW + 1, &token),
        Err(TokenError::Rejected)
    );
}

#[test]
fn keys_rotate() {
    let before = sealer(&[OLD]);
    let during = sealer(&[NEW, OLD]);
    let after = sealer(&[NEW]);
    let (old, new) = (seal(&before, b"old"), seal(&during, b"new"));
    assert_eq!(open(&during, &old).as_deref(), Ok(&b"old"[..]));
    assert_eq!(open(&after, &new).as_deref(), Ok(&b"new"[..]));
    assert_eq!(open(&after, &old), Err(TokenError::UnknownKey));
    assert_eq!(open(&before, &new), Err(TokenError::UnknownKey));
    // The same key twice, and a process without the memory of another.
    assert!(open(&sealer(&[OLD, OLD]), &old).is_ok());
    let random = Sealer::with_random_key().expect("entropy");
    assert!(open(&random, &seal(&random, b"x")).is_ok());
    assert_eq!(open(&random, &new), Err(TokenError::UnknownKey));
}

#[test]
fn bad_keys_are_refused() {
    let error = |keys: &[&[u8]]| Sealer::new(keys).err();
    assert_eq!(error(&[]), Some(KeyError::None));
    assert_eq!(
        error(&[OLD, &OLD[..31]]),
        Some(KeyError::TooShort { position: 2 })
    );
    assert_eq!(error(&[OLD; MAX_KEYS]), None);
    assert_eq!(error(&[OLD; MAX_KEYS + 1]), Some(KeyError::TooMany));
}

#[test]
fn a_sealer_shows_no_key() {
    assert_eq!(format!("{:?}", sealer(&[OLD])), "Sealer { keys: 1, .. }");
}

#[test]
fn size_is_bounded_on_both_sides() {
    let sealer = sealer(&[NEW]);
    let token = seal(&sealer, &vec![7; MAX_PAYLOAD_LEN]);
    assert_eq!(token.len(), MAX_TOKEN_LEN);
    assert_eq!(
        open(&sealer, &token).map(|plain| plain.len()),
        Ok(MAX_PAYLOAD_LEN)
    );
    assert_eq!(
        sealer.seal(
            Purpose::RequestState,
            &binding("ada"),
            NOW,
            &vec![7; MAX_PAYLOAD_LEN + 1]
        ),
        Err(SealError::TooLong)
    );
    assert_eq!(
        open(&sealer, &"A".repeat(MAX_TOKEN_LEN + 1)),
        Err(TokenError::Malformed)
    );
}

#[test]
fn other_texts_are_malformed() {
    let sealer = sealer(&[NEW]);
    let token = seal(&sealer, b"");
    let cut = |length| tampered(&token, |bytes| bytes.truncate(length));
    for text in [
        String::new(),
        "not a token".to_owned(),
        "ü".to_owned(),
        format!("{token}="),
        format!(" {token}"),
        cut(HEADER_LEN),
        cut(HEADER_LEN + EXPIRY_LEN + TAG_LEN - 1),
        tampered(&token, |bytes| bytes[0] = 2),
    ] {
        assert_eq!(open(&sealer, &text), Err(TokenError::Malformed), "{text:?}");
    }
}

/// The same material must give the same keys in every later build, or a rolling upgrade loses every
/// open call.
#[test]
fn a_token_of_an_earlier_build_still_opens() {
    let token = "ASkK-DQAta9QCyPdbQmGrz95uWZRsnCHbKbFMpmAPcRxJGEfTH2-QmypHgyxZetkEGVJzEtX-CqADzI";
    assert_eq!(open(&sealer(&[OLD]), token).as_deref(), Ok(&b"golden"[..]));
}

#[test]
fn a_digest_tells_parts_apart() {
    let one = digest(&[b"ab", b"c"]);
    assert_eq!(one, digest(&[b"ab", b"c"]));
    for other in [
        digest(&[b"a", b"bc"]),
        digest(&[b"abc"]),
        digest(&[b"ab", b"c", b""]),
    ] {
        assert_ne!(one, other);
    }
}

fn assert_flip_is_rejected(sealer: &Sealer, token: &str, bit: impl FnOnce(usize) -> usize) {
    let mut at = 0;
    let flipped = tampered(token, |bytes| {
        at = bit(bytes.len() * 8);
        bytes[at / 8] ^= 1 << (at % 8);
    });
    let error = match at / 8 {
        0 => TokenError::Malformed,
        1..=KEY_ID_LEN => TokenError::UnknownKey,
        _ => TokenError::Rejected,
    };
    assert_eq!(open(sealer, &flipped), Err(error), "bit {at}");
}

#[test]
fn every_flipped_bit_of_a_token_rejects() {
    let sealer = sealer(&[NEW, OLD]);
    let token = seal(&sealer, b"state");
    for bit in 0..(HEADER_LEN + EXPIRY_LEN + b"state".len() + TAG_LEN) * 8 {
        assert_flip_is_rejected(&sealer, &token, |_| bit);
    }
}

proptest! {
    #[test]
    fn any_payload_survives(
        payload in proptest::collection::vec(any::<u8>(), 0..512),
        principal in ".*",
        request in any::<[u8; 32]>(),
        expires in 1..=u64::MAX,
    ) {
        let sealer = sealer(&[NEW, OLD]);
        let binding = Binding { principal: &principal, request };
        let token = sealer.seal(Purpose::RequestState, &binding, expires, &payload).expect("sealed");
        prop_assert_eq!(sealer.open(Purpose::RequestState, &binding, expires - 1, &token), Ok(payload));
        prop_assert_eq!(
            sealer.open(Purpose::RequestState, &binding, expires, &token),
            Err(TokenError::Expired)
        );
    }

    #[test]
    fn any_change_of_the_binding_rejects(
        principal in ".*",
        other in ".*",
        request in any::<[u8; 32]>(),
        bit in 0_usize..256,
    ) {
        let sealer = sealer(&[NEW]);
        let binding = Binding { principal: &principal, request };
        let token = sealer.seal(Purpose::RequestState, &binding, NOW, b"x").expect("sealed");
        let open = |binding| sealer.open(Purpose::RequestState, &binding, 0, &token);
        if other != principal {
            prop_assert_eq!(
                open(Binding { principal: &other, request }),
                Err(TokenError::Rejected)
            );
        }
        let mut flipped = request;
        flipped[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(
            open(Binding { principal: &principal, request: flipped }),
            Err(TokenError::Rejected)
        );
    }

    #[test]
    fn any_flipped_bit_rejects(
        payload in proptest::collection::vec(any::<u8>(), 0..64),
        bit in any::<prop::sample::Index>(),
    ) {
        let sealer = sealer(&[NEW, OLD]);
        assert_flip_is_rejected(&sealer, &seal(&sealer, &payload), |bits| bit.index(bits));
    }

    /// Unlike the bytes, the text has spare bits at its end, which must not make a second spelling.
    #[test]
    fn any_other_character_rejects(at in any::<prop::sample::Index>(), with in "[ -~]") {
        let sealer = sealer(&[NEW]);
        let token = seal(&sealer, b"x");
        let at = at.index(token.len());
        let mut other = token.clone();
        other.replace_range(at..=at, &with);
        prop_assume!(other != token);
        prop_assert!(open(&sealer, &other).is_err());
    }

    #[test]
    fn any_text_is_refused(text in ".*", bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
        let sealer = sealer(&[NEW]);
        prop_assert!(open(&sealer, &text).is_err());
        prop_assert!(open(&sealer, &URL_SAFE_NO_PAD.encode(bytes)).is_err());
    }
}
