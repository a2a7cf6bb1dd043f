//! Replicas: the example of docs/replicas.md, and what is said of mistakes.

use super::{Place, repository};

const KEY: &str = "o3cYPhBvyzSZ3Ypm0jvS7dNmYvXoUBHFgcnTSEAJY2E=";

#[test]
fn the_example_of_the_documentation_is_valid() {
    let page = std::fs::read_to_string(repository().join("docs/replicas.md")).unwrap();
    let (_, rest) = page.split_once("```yaml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let example = example
        .replace("${SWITCHBOARD_KEY}", KEY)
        .replace("${CLUSTER_SECRET}", KEY)
        .replace("${POD_IP}", "10.0.0.7");
    let auth = format!(
        "auth: {{ api_keys: [{{ name: ci, key_sha256: \"{}\" }}] }}\n",
        "15b5f344504549a217d5e34c7ae9b0af03c413536b0d0c0fc48822ac8922d3c8"
    );
    let loaded = Place::new().file("a.yaml", &(example + &auth)).load();
    assert_eq!(loaded.config.problems(), []);
    let cluster = loaded.config.server.cluster.expect("a cluster");
    assert_eq!(&**cluster.advertise.text(), "https://10.0.0.7:8082");
}

#[test]
fn mistakes_say_what_is_expected() {
    let refused = |text: &str| Place::new().file("a.yaml", text).errors();
    let of = |cluster: &str| {
        format!(
            "server: {{ sealing_keys: [\"{KEY}\"], cluster: {cluster} }}\nbackends: {{ files: {{ command: npx }} }}\n"
        )
    };
    for (cluster, expected) in [
        (
            format!("{{ advertise: \"10.0.0.7:8082\", secret: \"{KEY}\" }}"),
            "server.cluster.advertise",
        ),
        (
            "{ advertise: \"https://10.0.0.7:8082\", secret: short }".to_owned(),
            "server.cluster.secret",
        ),
        (
            "{ advertise: \"https://10.0.0.7:8082\", secret: [changeme-changeme-changeme-changeme] }"
                .to_owned(),
            "server.cluster.secret",
        ),
        (
            "{ advertise: \"https://10.0.0.7:8082\" }".to_owned(),
            "secret",
        ),
        (
            format!("{{ advertise: \"https://127.0.0.1:8080\", secret: \"{KEY}\" }}"),
            "server.cluster.listen",
        ),
        (
            format!(
                "{{ advertise: \"https://10.0.0.7:8082\", secret: \"{KEY}\", listen: \"8082\" }}"
            ),
            "server.cluster.listen",
        ),
    ] {
        let errors = refused(&of(&cluster));
        assert!(errors.contains(expected), "{cluster}: {errors}");
        assert!(!errors.contains("changeme-changeme-changeme"), "{errors}");
    }
    let keyless = of(&format!(
        "{{ advertise: \"https://10.0.0.7:8082\", secret: \"{KEY}\" }}"
    ));
    let keyless = keyless.replace(&format!("sealing_keys: [\"{KEY}\"], "), "");
    let errors = refused(&keyless);
    for expected in ["server.cluster", "server.sealing_keys"] {
        assert!(errors.contains(expected), "{errors}");
    }
}
