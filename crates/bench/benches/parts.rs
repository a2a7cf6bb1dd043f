//! The parts of a call's path, each by itself: `cargo bench -p switchboard-bench`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use switchboard_backends::lists::{Features, Found, Item, Lists, Server};
use switchboard_backends::status::{Stage, State, Status};
use switchboard_orchestrator::catalogue::{List, Snapshot, SnapshotSettings, Source};
use switchboard_orchestrator::config::NamesConfig;
use switchboard_policy::access::AccessConfig;
use switchboard_policy::gatekeeper::Gatekeeper;
use switchboard_policy::redaction::{Detector, PlaceRedactor, Secrets, token_types};
use switchboard_protocol::call::{Call, Principal};
use switchboard_protocol::delivery::Redactor as _;
use switchboard_protocol::envelope::{Envelope, Message};
use switchboard_protocol::json::{Span, as_str};
use switchboard_protocol::method::Method;
use switchboard_protocol::policy::{Policy, Target, TargetKind};
use switchboard_protocol::splice::{Splice, member};
use switchboard_protocol::token::{Binding, Purpose, Sealer, digest};
use switchboard_protocol::version::Version;

// The gateway's own allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A small call of a modern client.
const CALL: &str = concat!(
    r#"{"jsonrpc":"2.0","id":17,"method":"tools/call","params":{"name":"files__read_text_file","#,
    r#""arguments":{"path":"docs/ARCHITECTURE.md","head":40},"_meta":{"#,
    r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","#,
    r#""io.modelcontextprotocol/clientInfo":{"name":"switchboard-bench","version":"1.0.0"},"#,
    r#""io.modelcontextprotocol/clientCapabilities":{}}}}"#
);

/// A response whose result holds a text of so many bytes.
fn response(text: usize) -> Bytes {
    let text = "a".repeat(text);
    let result =
        format!(r#"{{"resultType":"complete","content":[{{"type":"text","text":"{text}"}}]}}"#);
    format!(r#"{{"jsonrpc":"2.0","id":17,"result":{result}}}"#).into()
}

fn envelope(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("envelope");
    let messages = [
        ("a small call", Bytes::from_static(CALL.as_bytes())),
        ("a result of 200 B", response(200)),
        ("a result of 1 MiB", response(1024 * 1024)),
    ];
    for (name, message) in messages {
        group.throughput(Throughput::Bytes(message.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| Message::parse(black_box(message.clone())));
        });
    }
    group.finish();
}

/// Where the value of a member stands in a text.
fn place(text: &[u8], object: &[u8], key: &str) -> Span {
    Span::of_part(text, member(object, key).expect("a member"))
}

fn splice(criterion: &mut Criterion) {
    let call = Bytes::from_static(CALL.as_bytes());
    let params = member(&call, "params").expect("a member");
    let id = place(&call, &call, "id");
    let name = place(&call, params, "name");
    let whole = Span::of_part(&call, &call);
    let edited = || {
        let mut edits = Splice::new();
        edits.replace(id, b"4711".as_slice());
        edits.replace(name, b"\"read_text_file\"".as_slice());
        edits
    };
    let mut group = criterion.benchmark_group("splice");
    group.bench_function("a call's id and name, copied", |bencher| {
        bencher.iter(|| {
            let mut out = Vec::with_capacity(call.len());
            edited().apply(black_box(&call), whole, &mut out);
            out
        });
    });
    group.bench_function("a call's id and name, shared", |bencher| {
        bencher.iter(|| edited().apply_shared(black_box(&call), whole));
    });
    group.finish();
}

fn tool(index: usize) -> Item {
    let raw = Bytes::from(format!(
        concat!(
            r#"{{"name":"tool_{}","description":"Answers a constant text, whatever it is asked for","#,
            r#""inputSchema":{{"type":"object","properties":{{"text":{{"type":"string"}}}}}}}}"#
        ),
        index
    ));
    let key = member(&raw, "name").expect("a member");
    Item {
        key: as_str(key).expect("a text").into_owned(),
        key_span: Span::of_part(&raw, key),
        ui_resource: None,
        param_headers: Arc::default(),
        task_support: None,
        effects: Default::default(),
        raw,
    }
}

/// Backends with as many tools each.
fn sources(backends: usize, tools: usize) -> Vec<Source> {
    let source = |index: usize| Source {
        name: format!("backend{index}").into(),
        prefix: None,
        status: Status {
            state: State::Ready,
            stage: Stage::Listing,
            reason: String::new(),
            cause: None,
            since: SystemTime::UNIX_EPOCH,
        },
        lists: Some(Arc::new(Lists {
            server: Arc::new(Server {
                version: Version::LATEST,
                instructions: None,
                extensions: Vec::new(),
                features: Features::default(),
                found: Found::Discovered,
            }),
            tools: (0..tools).map(tool).collect(),
            left_out: Vec::new(),
            prompts: Vec::new(),
            resources: Vec::new(),
            templates: Vec::new(),
            skills: Vec::new(),
            ttl_ms: None,
            public: true,
            missing: None,
        })),
        shaped_by_credential: false,
        hidden: false,
    };
    (0..backends).map(source).collect()
}

fn catalogue(criterion: &mut Criterion) {
    let names = NamesConfig::default();
    let settings = SnapshotSettings::new("1.0.0");
    let sources = sources(100, 100);
    let build = || Snapshot::build(&names, &sources, &settings);
    let snapshot = build();
    let first = snapshot.page(List::Tools, None).expect("a page");
    let next = as_str(member(first, "nextCursor").expect("a second page")).expect("a text");

    let mut group = criterion.benchmark_group("catalogue of 10,000 tools");
    group.bench_function("find a name", |bencher| {
        bencher.iter(|| snapshot.tool(black_box("backend42__tool_42")).is_some());
    });
    group.bench_function("miss a name", |bencher| {
        bencher.iter(|| snapshot.tool(black_box("backend42__tool_4242")).is_none());
    });
    group.bench_function("serve the first page", |bencher| {
        bencher.iter(|| snapshot.page(List::Tools, black_box(None)).cloned());
    });
    group.bench_function("serve the second page", |bencher| {
        bencher.iter(|| snapshot.page(List::Tools, black_box(Some(&next))).cloned());
    });
    group.sample_size(10);
    group.bench_function("build", |bencher| {
        bencher.iter_batched(|| (), |()| build(), BatchSize::PerIteration);
    });
    group.finish();
}

fn token(criterion: &mut Criterion) {
    let sealer = Sealer::new(&[[7; 32]]).expect("a key");
    let binding = Binding {
        principal: "bench",
        request: digest(&[b"tools/call", b"files__read_text_file"]),
    };
    let (now, later) = (1_800_000_000_000, 1_800_000_060_000);
    let payload = [b'x'; 256];
    let seal = || sealer.seal(Purpose::RequestState, &binding, later, &payload);
    let sealed = seal().expect("a token");
    let mut group = criterion.benchmark_group("token of 256 B");
    group.bench_function("seal", |bencher| bencher.iter(seal));
    group.bench_function("open", |bencher| {
        bencher.iter(|| sealer.open(Purpose::RequestState, &binding, now, black_box(&sealed)));
    });
    group.finish();
}

/// What twenty rules say of a call: asked whether its target is shown, and whether it may be made.
fn access(criterion: &mut Criterion) {
    let mut rules = Vec::new();
    for index in 0..19 {
        rules.push(serde_json::json!({
            "name": format!("rule {index}"),
            "effect": "deny",
            "backends": [format!("backend-{index}"), "files*"],
            "tools": [format!("*delete_{index}*"), format!("*__drop_{index}")],
        }));
    }
    rules.push(serde_json::json!({ "name": "all", "effect": "allow", "users": ["*"] }));
    let config: AccessConfig =
        serde_json::from_value(serde_json::json!({ "rules": rules })).expect("rules");
    let policy = Gatekeeper::new().with_access(Some(&config));
    let principal = Arc::new(Principal::new("key:bench"));
    let request = Envelope::parse(Bytes::from_static(CALL.as_bytes())).expect("a call");
    let call = Call::new(
        request,
        Method::ToolsCall,
        Arc::clone(&principal),
        Version::LATEST,
    );
    let target = Target {
        kind: TargetKind::Tool,
        backend: "files",
        name: "files__read_text_file",
    };
    let mut group = criterion.benchmark_group("access, 20 rules");
    // Nothing is remembered of what is only looked at.
    group.bench_function("a target that was never called is shown", |bencher| {
        bencher.iter(|| policy.shows(&principal, None, black_box(&target)));
    });
    group.bench_function("a call is shown and admitted", |bencher| {
        bencher.iter(|| {
            let target = black_box(&target);
            let shown = policy.shows(&principal, None, target);
            (shown, policy.admit(&call, target, false))
        });
    });
    group.finish();
}

/// Results of real servers, one a line: sources, minified code, lock files, manuals, git logs.
const RESULTS: &str = include_str!("../../policy/tests/redaction/real_results.jsonl");

fn redaction(criterion: &mut Criterion) {
    let mut secrets = Secrets::default();
    for number in 0_u32..20 {
        let (a, b) = (
            number.wrapping_mul(0x9E37_79B1),
            number.wrapping_mul(0x85EB_CA6B),
        );
        secrets.add(&format!("{a:08x}-{b:08x}"));
    }
    let redactor = |types| {
        let detector = Detector::new(&secrets, &types, &[]).expect("a detector");
        PlaceRedactor::new(Arc::new(detector), "bench".into(), None)
    };
    let secrets_alone = redactor([].into());
    let all = redactor(token_types().into_iter().collect());
    let texts = [
        (
            "words",
            Bytes::from("all about what is in a text ".repeat(40_000)),
        ),
        ("results", Bytes::from_static(RESULTS.as_bytes())),
    ];
    // Written by servers that want it to take long, each 1 MiB.
    let hostile = [
        "AKIA",
        "ghs_",
        "fm2_",
        "sl.",
        "-eyJhbGciOi",
        "eyJ.eyJ.",
        "sk-ant-",
        "Authorization=Bearer+",
        "a",
        "-----BEGIN PRIVATE ",
        "a://user:",
    ];
    let mut group = criterion.benchmark_group("redaction");
    for (name, text) in texts {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(format!("20 secrets, {name}"), |bencher| {
            bencher.iter(|| secrets_alone.redact(black_box(text.clone())));
        });
        group.bench_function(format!("20 secrets and all tokens, {name}"), |bencher| {
            bencher.iter(|| all.redact(black_box(text.clone())));
        });
    }
    for unit in hostile {
        let text = Bytes::from(unit.repeat(1024 * 1024 / unit.len()));
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(format!("hostile, {unit}"), |bencher| {
            bencher.iter(|| all.redact(black_box(text.clone())));
        });
    }
    group.finish();
}

criterion_group! {
    name = parts;
    config = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    targets = envelope, splice, catalogue, token, access, redaction
}
criterion_main!(parts);
