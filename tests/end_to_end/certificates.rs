//! Certificates of an HTTPS listener: added, shown to clients, renewed under load, lost and added again.

use crate::{fast_resources, lab_with};
use causeway_lab::{CLIENT, ECS01, ECS02, Lab, LabOptions, VIP_A, Variant, index_page};
use controller::api::{ListenerStatus, ListenerView};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use std::fs;
use std::process::{Output, Stdio};
use tests::balancer::{Balancer, PATIENCE, edited, wait_until};

/// What clients ask for.
const NAME: &str = "www.example.com";
/// Seconds from 1970 to 2090-01-01.
const END: f64 = 3_786_912_000.0;
/// curl's exit code where the server's certificate is not one that it trusts.
const NOT_TRUSTED: i32 = 60;

/// A certificate signed by itself for `name`, and its key, in files of the lab; their paths.
pub fn certificate(lab: &Lab, file: &str, name: &str) -> (String, String) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    params.not_after = date_time_ymd(2090, 1, 1);
    let key = KeyPair::generate().expect("a key");
    let path = |ending: &str| lab.layout().run_dir().join(format!("{file}{ending}")).display().to_string();
    let (certificate, key_path) = (path(".pem"), path(".key"));
    fs::write(&certificate, params.self_signed(&key).expect("signed").pem()).expect("the lab's folder");
    fs::write(&key_path, key.serialize_pem()).expect("the lab's folder");
    (certificate, key_path)
}

/// `curl` on the client, trusting `authority` alone, for `path` of the HTTPS listener.
fn curl(lab: &Lab, authority: &str, path: &str, arguments: &[&str]) -> std::process::Command {
    let mut command = lab.command(CLIENT, "curl").expect("the lab has a client");
    command.args(["--silent", "--show-error", "--fail", "--cacert", authority]);
    command.args(["--resolve", &format!("{NAME}:443:{VIP_A}"), &format!("https://{NAME}{path}")]);
    command.args(arguments).stdin(Stdio::null());
    command
}

fn get(lab: &Lab, authority: &str) -> Output {
    curl(lab, authority, "/", &[]).output().expect("curl can be started")
}

#[track_caller]
fn assert_served(lab: &Lab, authority: &str) {
    let output = get(lab, authority);
    let body = String::from_utf8_lossy(&output.stdout);
    let is_page = [ECS01, ECS02].iter().any(|server| body == index_page(server));
    assert!(is_page, "{}: {body} {}", output.status, String::from_utf8_lossy(&output.stderr));
}

fn listener(balancer: &Balancer<'_>) -> ListenerView {
    let json = balancer.command(&["get", "listeners", "https", "-o", "json"]);
    serde_json::from_str::<Vec<ListenerView>>(&json).expect("listeners").remove(0)
}

// Holds LR-24
#[test]
fn certificates_are_renewed_under_load_and_outlive_a_loss() {
    let test = "certificates_are_renewed_under_load_and_outlive_a_loss";
    let options = LabOptions { id: "e2ecerts".into(), ..LabOptions::default() };
    let Some(lab) = lab_with(test, options) else { return };
    let http = fast_resources(Variant::Vswitch);
    let line = "  - {name: http, load_balancer: alb1, protocol: HTTP, port: 80, server_group: web}\n";
    let https = line.replace("http,", "https,").replace("HTTP, port: 80", "HTTPS, port: 443");
    let https = https.replace("}\n", ", certificates: [www]}\n");
    let https = edited(&http, &[(line, &format!("{line}{https}"))]);
    let balancer = Balancer::start_resources(&lab, &http);
    balancer.wait_until_healthy();
    let (old, old_key) = certificate(&lab, "old", NAME);
    let (new, new_key) = certificate(&lab, "new", NAME);

    // Nothing names what is not there.
    let file = balancer.files().resources_file;
    fs::write(&file, &https).expect("the lab's folder is writable");
    let refused = balancer.refused(&["apply", "-f", &file.display().to_string()]);
    assert!(
        refused.contains("[ResourceNotFound.Certificate]") && refused.contains("certificate add"),
        "{refused}"
    );
    let refused = balancer.refused(&["certificate", "add", "www", "--certificate", &old, "--key", &new_key]);
    assert!(refused.contains("[Mismatch.PrivateKey]"), "{refused}");
    let added = balancer.command(&["certificate", "add", "www", "--certificate", &old, "--key", &old_key]);
    assert!(added.starts_with("certificate \"www\" is kept: www.example.com; ECDSA P-256;"), "{added}");
    balancer.apply(&https);
    assert_eq!(listener(&balancer).status, ListenerStatus::Running);
    assert_served(&lab, &old);
    assert_eq!(get(&lab, &new).status.code(), Some(NOT_TRUSTED));

    // A download that begins before the renewal goes on after it; every handshake after the answer is with the new one.
    let big = lab.layout().run_dir().join("downloaded");
    let mut command =
        curl(&lab, &old, "/big", &["--limit-rate", "20M", "--output", &big.display().to_string()]);
    let mut download = command.spawn().expect("curl can be started");
    wait_until("the download has begun", PATIENCE, || match fs::metadata(&big) {
        Ok(file) if file.len() > 0 => Ok(()),
        other => Err(other.map(|file| file.len())),
    });
    balancer.command(&["certificate", "renew", "www", "--certificate", &new, "--key", &new_key]);
    assert_served(&lab, &new);
    assert_eq!(get(&lab, &old).status.code(), Some(NOT_TRUSTED));
    assert_eq!(
        download.try_wait().expect("a child"),
        None,
        "the download was to last longer than the renewal"
    );
    assert!(download.wait().expect("a child").success());
    let whole = fs::read(lab.layout().big_file()).expect("the lab wrote it");
    assert!(fs::read(&big).expect("downloaded") == whole, "not a byte lost");

    let refused = balancer.refused(&["certificate", "remove", "www"]);
    assert!(refused.contains("[ResourceInUse.Certificate]") && refused.contains("\"https\""), "{refused}");
    let end = balancer.metric("causeway_certificate_expiry_timestamp_seconds", &[("certificate", "www")]);
    assert_eq!(end, END);
    let described = balancer.command(&["describe", "listener", "https"]);
    assert!(described.contains("www: www.example.com; ECDSA P-256; until 2090-01-01"), "{described}");
    let key = fs::read_to_string(&new_key).expect("the key");
    let secret = key.lines().nth(1).expect("base64");
    let shown =
        balancer.command(&["get", "resources"]) + &balancer.command(&["certificate", "list", "-o", "json"]);
    assert!(!(shown + &balancer.output()).contains(secret), "keys are not shown");

    // What was acknowledged outlives a kill.
    balancer.kill();
    let balancer = Balancer::start_with(&lab, &[]);
    balancer.wait_until_healthy();
    assert_served(&lab, &new);

    // A certificate that vanished keeps its listener waiting, and nothing else; adding it again completes that.
    balancer.kill();
    fs::remove_file(lab.layout().state_dir().join("certificates/www.pem")).expect("the certificate's file");
    let balancer = Balancer::start_with(&lab, &[]);
    balancer.wait_until_healthy();
    let waiting = listener(&balancer);
    assert_eq!(waiting.status, ListenerStatus::Provisioning);
    assert_eq!(waiting.problem.as_deref(), Some("certificate \"www\" is missing"));
    assert!(balancer.output().contains("certificate \"www\" is missing"), "{}", balancer.output());
    lab.run(CLIENT, &["curl", "--silent", "--fail", &format!("http://{VIP_A}/")]).expect("HTTP is served");
    balancer.command(&["certificate", "add", "www", "--certificate", &new, "--key", &new_key]);
    assert_eq!(listener(&balancer).status, ListenerStatus::Running);
    assert_served(&lab, &new);
    balancer.stop();
}
