//! Tokens made by chance in the forms that their issuers publish.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use fastrand::Rng;

/// A type of tokens.
pub(crate) struct Type {
    pub(crate) name: &'static str,
    /// The variable that programs have it in.
    pub(crate) variable: &'static str,
    pub(crate) make: fn(&mut Rng) -> Token,
    /// Whether it has several lines.
    pub(crate) is_lines: bool,
}

/// A token.
pub(crate) struct Token {
    /// As it stands in a text.
    pub(crate) text: String,
    /// The part of it that nobody may see.
    pub(crate) secret: String,
}

const ALNUM: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const WORD: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const HEX: &str = "0123456789abcdef";
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
const BASE32: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

fn any(random: &mut Rng, alphabet: &str, length: usize) -> String {
    let letters = alphabet.as_bytes();
    // The last is a letter or digit: one that ends with a dash would not be one in prose.
    let mut text: String = (0..length)
        .map(|_| char::from(letters[random.usize(..letters.len())]))
        .collect();
    if text.ends_with(['-', '_', '.']) {
        text.pop();
        text.push(char::from(letters[random.usize(..10)]));
    }
    text
}

fn whole(text: String) -> Token {
    Token {
        secret: text.clone(),
        text,
    }
}

fn prefixed(prefix: &str, random: &mut Rng, alphabet: &str, length: usize) -> Token {
    whole(format!("{prefix}{}", any(random, alphabet, length)))
}

/// The checksum of GitHub: CRC-32, in base 62, six digits.
fn with_checksum(prefix: &str, random: &mut Rng) -> Token {
    let body = any(random, ALNUM, 30);
    let mut table = [0_u32; 256];
    for (index, entry) in (0_u32..).zip(table.iter_mut()) {
        *entry = (0..8).fold(index, |crc, _| {
            if crc & 1 == 1 {
                0xEDB8_8320 ^ (crc >> 1)
            } else {
                crc >> 1
            }
        });
    }
    let crc = !body.bytes().fold(u32::MAX, |crc, byte| {
        table[((crc ^ u32::from(byte)) & 255) as usize] ^ (crc >> 8)
    });
    let digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".as_bytes();
    let mut checksum = String::new();
    let mut rest = crc;
    for _ in 0..6 {
        checksum.insert(0, char::from(digits[(rest % 62) as usize]));
        rest /= 62;
    }
    whole(format!("{prefix}{body}{checksum}"))
}

fn pem(kind: &str, bytes: usize, random: &mut Rng) -> Token {
    let key: Vec<u8> = (0..bytes).map(|_| random.u8(..)).collect();
    let body = STANDARD.encode(key);
    let lines: Vec<&str> = (0..body.len())
        .step_by(64)
        .map(|at| &body[at..body.len().min(at + 64)])
        .collect();
    Token {
        text: format!(
            "-----BEGIN {kind}-----\n{}\n-----END {kind}-----",
            lines.join("\n")
        ),
        secret: lines[lines.len() / 2].to_owned(),
    }
}

fn jwt(random: &mut Rng) -> Token {
    let header = [
        r#"{"alg":"HS256","typ":"JWT"}"#,
        r#"{"typ":"JWT","alg":"RS256"}"#,
        r#"{"kid":"k1","alg":"ES256"}"#,
    ];
    let header = URL_SAFE_NO_PAD.encode(header[random.usize(..3)]);
    let payload = format!(
        r#"{{"sub":"{}","exp":{}}}"#,
        any(random, ALNUM, 12),
        random.u32(..)
    );
    whole(format!(
        "{header}.{}.{}",
        URL_SAFE_NO_PAD.encode(payload),
        any(random, WORD, 43)
    ))
}

fn url_password(random: &mut Rng) -> Token {
    let password = any(random, ALNUM, 16);
    Token {
        text: format!("postgres://app:{password}@db.internal:5432/main"),
        secret: password,
    }
}

fn telegram(random: &mut Rng) -> Token {
    let secret = format!("AA{}", any(random, WORD, 33));
    Token {
        text: format!("{}:{secret}", random.u64(100_000_000..9_999_999_999)),
        secret,
    }
}

fn discord(random: &mut Rng) -> Token {
    let number = format!(
        "{}",
        random.u64(100_000_000_000_000_000..999_999_999_999_999_999)
    );
    whole(format!(
        "{}.G{}.{}",
        URL_SAFE_NO_PAD.encode(number),
        any(random, ALNUM, 5),
        any(random, WORD, 38)
    ))
}

const fn of(name: &'static str, variable: &'static str, make: fn(&mut Rng) -> Token) -> Type {
    Type {
        name,
        variable,
        make,
        is_lines: false,
    }
}

#[rustfmt::skip]
pub(crate) const TYPES: &[Type] = &[
    of("GitHub personal access token", "GITHUB_TOKEN", |r| with_checksum("ghp_", r)),
    of("GitHub OAuth token", "GITHUB_TOKEN", |r| with_checksum("gho_", r)),
    of("GitHub installation token", "GITHUB_TOKEN", |r| {
        let jwt = jwt(r).text;
        whole(format!("ghs_{}_{jwt}", r.u32(10_000..)))
    }),
    of("GitHub fine-grained token", "GH_PAT", |r| {
        whole(format!("github_pat_{}_{}", any(r, ALNUM, 22), any(r, ALNUM, 59)))
    }),
    of("GitLab personal access token", "GITLAB_TOKEN", |r| prefixed("glpat-", r, WORD, 20)),
    of("GitLab routable token", "GITLAB_TOKEN", |r| {
        whole(format!("glpat-{}.01.{}", any(r, WORD, 40), any(r, "0123456789abcdefghijklmnopqrstuvwxyz", 9)))
    }),
    of("AWS access key id", "AWS_ACCESS_KEY_ID", |r| prefixed("AKIA", r, BASE32, 16)),
    of("AWS secret access key", "AWS_SECRET_ACCESS_KEY", |r| {
        whole(any(r, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/+", 39) + "k")
    }),
    of("Slack bot token", "SLACK_BOT_TOKEN", |r| {
        whole(format!("xoxb-{}-{}-{}", any(r, "123456789", 12), any(r, "123456789", 13), any(r, ALNUM, 24)))
    }),
    of("Slack user token", "SLACK_TOKEN", |r| {
        whole(format!("xoxp-{}-{}-{}-{}", any(r, "123456789", 12), any(r, "123456789", 12), any(r, "123456789", 13), any(r, HEX, 32)))
    }),
    of("Slack app token", "SLACK_APP_TOKEN", |r| {
        whole(format!("xapp-1-A{}-{}-{}", any(r, UPPER, 10), any(r, "123456789", 13), any(r, HEX, 64)))
    }),
    of("Slack webhook", "SLACK_WEBHOOK_URL", |r| {
        let secret = any(r, ALNUM, 24);
        Token { text: format!("https://hooks.slack.com/services/T{}/B{}/{secret}", any(r, UPPER, 8), any(r, UPPER, 10)), secret }
    }),
    of("Stripe secret key", "STRIPE_KEY", |r| prefixed("sk_live_", r, ALNUM, 99)),
    of("Stripe restricted key", "STRIPE_KEY", |r| prefixed("rk_test_", r, ALNUM, 24)),
    of("OpenAI project key", "OPENAI_API_KEY", |r| {
        whole(format!("sk-proj-{}T3BlbkFJ{}", any(r, WORD, 74), any(r, WORD, 74)))
    }),
    of("OpenAI key", "OPENAI_API_KEY", |r| whole(format!("sk-{}T3BlbkFJ{}", any(r, ALNUM, 20), any(r, ALNUM, 20)))),
    of("Anthropic key", "ANTHROPIC_API_KEY", |r| whole(format!("sk-ant-api03-{}AA", any(r, WORD, 93)))),
    of("Google API key", "GOOGLE_API_KEY", |r| prefixed("AIza", r, WORD, 35)),
    of("Google OAuth client secret", "GOOGLE_CLIENT_SECRET", |r| prefixed("GOCSPX-", r, WORD, 28)),
    of("Google OAuth token", "GOOGLE_TOKEN", |r| prefixed("ya29.", r, WORD, 180)),
    of("Azure storage key", "AccountKey", |r| {
        let key: Vec<u8> = (0..64).map(|_| r.u8(..)).collect();
        whole(STANDARD.encode(key))
    }),
    of("Azure client secret", "AZURE_CLIENT_SECRET", |r| {
        let (id, secret) = (any(r, ALNUM, 3), any(r, ALNUM, 34));
        Token { text: format!("{id}8Q~{secret}"), secret }
    }),
    of("npm token", "NPM_TOKEN", |r| with_checksum("npm_", r)),
    of("PyPI token", "TWINE_PASSWORD", |r| prefixed("pypi-AgEIcHlwaS5vcmc", r, WORD, 150)),
    of("Docker token", "DOCKER_TOKEN", |r| prefixed("dckr_pat_", r, WORD, 27)),
    of("DigitalOcean token", "DIGITALOCEAN_TOKEN", |r| prefixed("dop_v1_", r, HEX, 64)),
    of("Heroku key", "HEROKU_API_KEY", |r| prefixed("HRKU-AA", r, WORD, 58)),
    of("Cloudflare token", "CF_TOKEN", |r| whole(format!("cfut_{}{}", any(r, ALNUM, 40), any(r, HEX, 8)))),
    of("Twilio key", "TWILIO_KEY", |r| prefixed("SK", r, HEX, 32)),
    of("SendGrid key", "SENDGRID_API_KEY", |r| whole(format!("SG.{}.{}", any(r, WORD, 22), any(r, WORD, 43)))),
    of("Mailgun key", "MAILGUN_KEY", |r| prefixed("key-", r, HEX, 32)),
    of("Telegram bot token", "TELEGRAM_TOKEN", telegram),
    of("Discord bot token", "DISCORD_TOKEN", discord),
    of("Shopify token", "SHOPIFY_TOKEN", |r| prefixed("shpat_", r, HEX, 32)),
    of("Square token", "SQUARE_TOKEN", |r| prefixed("EAAA", r, WORD, 60)),
    of("Dropbox token", "DROPBOX_TOKEN", |r| prefixed("sl.", r, WORD, 140)),
    of("Atlassian token", "JIRA_TOKEN", |r| whole(format!("ATATT3xFfGF0{}={}", any(r, WORD, 170), any(r, "0123456789ABCDEF", 8)))),
    of("Linear key", "LINEAR_API_KEY", |r| prefixed("lin_api_", r, ALNUM, 40)),
    of("Notion token", "NOTION_TOKEN", |r| prefixed("ntn_", r, ALNUM, 46)),
    of("Figma token", "FIGMA_TOKEN", |r| prefixed("figd_", r, WORD, 40)),
    of("Postman key", "POSTMAN_API_KEY", |r| whole(format!("PMAK-{}-{}", any(r, HEX, 24), any(r, HEX, 34)))),
    of("Databricks token", "DATABRICKS_TOKEN", |r| prefixed("dapi", r, HEX, 32)),
    of("Vault token", "VAULT_TOKEN", |r| prefixed("hvs.", r, WORD, 95)),
    of("Terraform token", "TFE_TOKEN", |r| {
        let (id, secret) = (any(r, ALNUM, 14), any(r, ALNUM, 67));
        Token { text: format!("{id}.atlasv1.{secret}"), secret }
    }),
    of("Grafana cloud token", "GRAFANA_TOKEN", |r| prefixed("glc_", r, ALNUM, 120)),
    of("Grafana service account token", "GRAFANA_TOKEN", |r| whole(format!("glsa_{}_{}", any(r, ALNUM, 32), any(r, HEX, 8)))),
    of("New Relic key", "NEW_RELIC_API_KEY", |r| prefixed("NRAK-", r, UPPER, 27)),
    of("Datadog key", "DD_API_KEY", |r| whole(any(r, HEX, 32))),
    of("Sentry user token", "SENTRY_AUTH_TOKEN", |r| prefixed("sntryu_", r, HEX, 64)),
    of("PlanetScale token", "PLANETSCALE_TOKEN", |r| prefixed("pscale_tkn_", r, WORD, 43)),
    of("Supabase token", "SUPABASE_TOKEN", |r| prefixed("sbp_", r, HEX, 40)),
    of("Fly token", "FLY_API_TOKEN", |r| {
        let token: Vec<u8> = (0..300).map(|_| r.u8(..)).collect();
        let secret = format!("fm2_{}", STANDARD.encode(token));
        Token { text: format!("FlyV1 {secret}"), secret }
    }),
    of("Hugging Face token", "HF_TOKEN", |r| prefixed("hf_", r, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", 34)),
    of("Replicate token", "REPLICATE_API_TOKEN", |r| prefixed("r8_", r, ALNUM, 37)),
    of("age key", "AGE_KEY", |r| prefixed("AGE-SECRET-KEY-1", r, "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L", 58)),
    of("JSON Web Token", "SESSION", jwt),
    of("password in a URL", "DATABASE_URL", url_password),
    Type { name: "RSA private key", variable: "KEY", make: |r| pem("RSA PRIVATE KEY", 1190, r), is_lines: true },
    Type { name: "private key", variable: "KEY", make: |r| pem("PRIVATE KEY", 138, r), is_lines: true },
    Type { name: "OpenSSH private key", variable: "KEY", make: |r| pem("OPENSSH PRIVATE KEY", 260, r), is_lines: true },
];
