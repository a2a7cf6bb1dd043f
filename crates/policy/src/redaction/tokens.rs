//! The types of tokens that are known, written from what their issuers publish about them.
//!
//! Prefix, alphabet and length decide; where an issuer publishes how a checksum is made, one that fits is a proof.
//! Lengths have some room where issuers announce that they may change.

use super::class::{
    ALNUM, BASE32, BASE64, BASE64_ANY, Class, DIGIT, DOTTED, HEX, HEX_ANY, LETTER, LOWER, UPPER,
    WORD,
};
use super::token::Part::{Run, Text};
use super::token::{Check, Part, Token, crc32, crc32_base62};

const fn token(
    name: &'static str,
    starts: &'static [&'static str],
    rest: &'static [Part],
) -> Token {
    Token {
        name,
        starts,
        rest,
        check: Check::Form,
    }
}

const fn checked(
    name: &'static str,
    starts: &'static [&'static str],
    rest: &'static [Part],
    check: Check,
) -> Token {
    Token {
        name,
        starts,
        rest,
        check,
    }
}

/// Letters of Bech32, in capitals.
const BECH32: Class = Class::new(b"023456789ACDEFGHJKLMNPQRSTUVWXYZ");
/// Hexadecimal digits and the dashes of a UUID.
const UUID: Class = Class::new(b"0-9a-fA-F-");

/// All of them that begin with something of their own.
#[rustfmt::skip]
pub(super) const TOKENS: &[Token] = &[
    checked("github_token", &["ghp_", "gho_", "ghu_", "ghr_"], &[Run(ALNUM, 36, 251)], GITHUB),
    checked("github_token", &["ghs_"], &[Run(DOTTED, 36, 2048)], GITHUB),
    token("github_fine_grained_token", &["github_pat_"], &[Run(ALNUM, 22, 22), Text("_"), Run(ALNUM, 59, 59)]),
    token("gitlab_token",
        &["glpat-", "gldt-", "glrt-", "glptt-", "glcbt-", "glft-", "glsoat-", "glagent-", "glimt-", "gloas-", "glffct-", "glwt-"],
        &[Run(DOTTED, 20, 320)]),
    token("gitlab_token", &["GR1348941"], &[Run(WORD, 20, 20)]),
    token("aws_access_key_id", &["AKIA", "ASIA", "ABIA", "ACCA"], &[Run(BASE32, 16, 16)]),
    token("aws_bedrock_key", &["ABSKQmVkcm9ja0FQSUtleS"], &[Run(BASE64_ANY, 80, 300)]),
    token("aws_bedrock_key", &["bedrock-api-key-YmVkcm9jay5hbWF6b25hd3MuY29t"], &[Run(BASE64_ANY, 40, 4096)]),
    token("slack_token", &["xoxb-"], &[Run(DIGIT, 9, 15), Text("-"), Run(WORD, 16, 80)]),
    token("slack_token", &["xoxp-", "xoxa-", "xoxr-", "xoxs-", "xoxo-", "xoxc-", "xoxd-", "xoxe-", "xoxe."], &[Run(Class::new(b"A-Za-z0-9.%/+=_-"), 24, 512)]),
    token("slack_app_token", &["xapp-"], &[Run(DIGIT, 1, 2), Text("-"), Run(ALNUM, 8, 16), Text("-"), Run(DIGIT, 9, 15), Text("-"), Run(ALNUM, 32, 128)]),
    token("slack_webhook", &["hooks.slack.com/services/", "hooks.slack.com/workflows/", "hooks.slack.com/triggers/"], &[Run(ALNUM, 8, 16), Text("/"), Run(ALNUM, 8, 20), Text("/"), Run(WORD, 20, 64)]),
    token("stripe_key", &["sk_live_", "sk_test_", "rk_live_", "rk_test_", "sk_org_"], &[Run(ALNUM, 16, 250)]),
    token("stripe_webhook_secret", &["whsec_"], &[Run(BASE64_ANY, 24, 128)]),
    token("anthropic_key", &["sk-ant-"], &[Run(WORD, 40, 160)]),
    token("openai_key", &["sk-proj-", "sk-svcacct-", "sk-admin-", "sk-None-"], &[Run(WORD, 40, 220)]),
    checked("openai_key", &["sk-"], &[Run(ALNUM, 48, 48)], Check::Also(has_openai)),
    token("openrouter_key", &["sk-or-v1-"], &[Run(HEX, 64, 64)]),
    token("deepseek_key", &["sk-"], &[Run(HEX, 32, 32)]),
    token("google_api_key", &["AIza"], &[Run(WORD, 35, 35)]),
    token("google_oauth_client_secret", &["GOCSPX-"], &[Run(WORD, 28, 28)]),
    token("google_oauth_token", &["ya29."], &[Run(DOTTED, 30, 2048)]),
    token("google_oauth_token", &["1//0"], &[Run(WORD, 36, 256)]),
    checked("azure_client_secret", &["0Q~", "1Q~", "2Q~", "3Q~", "4Q~", "5Q~", "6Q~", "7Q~", "8Q~", "9Q~"], &[Run(Class::new(b"A-Za-z0-9_.~-"), 31, 34)], Check::End),
    checked("npm_token", &["npm_"], &[Run(ALNUM, 36, 36)], GITHUB),
    token("pypi_token", &["pypi-AgEIcHlwaS5vcmc", "pypi-AgENdGVzdC5weXBpLm9yZ"], &[Run(WORD, 50, 1000)]),
    token("docker_token", &["dckr_pat_"], &[Run(WORD, 27, 36)]),
    token("docker_token", &["dckr_oat_"], &[Run(WORD, 32, 40)]),
    token("digitalocean_token", &["dop_v1_", "doo_v1_", "dor_v1_"], &[Run(HEX, 64, 64)]),
    token("heroku_key", &["HRKU-"], &[Run(WORD, 36, 80)]),
    token("cloudflare_token", &["cfk_", "cfut_", "cfat_"], &[Run(ALNUM, 44, 56)]),
    token("cloudflare_origin_ca_key", &["v1.0-"], &[Run(HEX, 24, 24), Text("-"), Run(HEX, 146, 146)]),
    token("twilio_key", &["SK"], &[Run(HEX, 32, 32)]),
    token("sendgrid_key", &["SG."], &[Run(WORD, 22, 22), Text("."), Run(WORD, 43, 43)]),
    token("mailgun_key", &["key-"], &[Run(HEX, 32, 32)]),
    token("brevo_key", &["xkeysib-", "xsmtpsib-"], &[Run(HEX, 64, 64), Text("-"), Run(ALNUM, 16, 16)]),
    token("discord_webhook", &["discord.com/api/webhooks/", "discordapp.com/api/webhooks/"], &[Run(DIGIT, 17, 20), Text("/"), Run(WORD, 60, 80)]),
    token("shopify_token", &["shpat_", "shpca_", "shppa_", "shpss_", "shptka_", "shprt_"], &[Run(HEX_ANY, 32, 40)]),
    checked("square_token", &["EAAA"], &[Run(WORD, 60, 60)], Check::Also(mixed)),
    token("square_token", &["sq0atp-"], &[Run(WORD, 22, 22)]),
    token("square_token", &["sq0csp-"], &[Run(WORD, 43, 43)]),
    token("dropbox_token", &["sl."], &[Run(DOTTED, 120, 2048)]),
    token("atlassian_token", &["ATATT3xFfGF0", "ATSTT3xFfG", "ATCTT3xFfG", "ATOATT3xFfG"], &[Run(BASE64_ANY, 60, 300)]),
    token("bitbucket_app_password", &["ATBB"], &[Run(ALNUM, 32, 32)]),
    token("linear_key", &["lin_api_", "lin_oauth_", "lin_wh_"], &[Run(ALNUM, 32, 64)]),
    token("notion_token", &["ntn_"], &[Run(ALNUM, 40, 60)]),
    token("notion_token", &["secret_"], &[Run(ALNUM, 43, 43)]),
    token("figma_token", &["figd_", "figu_", "figo_"], &[Run(WORD, 40, 64)]),
    token("postman_key", &["PMAK-"], &[Run(HEX, 24, 24), Text("-"), Run(HEX, 34, 34)]),
    token("databricks_token", &["dapi"], &[Run(HEX, 32, 32)]),
    token("vault_token", &["hvs.", "hvb.", "hvr."], &[Run(WORD, 24, 300)]),
    checked("terraform_token", &[".atlasv1."], &[Run(WORD, 60, 80)], Check::End),
    token("grafana_token", &["glc_"], &[Run(BASE64_ANY, 32, 400)]),
    checked("grafana_token", &["glsa_"], &[Run(ALNUM, 32, 32), Text("_"), Run(HEX_ANY, 8, 8)], GRAFANA),
    token("new_relic_key", &["NRAK-", "NRII-", "NRIQ-", "NRRA-", "NRSP-"], &[Run(WORD, 24, 64)]),
    token("sentry_token", &["sntryu_"], &[Run(HEX, 64, 64)]),
    token("sentry_token", &["sntrys_"], &[Run(BASE64_ANY, 60, 600)]),
    token("planetscale_token", &["pscale_tkn_", "pscale_pw_", "pscale_oauth_"], &[Run(DOTTED, 32, 64)]),
    token("supabase_token", &["sbp_"], &[Run(HEX, 40, 40)]),
    token("supabase_token", &["sb_secret_"], &[Run(WORD, 22, 64)]),
    token("fly_token", &["fm1r_", "fm1a_", "fm2_"], &[Run(BASE64_ANY, 60, 4096)]),
    token("fly_token", &["fo1_"], &[Run(WORD, 43, 43)]),
    token("hugging_face_token", &["hf_", "api_org_"], &[Run(LETTER, 34, 34)]),
    token("replicate_token", &["r8_"], &[Run(ALNUM, 37, 37)]),
    token("age_key", &["AGE-SECRET-KEY-1"], &[Run(BECH32, 58, 58)]),
    token("age_key", &["AGE-SECRET-KEY-PQ-1"], &[Run(BECH32, 58, 128)]),
    token("sourcegraph_token", &["sgp_"], &[Run(Class::new(b"A-Za-z0-9_"), 40, 80)]),
    token("perplexity_key", &["pplx-"], &[Run(ALNUM, 40, 64)]),
    token("groq_key", &["gsk_"], &[Run(ALNUM, 52, 52)]),
    token("xai_key", &["xai-"], &[Run(ALNUM, 70, 90)]),
    token("buildkite_token", &["bkua_", "bkaj_"], &[Run(ALNUM, 40, 64)]),
    token("circleci_token", &["CCIPAT_", "CCIPRJ_"], &[Run(ALNUM, 20, 24), Text("_"), Run(HEX, 40, 64)]),
    token("netlify_token", &["nfp_", "nfc_", "nfo_", "nfu_"], &[Run(ALNUM, 36, 40)]),
    token("airtable_token", &["pat"], &[Run(ALNUM, 14, 14), Text("."), Run(HEX, 64, 64)]),
    token("contentful_token", &["CFPAT-"], &[Run(WORD, 43, 43)]),
    token("doppler_token", &["dp.pt.", "dp.st.", "dp.ct.", "dp.sa.", "dp.scim.", "dp.audit."], &[Run(DOTTED, 40, 64)]),
    token("dynatrace_token", &["dt0c01.", "dt0s01.", "dt0s02.", "dt0s08."], &[Run(UPPER, 8, 24), Text("."), Run(UPPER, 64, 64)]),
    token("easypost_key", &["EZAK", "EZTK"], &[Run(ALNUM, 54, 54)]),
    token("alibaba_access_key_id", &["LTAI"], &[Run(ALNUM, 16, 24)]),
    token("pulumi_token", &["pul-"], &[Run(HEX, 40, 40)]),
    token("rubygems_key", &["rubygems_"], &[Run(HEX, 48, 48)]),
    token("crates_io_token", &["cio"], &[Run(ALNUM, 32, 32)]),
    token("nuget_key", &["oy2"], &[Run(LOWER, 43, 43)]),
    token("clojars_token", &["CLOJARS_"], &[Run(LOWER, 60, 60)]),
    token("readme_key", &["rdme_"], &[Run(LOWER, 70, 70)]),
    token("prefect_key", &["pnu_", "pnb_"], &[Run(ALNUM, 36, 36)]),
    token("shippo_token", &["shippo_live_", "shippo_test_"], &[Run(HEX, 40, 40)]),
    token("tailscale_key", &["tskey-auth-", "tskey-api-", "tskey-client-", "tskey-scim-", "tskey-webhook-"], &[Run(WORD, 20, 80)]),
    token("typeform_token", &["tfp_"], &[Run(WORD, 44, 64)]),
    token("one_password_token", &["ops_eyJ"], &[Run(BASE64_ANY, 200, 2048)]),
    token("sonarqube_token", &["squ_", "sqp_", "sqa_"], &[Run(HEX, 40, 40)]),
    token("artifactory_token", &["AKCp"], &[Run(ALNUM, 60, 80)]),
    token("artifactory_token", &["cmVmdGtu"], &[Run(ALNUM, 56, 56)]),
    token("posthog_key", &["phx_", "phs_"], &[Run(ALNUM, 40, 64)]),
    token("langsmith_key", &["lsv2_pt_", "lsv2_sk_"], &[Run(HEX, 32, 32), Text("_"), Run(HEX, 10, 10)]),
    token("pinecone_key", &["pcsk_"], &[Run(Class::new(b"A-Za-z0-9_"), 50, 90)]),
    token("tavily_key", &["tvly-"], &[Run(WORD, 28, 64)]),
    token("resend_key", &["re_"], &[Run(ALNUM, 8, 10), Text("_"), Run(ALNUM, 22, 28)]),
    token("render_key", &["rnd_"], &[Run(ALNUM, 28, 40)]),
    token("mongodb_atlas_secret", &["mdb_sa_sk_"], &[Run(WORD, 36, 64)]),
    token("adafruit_key", &["aio_"], &[Run(ALNUM, 28, 28)]),
    token("duffel_token", &["duffel_test_", "duffel_live_"], &[Run(WORD, 43, 43)]),
    token("frameio_token", &["fio-u-"], &[Run(WORD, 60, 70)]),
    token("scalingo_token", &["tk-us-"], &[Run(WORD, 48, 48)]),
    token("infracost_key", &["ico-"], &[Run(ALNUM, 32, 32)]),
    token("datadog_key", &["ddapp_"], &[Run(ALNUM, 32, 48)]),
    token("wakatime_key", &["waka_"], &[Run(UUID, 36, 36)]),
];

/// A kind of token that only the word before it tells.
pub(super) struct Named {
    /// The type that it belongs to.
    pub(super) name: &'static str,
    /// The words.
    pub(super) words: &'static [&'static str],
    /// The token.
    pub(super) value: &'static [Part],
}

/// All of them.
#[rustfmt::skip]
pub(super) const NAMED: &[Named] = &[
    Named { name: "aws_secret_access_key",
        words: &["secret_access_key", "SECRET_ACCESS_KEY", "SecretAccessKey", "secretAccessKey", "secret-access-key", "SecretKey", "secret_key", "AWS_SECRET_KEY"],
        value: &[Run(BASE64, 40, 40)] },
    Named { name: "aws_session_token",
        words: &["aws_session_token", "AWS_SESSION_TOKEN", "SessionToken", "sessionToken", "X-Amz-Security-Token"],
        value: &[Run(BASE64_ANY, 100, 2048)] },
    Named { name: "azure_storage_key", words: &["AccountKey", "accountKey", "account_key", "AZURE_STORAGE_KEY"],
        value: &[Run(BASE64, 86, 86), Text("==")] },
    Named { name: "azure_shared_access_key", words: &["SharedAccessKey", "sharedAccessKey", "shared_access_key"],
        value: &[Run(BASE64, 43, 43), Text("=")] },
    Named { name: "azure_sas_signature", words: &["&sig", "?sig", "u0026sig", "amp;sig", "%26sig", "%3Fsig", "%3fsig"],
        value: &[Run(BASE64, 43, 43), Text("=")] },
    Named { name: "datadog_key",
        words: &["DD_API_KEY", "DD-API-KEY", "dd_api_key", "dd-api-key", "DATADOG_API_KEY", "datadog_api_key"],
        value: &[Run(HEX_ANY, 32, 32)] },
    Named { name: "datadog_key",
        words: &["DD_APP_KEY", "DD-APPLICATION-KEY", "dd_app_key", "DD_APPLICATION_KEY", "DATADOG_APP_KEY", "datadog_app_key"],
        value: &[Run(HEX_ANY, 40, 40)] },
    Named { name: "twilio_auth_token", words: &["TWILIO_AUTH_TOKEN", "twilio_auth_token", "twilioAuthToken"],
        value: &[Run(HEX, 32, 32)] },
    Named { name: "heroku_key", words: &["HEROKU_API_KEY", "heroku_api_key", "HEROKU_API_TOKEN"],
        value: &[Run(UUID, 36, 36)] },
    Named { name: "cloudflare_token", words: &["CLOUDFLARE_API_TOKEN", "CF_API_TOKEN", "cloudflare_api_token"],
        value: &[Run(WORD, 40, 40)] },
    Named { name: "cloudflare_token", words: &["CLOUDFLARE_API_KEY", "CF_API_KEY", "X-Auth-Key"],
        value: &[Run(HEX, 37, 37)] },
    Named { name: "mailgun_key", words: &["MAILGUN_API_KEY", "mailgun_api_key"],
        value: &[Run(HEX, 32, 32), Text("-"), Run(HEX, 8, 8), Text("-"), Run(HEX, 8, 8)] },
    Named { name: "okta_token", words: &["SSWS"], value: &[Text("00"), Run(WORD, 40, 40)] },
];

const GITHUB: Check = Check::Proof(40, |chars| crc32_base62(&chars[4..]));
const GRAFANA: Check = Check::Proof(46, grafana);

/// The last eight digits are the CRC-32 of what is before them.
fn grafana(chars: &[u8]) -> bool {
    let Some((token, checksum)) = chars.split_last_chunk::<9>() else {
        return false;
    };
    let digits = std::str::from_utf8(&checksum[1..]).ok();
    let known = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
    known == Some(crc32(token))
}

/// As Base64 of zeros, as it is in images, never is.
fn mixed(chars: &[u8]) -> bool {
    let seen = chars
        .iter()
        .fold(0_u128, |seen, byte| seen | (1 << (byte & 127)));
    seen.count_ones() >= 24
}

/// "OpenAI" in Base64.
fn has_openai(chars: &[u8]) -> bool {
    chars.windows(8).any(|window| window == b"T3BlbkFJ")
}
