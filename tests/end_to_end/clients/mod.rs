//! Independent clients on the client's host: curl, h2load, and programs on Python's gRPC, HTTP/3 and WebSocket libraries,
//! which stand in this folder. And what they need of a balancer: a certificate that they trust.

use crate::certificates::certificate;
use causeway_lab::{CLIENT, Lab, VIP_A, requirement};
use controller::api::{ListenerStatus, ListenerView};
use serde_json::Value;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use tests::balancer::{Balancer, PATIENCE};

/// What clients ask for, and the name in the certificate of [`start`].
pub const NAME: &str = "www.example.test";

/// Where the certificate that clients trust is.
pub fn authority(lab: &Lab) -> String {
    lab.layout().run_dir().join("www.pem").display().to_string()
}

/// A balancer with `resources`, whose listeners may name the certificate `www`; returns when all of them are served and
/// every server is healthy.
pub fn start<'lab>(lab: &'lab Lab, resources: &str) -> Balancer<'lab> {
    let balancer = Balancer::start_resources(lab, resources);
    let (path, key) = certificate(lab, "www", NAME);
    balancer.command(&["certificate", "add", "www", "--certificate", &path, "--key", &key]);
    balancer.wait_until("every listener runs", PATIENCE, || {
        let json = balancer.command(&["get", "listeners", "-o", "json"]);
        let listeners = serde_json::from_str::<Vec<ListenerView>>(&json).expect("listeners");
        let runs = |listener: &ListenerView| listener.status == ListenerStatus::Running;
        if listeners.iter().all(runs) { Ok(()) } else { Err(json) }
    });
    balancer.wait_until_healthy();
    balancer
}

/// What curl says of one request.
pub struct Answer {
    /// Its exit code; 0 where the answer is whole.
    pub code: i32,
    /// The last answer's status; 0 where there was none.
    pub status: u64,
    /// `1.0`, `1.1` or `2`.
    pub version: String,
    /// The last answer's header lines, by name in lower case; of several of a name, each.
    pub headers: Value,
    /// The body, as far as it came.
    pub body: Vec<u8>,
    /// All else that curl says of the transfer: its `%{json}`.
    pub transfer: Value,
    /// What it printed on the way.
    pub said: String,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Answer { code, status, headers, body, transfer, said, .. } = self;
        let start = String::from_utf8_lossy(&body[..body.len().min(200)]);
        write!(f, "curl {code}, {status}, {headers}, {} bytes: {start:?}\n{transfer}\n{said}", body.len())
    }
}

impl Answer {
    /// The first header line of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers[name][0].as_str()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Divides what [`curl_command`] has curl print; nothing else prints it.
const MARK: char = '\u{1}';

/// `curl ARGUMENTS` on the client. Whatever host a URL names is the balancer; the certificate of [`start`] is trusted.
pub fn curl_command(lab: &Lab, arguments: &[&str]) -> Command {
    let mut command = lab.command(CLIENT, "curl").expect("the lab has a client");
    command.args(["--silent", "--show-error", "--max-time", "60", "--cacert", &authority(lab)]);
    command.args(["--connect-to", &format!("::{VIP_A}:")]);
    command.args(["--write-out", &format!("%{{stderr}}{MARK}%{{json}}{MARK}%{{header_json}}")]);
    command.args(arguments).stdin(Stdio::null());
    command
}

/// What became of the one request of a [`curl_command`].
#[track_caller]
pub fn answer(output: Output) -> Answer {
    let printed = String::from_utf8(output.stderr).expect("text");
    let parts: Vec<&str> = printed.split(MARK).collect();
    let [said, transfer, headers] = parts[..] else { panic!("not of one request: {printed}") };
    let [transfer, headers] = [transfer, headers]
        .map(|json| serde_json::from_str::<Value>(json).unwrap_or_else(|error| panic!("{error}: {json}")));
    Answer {
        code: output.status.code().expect("curl ends by itself"),
        status: transfer["response_code"].as_u64().expect("a number"),
        version: transfer["http_version"].as_str().expect("text").to_owned(),
        headers,
        body: output.stdout,
        transfer,
        said: said.to_owned(),
    }
}

/// One request by curl.
#[track_caller]
pub fn curl(lab: &Lab, arguments: &[&str]) -> Answer {
    answer(curl_command(lab, arguments).output().expect("curl can be started"))
}

/// Where `cargo xtask setup` puts the interpreter of the Python clients.
fn interpreter() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/clients/bin/python"))
}

/// Whether the Python clients are there; otherwise says that the test named `test` is skipped.
pub fn python(test: &str) -> bool {
    let installed = interpreter().parent().and_then(|bin| bin.parent()).expect("has folders").to_owned();
    let installed = fs::read_to_string(installed.join("requirements.txt"));
    let is_there = installed.is_ok_and(|list| list == include_str!("requirements.txt"));
    requirement::met(test, is_there, "no Python clients; run `cargo xtask setup`")
}

/// Arguments that run a program of this folder: `NAME.py`.
pub fn python_words(name: &str) -> [String; 3] {
    let program = format!("{}/end_to_end/clients/{name}.py", env!("CARGO_MANIFEST_DIR"));
    // -u: what it printed is there when it has failed.
    [interpreter().display().to_string(), "-u".into(), program]
}

/// What the program `NAME.py` of this folder prints on the client, a JSON value per line.
///
/// # Panics
/// If it fails, with what it said.
#[track_caller]
pub fn run_python(lab: &Lab, name: &str, arguments: &[&str]) -> Vec<Value> {
    let words = python_words(name);
    let words: Vec<&str> = words.iter().map(String::as_str).chain(arguments.iter().copied()).collect();
    let printed = lab.run(CLIENT, &words).expect("the client says what it saw");
    printed.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}
