//! curl and h2load, by HTTP/1.1 and by HTTP/2.

use crate::clients::{NAME, authority, curl, curl_command, start};
use crate::groups::{FAST_CHECK, Group, ecs1, listener, resources};
use crate::lab_with;
use causeway_lab::{CLIENT, CLIENT_ADDRESSES, Lab, LabOptions, VIP_A, web_servers};
use serde_json::Value;
use std::fs;
use std::process::Stdio;
use tests::balancer::edited;

/// The web server ecs11 behind listeners of HTTP and of HTTPS.
fn both_schemes() -> String {
    let web = resources(&[Group::web(&[FAST_CHECK], &[(ecs1(1), 100)])]);
    web + &edited(&listener("tls", "HTTPS", 443, "web"), &[("}", ", certificates: [www]}")])
}

fn lab(test: &str, id: &str) -> Option<Lab> {
    lab_with(
        test,
        LabOptions {
            id: id.into(),
            extra_servers: web_servers(1, 0),
            big_file_bytes: 3_000_000,
            ..LabOptions::default()
        },
    )
}

#[test]
fn curl_downloads_and_uploads_by_every_version_of_http() {
    let Some(lab) = lab("curl_downloads_and_uploads_by_every_version_of_http", "e2ecurl") else { return };
    let balancer = start(&lab, &both_schemes());
    let big = lab.layout().big_file();
    let content = fs::read(&big).expect("the lab wrote it");
    let mut requests = 0;
    for (scheme, option, version, protocol) in [
        // Its answers are of 1.1, in words that 1.0 has.
        ("http", "--http1.0", "1.1", "HTTP/1.0"),
        ("http", "--http1.1", "1.1", "HTTP/1.1"),
        ("https", "--http1.1", "1.1", "HTTP/1.1"),
        ("https", "--http2", "2", "HTTP/2.0"),
    ] {
        let url = |path: &str| format!("{scheme}://{NAME}{path}");
        let what = format!("{scheme} {option}");
        let name = format!("{scheme}{option}");
        let is_old = option == "--http1.0";

        let seen = curl(&lab, &[option, &url("/echo?a=b")]);
        assert_eq!((seen.code, seen.status, seen.version.as_str()), (0, 200, version), "{what}: {seen:?}");
        let json = seen.json();
        assert_eq!((&json["method"], &json["uri"]), (&"GET".into(), &"/echo?a=b".into()), "{what}");
        assert_eq!(json["headers"]["host"], NAME, "{what}");
        assert_eq!(json["headers"]["x-forwarded-for"], CLIENT_ADDRESSES[0].to_string(), "{what}");

        let whole = curl(&lab, &[option, &url("/big")]);
        assert!(whole.code == 0 && whole.body == content, "{what}: {} bytes", whole.body.len());
        let head = curl(&lab, &[option, "--head", &url("/big")]);
        assert_eq!((head.code, head.header("content-length")), (0, Some("3000000")), "{what}");

        // Of known length, by curl's own accord with Expect on HTTP/1.1.
        let to = format!("/up/known-{name}");
        let sent = curl(&lab, &[option, "-v", "--upload-file", &big.display().to_string(), &url(&to)]);
        assert_eq!((sent.code, sent.status), (0, 201), "{what}: {}", sent.said);
        assert!(fs::read(lab.layout().server_dir("ecs11").join(format!("upload{to}"))).unwrap() == content);
        if option == "--http1.1" {
            assert!(sent.said.contains("> Expect: 100-continue"), "{}", sent.said);
            assert!(sent.said.contains("< HTTP/1.1 100 Continue"), "{}", sent.said);
            assert!(!sent.said.contains("Done waiting for 100-continue"), "{}", sent.said);
        }
        requests += 4;

        // Of a length that nobody knows before: chunked on HTTP/1.1. HTTP/1.0 has no way to say so.
        if is_old {
            continue;
        }
        let to = format!("/up/unknown-{name}");
        let mut command = curl_command(&lab, &[option, "-v", "--upload-file", "-", &url(&to)]);
        let sent = crate::clients::answer(
            command.stdin(Stdio::from(fs::File::open(&big).unwrap())).output().expect("curl runs"),
        );
        assert_eq!((sent.code, sent.status), (0, 201), "{what}: {}", sent.said);
        assert!(fs::read(lab.layout().server_dir("ecs11").join(format!("upload{to}"))).unwrap() == content);
        assert_eq!(sent.said.contains("> Transfer-Encoding: chunked"), version == "1.1", "{}", sent.said);

        // A server that refuses a body by its length is heard before the body is sent.
        let refused = curl(&lab, &[option, "-v", "--data-binary", &format!("@{}", big.display()), &url("/")]);
        assert_eq!((refused.code, refused.status), (0, 413), "{what}: {}", refused.said);
        requests += 2;
        if version == "1.1" {
            assert_eq!(refused.transfer["size_upload"], 0, "{what}: {}", refused.transfer);
        }
        let log = balancer.wait_for_access_log(requests);
        let last = &log[requests - 1];
        assert_eq!((log.len(), &last["server_protocol"]), (requests, &protocol.into()));
    }
    balancer.stop();
}

/// What h2load prints of `arguments` against the HTTPS listener: how many requests succeeded, and all of it.
#[track_caller]
fn h2load(lab: &Lab, arguments: &[&str]) -> (usize, String) {
    let url = format!("https://{VIP_A}/echo");
    let words = [&["h2load", "--connection-inactivity-timeout=30"], arguments, &[&url]].concat();
    let printed = lab.run(CLIENT, &words).expect("h2load runs");
    let line = printed.lines().find(|line| line.starts_with("requests: ")).expect("it sums up");
    let succeeded = line.split(", ").find_map(|part| part.strip_suffix(" succeeded")).expect("so many");
    (succeeded.parse().expect("a number"), printed)
}

#[test]
fn h2load_loses_no_request() {
    let Some(lab) = lab("h2load_loses_no_request", "e2eh2load") else { return };
    let balancer = start(&lab, &both_schemes());
    let body = authority(&lab);
    let cases: [(&[&str], usize, &str); 4] = [
        (&["-n2000", "-c8", "-m20"], 2000, "HTTP/2.0"),
        // The balancer reads no further while the server is slower; bodies share their connection.
        (&["-n400", "-c2", "-m20", "-d", &body], 400, "HTTP/2.0"),
        (&["-n2000", "-c8", "--h1"], 2000, "HTTP/1.1"),
        // Pipelined.
        (&["-n800", "-c2", "-m8", "--h1"], 800, "HTTP/1.1"),
    ];
    let mut lines = 0;
    for (arguments, count, protocol) in cases {
        let (succeeded, printed) = h2load(&lab, arguments);
        assert_eq!(succeeded, count, "{arguments:?}: {printed}");
        let log = balancer.wait_for_access_log(lines + count);
        let fine = |line: &Value| {
            line["status"] == 200 && line["server_protocol"] == protocol && line["error"] == "-"
        };
        let other: Vec<_> = log[lines..].iter().filter(|line| !fine(line)).collect();
        assert!(
            other.is_empty() && log.len() == lines + count,
            "{} of {}: {other:?}",
            log.len(),
            lines + count
        );
        lines += count;
    }
    balancer.stop();
}
