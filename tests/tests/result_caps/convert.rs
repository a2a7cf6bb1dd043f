//! Content that the clients of a profile cannot use.

use super::*;
use switchboard_testkit::client::Client;

fn mixed() -> Value {
    json!({ "resultType": "complete", "content": [
        { "type": "text", "text": "before" },
        { "type": "image", "data": "A".repeat(4000), "mimeType": "image/png" },
        { "type": "audio", "data": "A".repeat(400), "mimeType": "audio/wav" },
        { "type": "resource", "resource": { "uri": "a:b", "blob": "A".repeat(40), "mimeType": "x/y" } },
        { "type": "resource", "resource": { "uri": "a:c", "text": "stays" } },
        { "type": "text", "text": "after" },
    ]})
}

#[tokio::test]
async fn a_profile_says_what_becomes_of_images_audio_and_blobs() {
    let server = serving(mixed()).await;
    let config = json!({ "profiles": {
        "text": { "content": { "image": "drop", "audio": "drop", "blob": "drop" } },
        "pictures": { "content": { "audio": "link" } },
    }});
    let front = start(&server, config).await;
    let whole = front.client.call("s__t", json!({})).await;
    let (content, before) = (&whole.result()["content"], &mixed()["content"]);
    assert_eq!((&content[1], &content[2]), (&before[1], &before[2]));
    assert_eq!(
        content[3]["resource"]["blob"],
        before[3]["resource"]["blob"]
    );

    let client = Client::new(&format!("{}/text", front.gateway.url()));
    let answer = client.call("s__t", json!({})).await;
    let texts = texts(&answer);
    assert_eq!(texts.len(), 5, "{texts:?}");
    assert_eq!((texts[0], texts[4]), ("before", "after"));
    assert!(
        texts[1].contains("image, image/png, 3000 bytes"),
        "{texts:?}"
    );
    assert!(
        texts[2].contains("audio, audio/wav, 300 bytes"),
        "{texts:?}"
    );
    assert!(texts[3].contains("blob, x/y, 30 bytes"), "{texts:?}");

    // Where nothing can be kept, a text says what was there.
    let client = Client::new(&format!("{}/pictures", front.gateway.url()));
    let answer = client.call("s__t", json!({})).await;
    let content = &answer.result()["content"];
    assert_eq!(content[1]["type"], "image");
    assert_eq!(content[3]["type"], "resource");
    assert_ne!(content[2]["type"], "audio");
    front.gateway.stop().await;
}

#[tokio::test]
async fn what_is_dropped_does_not_count() {
    let data = "A".repeat(500 * KIB);
    // Whatever comes first of it.
    let pictures = [
        format!(r#"{{"type":"image","mimeType":"image/png","data":"{data}"}}"#),
        format!(r#"{{"data":"{data}","mimeType":"image/png","type":"image"}}"#),
    ];
    let [one, two] = pictures;
    let result = format!(
        r#"{{"resultType":"complete","content":[{one},{{"type":"text","text":"between"}},{two},{{"type":"text","text":"after"}}]}}"#
    );
    let server = serving_text(result).await;
    let config = json!({
        "result_caps": [{ "max_bytes": "8KiB" }],
        "profiles": { "text": { "content": { "image": "drop", "audio": "drop" } } },
    });
    let front = start(&server, config).await;
    let client = Client::new(&format!("{}/text", front.gateway.url()));
    let answer = client.call("s__t", json!({})).await;
    let texts = texts(&answer);
    assert_eq!(texts.len(), 4, "{texts:?}");
    assert_eq!((texts[1], texts[3]), ("between", "after"));
    assert!(texts[0].contains("image, image/png"), "{texts:?}");
    assert!(told(&answer).is_null());
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_blob_that_is_read_is_converted_too() {
    let read = json!({ "resultType": "complete", "ttlMs": 0, "cacheScope": "private", "contents": [
        { "uri": "test://r", "blob": "A".repeat(400), "mimeType": "x/y" },
    ]});
    let server = serving(read).await;
    let config = json!({ "profiles": { "text": { "content": { "blob": "drop" } } } });
    let front = start(&server, config).await;
    let client = Client::new(&format!("{}/text", front.gateway.url()));
    let answer = client
        .request("resources/read", json!({ "uri": "test://r" }))
        .await;
    let item = &answer.result()["contents"][0];
    assert_eq!(item["uri"], "test://r");
    assert!(
        item["text"]
            .as_str()
            .is_some_and(|it| it.contains("blob, x/y, 300 bytes")),
        "{item}"
    );
    front.gateway.stop().await;
}

#[tokio::test]
async fn images_count_as_what_they_are_without_base64() {
    let image = json!({ "type": "image", "data": "A".repeat(8000), "mimeType": "image/png" });
    let result = json!({ "resultType": "complete", "content": [image] });
    let expected = result.clone();
    let server = serving(result).await;
    // It has 6,000 bytes, and some more around it.
    let front = front(&server, json!([{ "max_bytes": 6200 }])).await;
    let answer = front.client.call("s__t", json!({})).await;
    assert_eq!(answer.result(), &expected);
    front.gateway.stop().await;
}
