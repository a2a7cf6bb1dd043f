//! Texts in which tokens stand, as tools return them.

/// A name for it, and the text with a variable of this name, the token, and a word by chance.
pub(crate) type Carrier = (&'static str, fn(&str, &str, &str) -> String);

pub(crate) const CARRIERS: &[Carrier] = &[
    ("json", |name, token, word| {
        serde_json::json!({ "id": 7, name: token, "note": word, "ok": true }).to_string()
    }),
    ("pretty json", |name, token, word| {
        let value = serde_json::json!({ "name": word, name: token, "list": [1, 2] });
        serde_json::to_string_pretty(&value).unwrap_or_default()
    }),
    ("log", |name, token, word| {
        format!(
            "2026-11-29T10:00:00.123Z INFO {word}: started {name}={token} pid=4711\n2026-11-29T10:00:01Z WARN done\n"
        )
    }),
    ("coloured log", |name, token, word| {
        format!(
            "\u{1b}[2m10:00:00\u{1b}[0m \u{1b}[32mINFO\u{1b}[0m {word} {name}=\u{1b}[1m{token}\u{1b}[0m"
        )
    }),
    ("url", |name, token, word| {
        format!(
            "GET https://api.example.com/v1/{word}?page=2&{name}={}&sort=asc 200",
            url_escaped(token)
        )
    }),
    ("env", |name, token, word| {
        format!("# {word}\nPORT=8080\n{name}={token}\nDEBUG=1\n")
    }),
    ("exported env", |name, token, word| {
        format!("export PORT=8080\nexport {name}=\"{token}\" # {word}\n")
    }),
    ("code", |name, token, word| {
        format!("const {name} = '{token}';\nconst {word} = await connect({{ {name} }});\n")
    }),
    ("python", |name, token, word| {
        format!("import os\nos.environ[\"{name}\"] = \"{token}\"\nprint('{word}')\n")
    }),
    ("diff", |name, token, word| {
        format!(
            "diff --git a/.env b/.env\n@@ -1,2 +1,2 @@\n-{name}=old-{word}\n+{name}={token}\n PORT=1\n"
        )
    }),
    ("removed", |name, token, word| {
        format!("@@ -1 +1 @@\n-{name}={token}\n+{name}={word}\n")
    }),
    ("yaml", |name, token, word| {
        format!("{word}:\n  {name}: {token}\n  other: 1\n")
    }),
    ("numbered", |name, token, word| {
        format!("     1\u{2192}# {word}\n     2\u{2192}{name}: {token}\n")
    }),
];

/// Those that may have more than one line where the token is.
pub(crate) const TAKES_LINES: &[&str] = &[
    "json",
    "pretty json",
    "log",
    "url",
    "env",
    "exported env",
    "code",
    "yaml",
];

pub(crate) fn url_escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte))
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The text with one layer of escapes undone, of JSON and of URLs.
pub(crate) fn unescaped(text: &str) -> String {
    let mut out = Vec::new();
    let bytes = text.as_bytes();
    let hex = |at: usize, count: usize| {
        let digits = text.get(at..at + count)?;
        u32::from_str_radix(digits, 16).ok()
    };
    let mut at = 0;
    while at < bytes.len() {
        let next = bytes.get(at + 1).copied().unwrap_or_default();
        let (byte, length) = match (bytes[at], next) {
            (b'\\', b'n') => (b'\n', 2),
            (b'\\', b'r') => (b'\r', 2),
            (b'\\', b't') => (b'\t', 2),
            (b'\\', b'u') => match hex(at + 2, 4).and_then(|code| u8::try_from(code).ok()) {
                Some(byte) => (byte, 6),
                None => (b'\\', 1),
            },
            (b'\\', _) => (next, 2),
            (b'%', _) => match hex(at + 1, 2).and_then(|code| u8::try_from(code).ok()) {
                Some(byte) => (byte, 3),
                None => (b'%', 1),
            },
            (byte, _) => (byte, 1),
        };
        out.push(byte);
        at += length;
    }
    String::from_utf8_lossy(&out).into_owned()
}
