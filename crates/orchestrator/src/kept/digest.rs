//! What tells results apart, so that the same one of the same caller is kept once.

use sha2::{Digest as _, Sha256};
use switchboard_protocol::OWN_META_PREFIX;
use switchboard_protocol::delivery::STEP;
use switchboard_protocol::json::Span;
use switchboard_protocol::policy::TargetKind;
use switchboard_protocol::splice::for_each_member;
use tokio::task::yield_now;

use super::store::Provenance;

/// The digest of what is kept, and of its provenance.
pub(super) type Digest = [u8; 32];

/// The most parts of a result that are left out of its digest.
const MAX_LEFT_OUT: usize = 8;

/// That of a whole result object, in valid JSON, but for how old it is.
pub(super) async fn of_result(provenance: &Provenance, result: &[u8]) -> Digest {
    let mut sum = begin(provenance, b"result");
    let mut at = 0;
    for place in ages(result) {
        add_all(&mut sum, &result[at..place.start()]).await;
        at = place.end();
    }
    add_all(&mut sum, &result[at..]).await;
    sum.finalize().into()
}

/// That of an image, audio or blob, given in base64.
pub(super) async fn of_content(provenance: &Provenance, media_type: &str, base64: &[u8]) -> Digest {
    let mut sum = begin(provenance, b"content");
    add(&mut sum, media_type.as_bytes());
    add_all(&mut sum, base64).await;
    sum.finalize().into()
}

/// What differs between two answers with one cached result: what the gateway says of it, and for how long
/// it is still fresh.
fn ages(result: &[u8]) -> Vec<Span> {
    let mut places = Vec::new();
    let mut leave_out = |part: &[u8]| {
        if places.len() < MAX_LEFT_OUT {
            places.push(Span::of_part(result, part));
        }
    };
    for_each_member(result, |key, _, value| match key {
        "ttlMs" => leave_out(value),
        "_meta" => for_each_member(value, |key, _, value| {
            if key.starts_with(OWN_META_PREFIX) {
                leave_out(value);
            }
        }),
        _ => {}
    });
    places
}

fn begin(provenance: &Provenance, what: &[u8]) -> Sha256 {
    let mut sum = Sha256::new();
    add(&mut sum, what);
    add(&mut sum, provenance.principal.as_bytes());
    let profile = provenance.profile.as_deref();
    add(&mut sum, &[u8::from(profile.is_some())]);
    add(&mut sum, profile.unwrap_or_default().as_bytes());
    add(
        &mut sum,
        match provenance.kind {
            TargetKind::Tool => b"tool",
            TargetKind::Prompt => b"prompt",
            TargetKind::Resource => b"resource",
        },
    );
    add(&mut sum, provenance.backend.as_bytes());
    add(&mut sum, provenance.name.as_bytes());
    sum
}

fn add(sum: &mut Sha256, part: &[u8]) {
    sum.update((part.len() as u64).to_be_bytes());
    sum.update(part);
}

async fn add_all(sum: &mut Sha256, part: &[u8]) {
    for (step, part) in part.chunks(STEP).enumerate() {
        if step > 0 {
            yield_now().await;
        }
        sum.update(part);
    }
}
