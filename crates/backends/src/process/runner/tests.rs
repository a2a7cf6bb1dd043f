//! What is recognised, and what is made of it.

use super::{Ecosystem, NoVersion, Package, Pin, Runner, Version, container, recognise};

fn args(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// The first word is the command. `_` in a word stands for a blank.
fn runner(line: &str) -> Option<Runner> {
    let words: Vec<String> = args(line)
        .iter()
        .map(|word| word.replace('_', " "))
        .collect();
    let (command, args) = words.split_first().expect("a command");
    recognise(command, args)
}

#[track_caller]
fn package(line: &str) -> Package {
    let runner = runner(line).unwrap_or_else(|| panic!("{line} is not recognised"));
    runner
        .package
        .unwrap_or_else(|| panic!("{line} fetches nothing"))
}

fn npm(text: &str) -> Version {
    Version::of_npm(text).expect("a version")
}

fn digest(digit: &str) -> String {
    format!("sha256:{}", digit.repeat(64))
}

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

#[test]
fn packages_of_npm_are_found_with_what_pins_them() {
    use Pin::{Exact, Nothing, Open, Source};
    let commit_of = |address: &str| format!("npx {address}#{COMMIT}");
    let cases = [
        ("npx pkg", "pkg", Open),
        ("npx -y pkg --flag -p other", "pkg", Open),
        ("npx -y @scope/pkg", "@scope/pkg", Open),
        ("npx -y @scope/pkg@latest", "@scope/pkg", Open),
        ("npx -y @scope/pkg@^1.2.3", "@scope/pkg", Open),
        ("npx -y @scope/pkg@1.2", "@scope/pkg", Open),
        ("npx -y @scope/pkg@1.2.3", "@scope/pkg", Exact),
        ("npx -y pkg@1.2.3-beta.1", "pkg", Exact),
        ("npx -y pkg@v1.2.3", "pkg", Exact),
        ("npx -y pkg@1.2.3.4", "pkg", Open),
        ("npx --yes -- pkg@next --port 1", "pkg", Open),
        ("npx --package=@scope/pkg@2 pkg-server", "@scope/pkg", Open),
        ("npx -y -p pkg@1.0.0 -- server", "pkg", Exact),
        ("npx --registry http://r/ pkg", "pkg", Open),
        ("/opt/node/bin/npx.cmd -y pkg", "pkg", Open),
        ("npm exec --yes pkg", "pkg", Open),
        ("npm x -y pkg@1.0.0", "pkg", Exact),
        ("pnpm dlx pkg@3", "pkg", Open),
        ("pnpx pkg", "pkg", Open),
        ("bunx --bun pkg", "pkg", Open),
        ("bun x pkg@1.0.0", "pkg", Exact),
        ("npx ./server", "", Nothing),
        ("npx ../a/server.tgz", "", Nothing),
        ("npx /srv/server", "", Nothing),
        ("npx file:server", "", Nothing),
        ("npx https://example.com/a.tgz", "", Nothing),
        ("npx github:owner/repo", "", Source),
        ("npx owner/repo", "", Source),
        ("npx git+https://u:p@example.com/a.git", "", Source),
        ("npx git+ssh://git@example.com/a.git#semver:^1", "", Source),
        ("npx https://example.com/a.git", "", Source),
    ];
    for (line, name, pin) in cases {
        let package = package(line);
        assert_eq!((package.name.as_str(), package.pin), (name, pin), "{line}");
        assert_eq!(package.ecosystem, Ecosystem::Npm);
    }
    for address in [
        "git+https://example.com/a.git",
        "owner/repo",
        "github:owner/repo",
    ] {
        assert_eq!(package(&commit_of(address)).pin, Exact, "{address}");
    }
}

#[test]
fn what_is_not_certain_is_not_recognised() {
    for line in [
        "npx",
        "npx -y",
        "npx -c pkg",
        "npx --call=pkg",
        "npx --workspace a pkg",
        "npx --unknown pkg",
        "npx -yq pkg",
        "npx --yes=true pkg",
        "npx -p a -p b server",
        "npx -p",
        "npx pkg@npm:other@1",
        "npx @scope",
        "npx pkg@1/../2",
        "npx -y --package=--evil server",
        "npm run pkg",
        "npm",
        "pnpm exec pkg",
        "bun run pkg",
        "uvx",
        "uvx --from pkg",
        "uvx --unknown pkg",
        "uvx pkg;_python_version<'3'",
        "uvx --from a --from b server",
        "uvx pkg==",
        "uvx -.-",
        "uv run pkg",
        "uv tool install pkg",
        "uv",
        "docker",
        "docker ps",
        "docker exec -i a b",
        "docker run",
        "docker run -d image",
        "docker run --detach image",
        "docker run -id image",
        "docker run --unknown image",
        "docker run --name",
        "docker run -i image@sha256:12",
        "docker run -i im$age",
        "docker run -i image:",
        "docker-compose run a",
        "sh -c npx",
        "env npx pkg",
        "",
        "/",
        "python-server",
    ] {
        let words = args(line);
        let (command, args) = match words.split_first() {
            Some((command, args)) => (command.as_str(), args),
            None => ("", &[][..]),
        };
        let args: Vec<String> = args.iter().map(|word| word.replace('_', " ")).collect();
        assert_eq!(recognise(command, &args), None, "{line}");
        assert_eq!(container("a", command, &args, 0), None, "{line}");
    }
    for line in [
        "node server.js",
        "python -m server",
        "/usr/bin/python3.13 a.py",
    ] {
        assert_eq!(
            runner(line).map(|runner| runner.package),
            Some(None),
            "{line}"
        );
        let words = args(line);
        assert_eq!(container("a", &words[0], &words[1..], 0), None);
    }
}

#[test]
fn packages_of_python_are_found_with_what_pins_them() {
    use Pin::{Exact, Nothing, Open, Source};
    let commit = format!("uvx --from git+https://example.com/a@{COMMIT} server");
    let cases = [
        ("uvx mcp-server-time", "mcp-server-time", Open),
        (
            "uvx mcp-server-time --local-timezone UTC",
            "mcp-server-time",
            Open,
        ),
        ("uvx mcp-server-time@latest", "mcp-server-time", Open),
        ("uvx mcp-server-time@2026.1.1", "mcp-server-time", Exact),
        ("uvx mcp-server-time==2026.1.1", "mcp-server-time", Exact),
        ("uvx pkg[cli]==1.0rc1", "pkg", Exact),
        ("uvx pkg==1.*", "pkg", Open),
        ("uvx pkg~=1.0", "pkg", Open),
        ("uvx --from pkg>=1,<2 server", "pkg", Open),
        ("uvx --from=pkg==1.0.0 server", "pkg", Exact),
        ("uvx --python 3.13 --with httpx pkg", "pkg", Open),
        ("uvx -p 3.13 -- pkg", "pkg", Open),
        ("uv tool run pkg@1.0", "pkg", Exact),
        ("/home/a/.local/bin/uvx pkg", "pkg", Open),
        ("uvx --from . server", "", Nothing),
        ("uvx --from ./a server", "", Nothing),
        ("uvx --from a-1.0-py3-none-any.whl server", "", Nothing),
        (
            "uvx --from https://example.com/a-1.0.tar.gz server",
            "",
            Nothing,
        ),
        ("uvx --from git+https://example.com/a server", "", Source),
        (
            "uvx --from git+https://u:p@example.com/a@main server",
            "",
            Source,
        ),
        (
            "uvx --from pkg_@_git+https://example.com/a server",
            "",
            Source,
        ),
        (&commit, "", Exact),
    ];
    for (line, name, pin) in cases {
        let package = package(line);
        assert_eq!((package.name.as_str(), package.pin), (name, pin), "{line}");
        assert_eq!(package.ecosystem, Ecosystem::PyPi);
    }
}

#[test]
fn images_are_found_behind_whatever_options() {
    let pinned = format!("docker run -i ghcr.io/a/b:1@{}", digest("0"));
    let cases = [
        ("docker run -i --rm mcp/fetch", "mcp/fetch", Pin::Open),
        (
            "docker run -i mcp/fetch:latest --flag",
            "mcp/fetch",
            Pin::Open,
        ),
        (
            "docker run -i --rm -e KEY mcp/fetch:1.2",
            "mcp/fetch",
            Pin::Tag,
        ),
        ("docker run -ie KEY=1 image a:b", "image", Pin::Open),
        ("docker run -ieKEY=1 image", "image", Pin::Open),
        (
            "docker run -it --mount type=bind,src=/a,dst=/b image",
            "image",
            Pin::Open,
        ),
        (
            "docker run -v /a:/b --env=K=V --rm=true -i image",
            "image",
            Pin::Open,
        ),
        (
            "docker run --name n -i localhost:5000/a/b",
            "localhost:5000/a/b",
            Pin::Open,
        ),
        (
            "docker run -i localhost:5000/a/b:2",
            "localhost:5000/a/b",
            Pin::Tag,
        ),
        ("docker --context far run -i image", "image", Pin::Open),
        ("docker container run -i image", "image", Pin::Open),
        ("podman run --replace -i -- image", "image", Pin::Open),
        (&pinned, "ghcr.io/a/b", Pin::Exact),
    ];
    for (line, name, pin) in cases {
        let package = package(line);
        assert_eq!((package.name.as_str(), package.pin), (name, pin), "{line}");
        assert_eq!(package.ecosystem, Ecosystem::Image);
    }
}

#[test]
fn a_version_takes_the_place_of_what_is_written() {
    let cases = [
        (
            "npx -y @s/p@^1 --x @s/p@^1",
            "npx -y @s/p@1.2.3 --x @s/p@^1",
        ),
        ("npx --package=p -- s p", "npx --package=p@1.2.3 -- s p"),
        ("npx -p p s", "npx -p p@1.2.3 s"),
        ("bunx p@latest", "bunx p@1.2.3"),
        ("uvx p", "uvx p@1.2.3"),
        ("uvx p[a,b]>=1", "uvx p[a,b]@1.2.3"),
        ("uvx --from p[a]>=1 s", "uvx --from p[a]==1.2.3 s"),
        ("uvx --from=p s", "uvx --from=p==1.2.3 s"),
    ];
    for (line, pinned) in cases {
        let pinned = args(pinned);
        let package = package(line);
        assert_eq!(package.pinned(&npm("1.2.3")), pinned[1..], "{line}");
        let again = package.with_args(&pinned[1..]).expect("recognised");
        assert_eq!(again.pin, Pin::Exact, "{line}");
    }
    let image = Version::of_image(&digest("a")).expect("a digest");
    let package = package("docker run -i --name n r:5/a:1 a:1");
    let pinned = format!("run -i --name n r:5/a@{} a:1", digest("a"));
    assert_eq!(package.pinned(&image), args(&pinned));
}

#[track_caller]
fn asserts_commands(line: &str, warming: Option<&str>, question: &str) {
    let package = package(line);
    let shown = |invocation: super::Invocation| {
        let mut words = vec![invocation.command];
        words.extend(invocation.args);
        words.join(" ")
    };
    assert_eq!(package.warming().map(shown).as_deref(), warming, "{line}");
    assert_eq!(
        package.question().map(shown).as_deref(),
        Some(question),
        "{line}"
    );
}

#[test]
fn caches_are_filled_and_versions_asked_for_with_the_runners_own_options() {
    asserts_commands(
        "/n/npx -y --registry http://r/ @s/p server-arg",
        Some("/n/npx -y --registry http://r/ --package=@s/p --yes -- node --version"),
        "/n/npm view --json --registry=http://r/ -- @s/p version dist-tags.latest",
    );
    asserts_commands(
        "npx -p p@1 -- s",
        Some("npx -p p@1 --yes -- node --version"),
        "npm view --json -- p@1 version dist-tags.latest",
    );
    asserts_commands(
        "npm exec p",
        Some("npm exec --package=p --yes -- node --version"),
        "npm view --json -- p version dist-tags.latest",
    );
    asserts_commands(
        "bunx p",
        None,
        "npm view --json -- p version dist-tags.latest",
    );
    let script = "import sys, importlib.metadata; print(importlib.metadata.version(sys.argv[1]))";
    asserts_commands(
        "uvx --python 3.13 -- p@latest x",
        Some("uvx --python 3.13 --from p@latest python --version"),
        &format!("uvx --python 3.13 --from p@latest python -I -c {script} p"),
    );
    asserts_commands(
        "uv tool run --from p[a]>1 s",
        Some("uv tool run --from p[a]>1 python --version"),
        &format!("uv tool run --from p[a]>1 python -I -c {script} p"),
    );
    asserts_commands(
        "docker --context far container run -i --platform linux/arm64 a/b:1 x",
        Some("docker --context far pull --platform=linux/arm64 a/b:1"),
        "docker --context far image inspect --format {{json .RepoDigests}} a/b:1",
    );
    for line in ["npx ./a", "npx a@1.0.0", "npx owner/repo", "uvx a@1"] {
        assert_eq!(package(line).question(), None, "{line}");
    }
}

#[test]
fn of_a_range_npm_takes_what_latest_leads_to_or_the_highest() {
    let package = package("npx p");
    let one = |version: &str, latest: &str| serde_json::json!({ "version": version, "dist-tags.latest": latest });
    let resolved = |answer: serde_json::Value| package.resolved(&answer.to_string());
    assert_eq!(resolved(one("1.2.3", "2.0.0")), Ok(npm("1.2.3")));
    assert_eq!(resolved(serde_json::json!("1.2.3")), Ok(npm("1.2.3")));
    let several = |latest| {
        serde_json::json!([
            one("1.9.0", latest),
            one("1.10.0", latest),
            one("1.2.0", latest)
        ])
    };
    assert_eq!(resolved(several("1.9.0")), Ok(npm("1.9.0")));
    assert_eq!(resolved(several("3.0.0")), Ok(npm("1.10.0")));
    assert_eq!(resolved(serde_json::json!([])), Err(NoVersion::Missing));
}

#[test]
fn only_a_version_becomes_part_of_a_command() {
    let evil = [
        "1.0.0; rm -rf /",
        "1.0.0 --x",
        "--x",
        "-1.0.0",
        "1.0.0\n2.0.0",
        "\n1.0.0",
        "1.0.0\u{0}",
        "../1.0.0",
        "1.0.0/../..",
        "latest",
        "^1.0.0",
        "$(id)",
        "",
    ];
    for text in evil {
        assert_eq!(Version::of_npm(text), None, "{text:?}");
        assert_eq!(Version::of_python(text), None, "{text:?}");
        assert_eq!(Version::of_image(text), None, "{text:?}");
        let answer = serde_json::json!({ "version": text, "dist-tags.latest": text });
        let resolved = package("npx p").resolved(&answer.to_string());
        assert_eq!(resolved, Err(NoVersion::Malformed), "{text:?}");
        let answer = serde_json::json!([format!("mcp/fetch@{text}")]).to_string();
        let resolved = package("docker run mcp/fetch").resolved(&answer);
        assert_eq!(resolved, Err(NoVersion::Malformed), "{text:?}");
        // The line's end is that of `print`.
        if text != "\n1.0.0" {
            let resolved = package("uvx p").resolved(text);
            assert_eq!(resolved, Err(NoVersion::Malformed), "{text:?}");
        }
    }
    for (text, is_version) in [
        ("1", true),
        ("2026.1.14", true),
        ("1!2.0rc1.post2.dev3+ubuntu.1", true),
        ("1.0.dev1", true),
        ("1.", false),
        ("1.0rc", false),
        ("1.0+", false),
        ("1.0+a..b", false),
        ("!1", false),
        ("1.0.post", false),
    ] {
        assert_eq!(Version::of_python(text).is_some(), is_version, "{text}");
    }
    assert_eq!(Version::of_npm(&format!("1.0.0-{}", "a".repeat(200))), None);
    assert_eq!(Version::of_image(&digest("A")), None);
    assert_eq!(Version::of_image(&format!("{}0", digest("a"))), None);
}

#[test]
fn an_image_is_found_under_the_name_it_is_run_by() {
    let answer = serde_json::json!([
        format!("other/fetch@{}", digest("1")),
        format!("fetch@{}", digest("2")),
        format!("mcp/fetch@{}", digest("3")),
    ])
    .to_string();
    let resolved = |image: &str| package(&format!("docker run -i {image}")).resolved(&answer);
    let found = |digit| Version::of_image(&digest(digit)).ok_or(NoVersion::Missing);
    assert_eq!(resolved("mcp/fetch"), found("3"));
    assert_eq!(resolved("docker.io/mcp/fetch:1"), found("3"));
    assert_eq!(resolved("docker.io/library/fetch"), found("2"));
    assert_eq!(resolved("docker.io/fetch"), found("2"));
    assert_eq!(resolved("quay.io/mcp/fetch"), Err(NoVersion::Missing));
    let built = package("docker run -i a");
    assert_eq!(built.resolved("[]"), Err(NoVersion::BuiltHere));
    assert_eq!(built.resolved("null"), Err(NoVersion::BuiltHere));
    assert_eq!(built.resolved("{}"), Err(NoVersion::Malformed));
}

#[test]
fn a_container_has_a_name_and_is_removed_by_it() {
    let made = |backend: &str, line: &str| {
        let words = args(line);
        container(backend, &words[0], &words[1..], 0xab).expect("a container")
    };
    let one = made(
        "my files/ü",
        "docker --context far run -i --rm mcp/a --name x",
    );
    assert_eq!(one.name, "switchboard-my-files---00000000000000ab");
    assert!(!one.is_named && one.is_interactive);
    let expected = format!(
        "--context far run --name={} -i --rm mcp/a --name x",
        one.name
    );
    assert_eq!(one.args, args(&expected));
    let removal = format!("--context far rm --force -- {}", one.name);
    assert_eq!(one.removal.args, args(&removal));
    assert_eq!(one.removal.command, "docker");

    let named = made("a", "/usr/bin/podman container run --name=mine image");
    assert!(named.is_named && !named.is_interactive);
    assert_eq!(named.args, args("container run --name=mine image"));
    assert_eq!(named.removal.args, args("rm --force -- mine"));
    let long = made(&"x".repeat(300), "docker run -i a");
    assert!(long.name.len() < 100);
}
