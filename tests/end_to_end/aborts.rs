//! Who breaks off, in the middle of a request or of a response, is noticed on the other side: never does a part look like
//! the whole.

use crate::clients::{NAME, authority, curl, curl_command, python, python_words, run_python, start};
use crate::groups::{FAST_CHECK, Group, ecs1, listener, resources};
use crate::lab_with;
use causeway_lab::{Behaviour, CLIENT, Lab, LabOptions, VIP_A, web_servers};
use std::fs;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use tests::balancer::{Balancer, PATIENCE, edited, wait_until};

/// curl's exit codes for a response that ends too early, by HTTP/1.1 and by HTTP/2.
const CUT_SHORT: i32 = 18;
const STREAM_ERROR: i32 = 92;
/// What the balancer resets a stream of HTTP/3 with: H3_INTERNAL_ERROR.
const H3_RESET: &str = "reset with 0x102";

/// The web server ecs11 behind listeners of every protocol.
fn every_protocol() -> String {
    let certificate = |line: String| edited(&line, &[("}", ", certificates: [www]}")]);
    resources(&[Group::web(&[FAST_CHECK], &[(ecs1(1), 100)])])
        + &certificate(listener("tls", "HTTPS", 443, "web"))
        + &certificate(listener("quic", "QUIC", 443, "web"))
}

fn lab(test: &str, id: &str) -> Option<Lab> {
    let options = LabOptions {
        id: id.into(),
        extra_servers: web_servers(1, 0),
        big_file_bytes: 3_000_000,
        ..LabOptions::default()
    };
    if python(test) { lab_with(test, options) } else { None }
}

/// A `program` that has begun to upload to `path` leaves by `leave`: nginx and the balancer's log say so, and nothing is
/// stored. `lines` are those of the log then.
#[track_caller]
fn assert_upload_is_given_up(
    lab: &Lab,
    balancer: &Balancer<'_>,
    (path, lines): (&str, usize),
    mut program: Command,
    leave: impl FnOnce(&mut Child),
) {
    let folder = lab.layout().server_dir("ecs11");
    let mut child = program.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let child = child.as_mut().expect("it can be started");
    wait_until("a part of the body is with the server", PATIENCE, || {
        let files = fs::read_dir(folder.join("temp/body")).expect("nginx has it");
        let sizes: Vec<u64> = files.flatten().filter_map(|file| Some(file.metadata().ok()?.len())).collect();
        if sizes.iter().any(|bytes| *bytes > 0) { Ok(()) } else { Err(sizes) }
    });
    leave(child);
    child.wait().expect("a child");
    wait_until("nginx sees that its client is gone", PATIENCE, || {
        let log = lab.server_log("ecs11").expect("a log");
        let line = log.iter().find(|line| line.request == format!("PUT {path} HTTP/1.1")).cloned();
        // Of a request that its client did not complete.
        line.filter(|line| line.status == 400).ok_or(log.len())
    });
    assert!(!folder.join(format!("upload{path}")).exists(), "{path} is stored, as if it were whole");
    let log = balancer.wait_for_access_log(lines);
    assert_eq!(log.len(), lines, "{log:#?}");
    let last = &log[lines - 1];
    assert_eq!((&last["request_uri"], &last["status"]), (&path.into(), &400.into()), "{last}");
    assert_eq!(last["error"], "client closed before the request was complete", "{last}");
}

// Holds LR-120
#[test]
fn a_client_that_leaves_within_its_upload_is_gone_for_the_server_too() {
    let test = "a_client_that_leaves_within_its_upload_is_gone_for_the_server_too";
    let Some(lab) = lab(test, "e2eleave") else { return };
    let balancer = start(&lab, &every_protocol());
    let big = lab.layout().big_file().display().to_string();
    let uploads = [("http", "--http1.1"), ("https", "--http1.1"), ("https", "--http2")];
    for (lines, (scheme, option)) in (1..).zip(uploads) {
        let path = format!("/up/{scheme}{option}");
        let url = format!("{scheme}://{NAME}{path}");
        let slowly = ["--limit-rate", "200K", option, "--upload-file", &big, &url];
        let upload = curl_command(&lab, &slowly);
        assert_upload_is_given_up(&lab, &balancer, (&path, lines), upload, |curl| {
            curl.kill().expect("it is a child");
        });
    }
    let words = python_words("http3");
    let mut upload = lab.command(CLIENT, &words[0]).expect("the lab has a client");
    upload.args(&words[1..]).args([&VIP_A.to_string(), "443", NAME, &authority(&lab)]);
    upload.arg("PUT:/up/three:3000000:200000");
    // One stream of a connection that lives on.
    assert_upload_is_given_up(&lab, &balancer, ("/up/three", 4), upload, |client| {
        let input = client.stdin.as_mut().expect("piped");
        input.write_all(b"leave\n").expect("it reads");
    });
    balancer.stop();
}

// Holds LR-122
#[test]
fn a_response_that_the_server_cuts_is_an_error_for_clients_of_every_protocol() {
    let test = "a_response_that_the_server_cuts_is_an_error_for_clients_of_every_protocol";
    let Some(lab) = lab(test, "e2ecutall") else { return };
    let balancer = start(&lab, &every_protocol());
    lab.set_behaviour_at("ecs11", "/cut", Behaviour::CutShort).expect("it is a web server");
    let downloads = [
        ("http", "--http1.1", CUT_SHORT),
        ("https", "--http1.1", CUT_SHORT),
        ("https", "--http2", STREAM_ERROR),
    ];
    for (scheme, option, code) in downloads {
        let cut = curl(&lab, &[option, &format!("{scheme}://{NAME}/cut")]);
        assert_eq!(cut.code, code, "{scheme} {option}: {cut:?}");
        assert!(cut.body.len() <= 500, "{scheme} {option}: {cut:?}");
    }
    let outcomes = run_python(
        &lab,
        "http3",
        &[&VIP_A.to_string(), "443", NAME, &authority(&lab), "GET:/cut", "GET:/echo"],
    );
    // A stream's reset may overtake what was sent on it, the head too.
    assert_eq!(outcomes[0]["error"], H3_RESET);
    assert!(outcomes[0]["bytes"].as_u64() <= Some(500), "{}", outcomes[0]);
    assert!(outcomes[1]["error"].is_null(), "the connection's other requests are whole: {}", outcomes[1]);
    let log = balancer.wait_for_access_log(5);
    assert_eq!(log.len(), 5);
    let cut: Vec<_> = log.iter().filter(|line| line["request_uri"] == "/cut").collect();
    assert_eq!(cut.len(), 4);
    for line in cut {
        let what = (&line["status"], &line["upstream_status"], &line["error_source"]);
        assert_eq!(what, (&500.into(), &"200".into(), &"server".into()), "{line}");
        assert_eq!(line["error"], "connection lost within the response", "{line}");
    }
    balancer.stop();
}
