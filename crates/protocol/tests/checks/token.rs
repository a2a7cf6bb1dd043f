//! Input: changes to a token, three bytes each (what, where, which byte), or a token.

use std::sync::LazyLock;

use switchboard_protocol::token::{Binding, Purpose, Sealer, digest};

const NOW: u64 = 1_800_000_000_000;
const PAYLOAD: &[u8] = b"what the gateway remembers";

static SEALER: LazyLock<Sealer> = LazyLock::new(|| {
    Sealer::new(&[b"a key that only these checks use"]).expect("a key of 32 bytes")
});
static TOKEN: LazyLock<String> = LazyLock::new(|| {
    let token = SEALER.seal(Purpose::RequestState, &binding(), NOW + 1, PAYLOAD);
    token.expect("random bytes")
});

fn binding() -> Binding<'static> {
    Binding {
        principal: "ada",
        request: digest(&[b"tools/call"]),
    }
}

pub(super) fn check(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        check_token(text);
    }
    let mut token = TOKEN.clone().into_bytes();
    for change in data.chunks_exact(3) {
        let at = usize::from(change[1]) % (token.len() + 1);
        match change[0] % 6 {
            0 => token.insert(at, change[2]),
            1 => token.truncate(at),
            2 => token.reverse(),
            3 if at < token.len() => {
                token.remove(at);
            }
            4 if at < token.len() => token[at] = change[2],
            5 if at < token.len() => token[at] ^= 1 << (change[2] % 7),
            _ => {}
        }
    }
    if let Ok(text) = String::from_utf8(token) {
        check_token(&text);
    }
}

fn check_token(text: &str) {
    let opened = SEALER.open(Purpose::RequestState, &binding(), NOW, text);
    if text == *TOKEN {
        assert_eq!(opened.as_deref(), Ok(PAYLOAD));
    } else {
        assert!(opened.is_err(), "{text} opened");
    }
}
