//! The `causeway` program as an operator runs it: what it prints where, and its exit codes.

use controller::api::server::ApiServer;
use controller::api::{
    CertificateView, KeptAddress, Kind, Request, ResourcesView, Response, RouteTarget, RouteView, ServerView,
    View,
};
use controller::certificate::Certificate;
use controller::config::edit::{Operation, edit};
use controller::config::{
    CertificateChange, CertificateEdit, Change, ChangeKind, Held, Warnings, change_certificate, changes,
    parse_node, parse_resources,
};
use controller::model::{CertificateName, Resources};
use controller::store::Revision;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tokio::sync::{mpsc, oneshot};

const NODE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/config/tests/node.yaml");
const RESOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/config/tests/resources.yaml");

fn causeway(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_causeway"))
        .args(arguments)
        .env_remove("CAUSEWAY_SOCKET")
        .stdin(Stdio::null())
        .output()
        .expect("the program can be started")
}

/// Exit code, standard output and standard error.
fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    (output.status.code().expect("not killed"), text(&output.stdout), text(&output.stderr))
}

/// The tutorial's resources with a weight of 101, in a file.
fn wrong_resources(directory: &Path) -> PathBuf {
    let text = std::fs::read_to_string(RESOURCES)
        .unwrap()
        .replace("port: 80, weight: 100}", "port: 80, weight: 101}");
    let path = directory.join("wrong.yaml");
    std::fs::write(&path, text).unwrap();
    path
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap()
}

fn kept() -> KeptAddress {
    KeptAddress {
        group: "shop".into(),
        server: "ecs i-web1".into(),
        address: "172.16.1.20:80".parse().unwrap(),
        inventory: "172.16.1.60".parse().unwrap(),
    }
}

/// A server of group "web" with nothing in flight.
fn server_view(address: &str) -> ServerView {
    let json = format!(
        r#"{{"group":"web","id":null,"address":"{address}","weight":0,"effective_weight":0.0,"health":"Unused",
            "failure":null,"since_secs":1,"evidence":null,"next_probe_ms":null,"in_slow_start":false,"slow_start":null,
            "is_draining":false,"drains":[],"zone":null,"remote_ip":false,"description":null,"path":{{"via":"local"}},
            "counters":{{"active":0,"requests":0,"connections":0,"connect_failures":0,"request_failures":0,"flows":0,
            "l4":{{"packets":0,"bytes":0,"reply_packets":0,"reply_bytes":0}}}}}}"#
    );
    serde_json::from_str(&json).unwrap()
}

/// What a real controller would answer while the tutorial's resources are in force.
fn edited(operation: &Operation) -> Response {
    let node = parse_node(&read(NODE), NODE).unwrap();
    let before = read(RESOURCES);
    match edit(&node, &before, operation) {
        Ok(edited) => Response::Edited {
            revision: Revision(8),
            changes: changes(&parse_resources(&before, RESOURCES).unwrap().value, &edited.parsed.value),
            warnings: edited.new_warnings,
        },
        Err(denials) => Response::Denied { denials },
    }
}

/// 15 June 2026.
const NOW: i64 = 1_781_524_800;

fn certificate_view(name: &CertificateName, certificate: &Certificate) -> CertificateView {
    let listeners = if name.as_str() == "used" { vec!["https".into()] } else { vec![] };
    CertificateView::new(name, certificate, listeners, NOW)
}

/// What a real controller would answer with these certificates and no listener.
fn certificate_changed(
    change: &CertificateChange,
    certificates: &mut BTreeMap<CertificateName, Certificate>,
) -> Response {
    let edit =
        change_certificate(change, Held { certificates: &*certificates, now: NOW }, &Resources::default());
    match edit {
        Err(denials) => Response::Denied { denials },
        Ok(CertificateEdit { name, certificate: None, .. }) => {
            certificates.remove(&name);
            Response::CertificateRemoved
        }
        Ok(CertificateEdit { name, certificate: Some(certificate), warnings }) => {
            let view = certificate_view(&name, &certificate);
            certificates.insert(name, certificate);
            Response::CertificateKept { certificate: view, warnings }
        }
    }
}

/// Files with a certificate for `names` until the end of 2026, and its key; their paths.
fn certificate_files(directory: &Path, names: &[&str]) -> (String, String) {
    let mut params =
        CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    params.not_after = date_time_ymd(2026, 12, 31);
    let key = KeyPair::generate().unwrap();
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let (certificate, key_path) = (path("certificate.pem"), path("key.pem"));
    std::fs::write(&certificate, params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(&key_path, key.serialize_pem()).unwrap();
    (certificate, key_path)
}

/// A controller that answers what a real one would, as far as these tests go. Runs until the returned runtime drops.
fn pretended_controller(socket: &Path) -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let guard = runtime.enter();
    let server = ApiServer::bind(socket).unwrap();
    let (control, mut requests) = mpsc::channel::<(Request, oneshot::Sender<Response>)>(1);
    runtime.spawn(server.serve(control));
    runtime.spawn(async move {
        let mut certificates = BTreeMap::new();
        while let Some((request, answer)) = requests.recv().await {
            let response = match request {
                // One that does not follow has a server that would move.
                Request::Apply { file_name, text, follow } => match parse_resources(&text, &file_name) {
                    Ok(_) => Response::Applied {
                        revision: Revision(7),
                        changes: vec![Change {
                            kind: ChangeKind::Changed,
                            subject: "server group \"web\", server 172.16.1.20:80".into(),
                            detail: "weight 100 -> 50".into(),
                        }],
                        warnings: Warnings::default(),
                        kept: if follow || file_name == RESOURCES { vec![] } else { vec![kept()] },
                    },
                    Err(errors) => Response::Refused { errors },
                },
                Request::Diff { .. } => {
                    Response::Difference { changes: vec![], warnings: Warnings::default(), kept: vec![] }
                }
                Request::Edit { operation } => edited(&operation),
                Request::Explain { .. } => Response::Failed { message: "nothing to explain".into() },
                Request::Certificate { change } => certificate_changed(&change, &mut certificates),
                Request::Get { kind: Kind::Certificates, name: None } => Response::View {
                    view: View::Certificates(
                        certificates
                            .iter()
                            .map(|(name, certificate)| certificate_view(name, certificate))
                            .collect(),
                    ),
                },
                Request::RotateCookieKey => Response::CookieKeyRotated,
                Request::Get { kind: Kind::Resources, name } if name.as_deref() == Some("3") => {
                    Response::View {
                        view: View::Resources(ResourcesView {
                            revision: Some(Revision(3)),
                            text: read(RESOURCES),
                        }),
                    }
                }
                Request::Get { kind: Kind::Servers, name: Some(_) } => Response::View {
                    view: View::Servers(vec![server_view("172.16.1.20:80"), server_view("192.168.1.20:80")]),
                },
                Request::Get { .. } => Response::View {
                    view: View::Routes(vec![RouteView {
                        vpc: "vpc1".into(),
                        destination: "172.16.0.0/12".into(),
                        target: RouteTarget::Local,
                    }]),
                },
                Request::Status => Response::Failed { message: "no status today; ask tomorrow".into() },
            };
            let _ = answer.send(response);
        }
    });
    drop(guard);
    runtime
}

#[test]
fn check_accepts_good_files_and_exits_0() {
    let (code, out, err) = told(&causeway(&["check", RESOURCES, NODE]));
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(out, format!("{NODE}, {RESOURCES}: ok\n"));
}

#[test]
fn check_shows_errors_with_their_lines_and_exits_2() {
    let directory = tempfile::tempdir().unwrap();
    let wrong = wrong_resources(directory.path());
    let wrong = wrong.to_str().unwrap();
    let (code, out, err) = told(&causeway(&["check", wrong, "--node", NODE]));
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains(&format!("--> {wrong}:52:50\n")) && err.ends_with("1 error\n"), "{err}");

    let (code, out, err) = told(&causeway(&["check", "-o", "json", wrong]));
    assert_eq!((code, err.as_str()), (2, ""));
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["errors"][0]["value"], "weight 101");
}

#[test]
fn check_exits_1_when_there_is_nothing_to_judge() {
    let (code, _, err) = told(&causeway(&["check", "/does/not/exist.yaml"]));
    assert_eq!(
        (code, err.as_str()),
        (1, "error: read /does/not/exist.yaml: No such file or directory (os error 2)\n")
    );
    let directory = tempfile::tempdir().unwrap();
    let other = directory.path().join("other.yaml");
    std::fs::write(&other, "colour: red\n").unwrap();
    let (code, _, err) = told(&causeway(&["check", other.to_str().unwrap()]));
    assert_eq!(code, 1);
    assert!(err.contains("say so with --node FILE or --resources FILE"), "{err}");
}

#[test]
fn says_in_one_sentence_that_nothing_runs() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("api.sock");
    let (code, out, err) = told(&causeway(&["get", "servers", "--socket", socket.to_str().unwrap()]));
    assert_eq!((code, out.as_str()), (1, ""));
    assert_eq!(
        err,
        format!(
            "error: causeway is not running: nobody answers on {}; start it with `causeway run`, or name its socket \
             with --socket\n",
            socket.display()
        )
    );
}

#[test]
fn apply_diff_and_get_talk_to_the_running_controller() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("api.sock");
    let _controller = pretended_controller(&socket);
    let socket = socket.to_str().unwrap();

    let (code, out, err) = told(&causeway(&["apply", "-f", RESOURCES, "--socket", socket]));
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(
        out,
        "~ server group \"web\", server 172.16.1.20:80: weight 100 -> 50\nrevision 7 is in force; 1 change\n"
    );

    let wrong = wrong_resources(directory.path());
    let (code, out, err) = told(&causeway(&["apply", "-f", wrong.to_str().unwrap(), "--socket", socket]));
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("weight 101: outside 0 to 100"), "{err}");

    let (code, out, _) = told(&causeway(&["diff", "-f", RESOURCES, "--socket", socket]));
    assert_eq!((code, out.as_str()), (0, "nothing would change\n"));

    let (code, out, _) = told(&causeway(&["get", "routes", "-o", "json", "--socket", socket]));
    assert_eq!(code, 0);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&out).unwrap()[0]["target"]["type"], "local");

    let moved = directory.path().join("moved.yaml");
    std::fs::copy(RESOURCES, &moved).unwrap();
    let apply = ["apply", "-f", moved.to_str().unwrap(), "--socket", socket];
    let (code, _, err) = told(&causeway(&apply));
    assert_eq!(
        (code, err.as_str()),
        (
            0,
            "warning: server group \"shop\" keeps ecs i-web1 at 172.16.1.20:80; the inventory has it at 172.16.1.60\n\
             `causeway apply --follow` moves servers to their new addresses\n"
        )
    );
    let (code, _, err) = told(&causeway(&[&apply[..], &["--follow"]].concat()));
    assert_eq!((code, err.as_str()), (0, ""));

    let (code, out, err) = told(&causeway(&["rollback", "3", "--socket", socket]));
    assert_eq!((code, err.as_str()), (0, ""), "a revision is taken as it is");
    assert!(out.ends_with("revision 7 is in force; 1 change\n"), "{out}");
    let (code, _, _) = told(&causeway(&["rollback", "4", "--socket", socket]));
    assert_eq!(code, 1, "an answer to another question is not applied");

    let (code, _, err) = told(&causeway(&["get", "servers", "--socket", socket]));
    assert_eq!(code, 1, "an answer to another question is not shown: {err}");

    let (code, _, err) = told(&causeway(&["status", "--socket", socket]));
    assert_eq!((code, err.as_str()), (1, "error: no status today; ask tomorrow\n"));
}

// Holds SG-225
#[test]
fn server_commands_change_what_is_in_force_and_say_so() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("api.sock");
    let _controller = pretended_controller(&socket);
    let socket = socket.to_str().unwrap();
    let run = |arguments: &[&str]| told(&causeway(&[arguments, &["--socket", socket]].concat()));

    let same_for_all =
        ["server", "add", "web", "172.16.1.21", "172.16.1.22:81", "--port", "80", "--weight", "50"];
    assert_eq!(
        run(&same_for_all),
        (
            0,
            "+ server group \"web\", server 172.16.1.21:80\n+ server group \"web\", server 172.16.1.22:81\n\
             revision 8 is in force; 2 changes\n"
                .into(),
            String::new()
        )
    );
    let (_, out, _) = run(&["server", "remove", "web", "172.16.1.20:80"]);
    assert_eq!(out, "- server group \"web\", server 172.16.1.20:80\nrevision 8 is in force; 1 change\n");
    let (_, out, _) = run(&["server", "set", "web", "172.16.1.20", "192.168.1.20", "--weight", "0"]);
    assert_eq!(out.matches(": weight 100 -> 0\n").count(), 2, "{out}");
    let (_, out, _) = run(&["server", "weight", "web", "172.16.1.20:80=30", "192.168.1.20:80=70"]);
    assert!(
        out.contains("172.16.1.20:80: weight 100 -> 30\n") && out.contains(": weight 100 -> 70\n"),
        "{out}"
    );
    let (_, out, _) =
        run(&["server", "replace", "web", "--add", "172.16.1.21:80", "--remove", "172.16.1.20:80"]);
    assert!(out.ends_with("revision 8 is in force; 2 changes\n"), "{out}");
    let (code, out, _) = run(&["server", "weight", "web", "172.16.1.20:80=100"]);
    assert_eq!((code, out.as_str()), (0, "nothing changed; revision 8 is in force\n"));
}

// Holds SG-162
#[test]
fn drain_sets_weight_0_waits_and_removes() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("api.sock");
    let _controller = pretended_controller(&socket);
    let socket = socket.to_str().unwrap();
    let drain = ["server", "drain", "web", "172.16.1.20", "--remove", "--socket", socket];
    assert_eq!(
        told(&causeway(&drain)),
        (
            0,
            "~ server group \"web\", server 172.16.1.20:80: weight 100 -> 0\nrevision 8 is in force; 1 change\n\
             172.16.1.20:80: nothing in flight after 0s\n\
             - server group \"web\", server 172.16.1.20:80\nrevision 8 is in force; 1 change\n"
                .into(),
            String::new()
        )
    );
    let (_, out, _) = told(&causeway(&["server", "remove", "web", "--all", "--socket", socket]));
    assert!(out.ends_with("revision 8 is in force; 2 changes\n"), "{out}");
    let (code, out, _) = told(&causeway(&["cookie-key", "rotate", "--socket", socket]));
    assert!(code == 0 && out.starts_with("sticky cookies are sealed with a new key"), "{out}");
}

#[test]
fn certificates_are_added_listed_renewed_and_removed() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("api.sock");
    let _controller = pretended_controller(&socket);
    let socket = socket.to_str().unwrap();
    let run = |arguments: &[&str]| told(&causeway(&[arguments, &["--socket", socket]].concat()));
    let (certificate, key) = certificate_files(directory.path(), &["www.example.com", "*.example.com"]);
    let files = ["--certificate", &certificate, "--key", &key];

    let added = run(&[&["certificate", "add", "used"][..], &files].concat());
    assert_eq!(
        added,
        (
            0,
            "certificate \"used\" is kept: www.example.com, *.example.com; ECDSA P-256; valid until 2026-12-31 (198 days)\n\
             served by https\n"
                .into(),
            String::new()
        )
    );
    let list = run(&["certificate", "list"]);
    assert_eq!(
        list,
        (
            0,
            "NAME  NOT AFTER   DAYS  KEY          LISTENERS  NAMES\n\
             used  2026-12-31   198  ECDSA P-256  https      www.example.com, *.example.com\n"
                .into(),
            String::new()
        )
    );
    assert_eq!(run(&["get", "certificates"]), list);
    let (_, wide, _) = run(&["certificate", "list", "-o", "wide"]);
    assert!(wide.contains("SHA-256") && wide.contains("CN=rcgen self signed cert"), "{wide}");
    for output in ["table", "wide", "json", "yaml"] {
        let (code, out, _) = run(&["certificate", "list", "-o", output]);
        assert!(code == 0 && out.contains("www.example.com") && !out.contains("PRIVATE"), "{out}");
    }
    let (_, json, _) = run(&["get", "certificates", "-o", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json[0]["days_left"], &json[0]["not_after"]), (&198.into(), &1_798_675_200.into()));

    let (certificate, key) = certificate_files(directory.path(), &["www.example.com"]);
    let files = ["--certificate", &certificate, "--key", &key];
    let (code, out, err) = run(&[&["certificate", "renew", "used"][..], &files].concat());
    assert_eq!(
        (code, out.starts_with("certificate \"used\" is renewed: www.example.com; ")),
        (0, true),
        "{out}"
    );
    assert_eq!(
        err,
        "warning: certificate \"used\": name \"*.example.com\": the certificate before it had this name; is that \
         meant?\n"
    );
    let (code, out, _) = run(&["certificate", "remove", "used"]);
    assert_eq!((code, out.as_str()), (0, "certificate \"used\" is removed\n"));
    let (code, _, err) = run(&["certificate", "remove", "used"]);
    assert_eq!(code, 2);
    assert!(
        err.starts_with("error[ResourceNotFound.Certificate]: certificate \"used\": there is none"),
        "{err}"
    );
}

#[test]
fn files_that_are_no_certificates_are_told_apart_from_files_that_are_not_there() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("api.sock");
    let _controller = pretended_controller(&socket);
    let (certificate, key) = certificate_files(directory.path(), &["a.example"]);
    let add = |certificate: &str, key: &str| {
        let socket = socket.to_str().unwrap();
        let files =
            ["certificate", "add", "www", "--certificate", certificate, "--key", key, "--socket", socket];
        told(&causeway(&files))
    };
    let der = directory.path().join("certificate.der");
    std::fs::write(&der, [0x30, 0x82, 0xff, 0xfe]).unwrap();
    let (code, out, err) = add(der.to_str().unwrap(), &certificate);
    assert_eq!((code, out.as_str()), (2, ""));
    assert_eq!(
        err,
        "error[IllegalParam.Certificate]: certificate \"www\": there is no certificate in its file; name the PEM file that \
         begins with `-----BEGIN CERTIFICATE-----`; `openssl x509 -inform der -in FILE` makes one of a DER file\n\
         error[IllegalParam.PrivateKey]: certificate \"www\": the key's file holds a certificate; name the key after \
         --key\n\
         2 errors; nothing was changed\n"
    );
    let (code, _, err) = add("/does/not/exist.pem", &key);
    assert_eq!(
        (code, err.as_str()),
        (1, "error: read /does/not/exist.pem: No such file or directory (os error 2)\n")
    );
}

#[test]
fn refused_changes_exit_2_with_every_reason() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("api.sock");
    let _controller = pretended_controller(&socket);
    let socket = socket.to_str().unwrap();
    let servers =
        ["server", "add", "web", "172.16.1.20:80", "172.16.1.21:80", "--weight", "101", "--socket", socket];
    assert_eq!(
        told(&causeway(&servers)),
        (
            2,
            String::new(),
            "error[ResourceAlreadyExist.Server]: server group \"web\", server 172.16.1.20:80: the group has it already; \
             change its weight with `causeway server set`\n\
             error[IllegalParam.Weight]: server group \"web\", server 172.16.1.21:80: weight 101: outside 0 to 100; write \
             a number from 0 to 100\n\
             2 errors; nothing was changed\n"
                .into()
        )
    );
    let (code, _, err) = told(&causeway(&["server-group", "delete", "web", "--socket", socket]));
    assert_eq!(code, 2);
    assert!(
        err.starts_with("error[ResourceInUse.ServerGroup]: server group \"web\": it is used by listener"),
        "{err}"
    );
}

#[test]
fn arguments_that_make_no_sense_exit_2_and_say_what_to_write() {
    for (arguments, hint) in [
        (&["server", "add", "web"][..], "<SERVER>"),
        (&["server", "remove", "web"], "<SERVER>"),
        (&["server", "set", "web", "172.16.1.20:80"], "--weight"),
        (&["server", "weight", "web", "172.16.1.20:80"], "172.16.1.20:80=50"),
        (&["server", "weight", "web", "172.16.1.20:80=much"], "a number from 0 to 100"),
        (&["server", "replace", "web", "--add", "172.16.1.21:80"], "--remove"),
        (&["server", "replace", "web", "--remove", "172.16.1.21:80"], "--add"),
        (&["server", "remove", "web", "172.16.1.20:80", "--all"], "--all"),
        (&["server", "drain", "web"], "<SERVER>"),
        (&["describe", "server", "web"], "<SERVER>"),
        (&["get", "everything"], "server-groups"),
        (&["rollback"], "<REVISION>"),
        (&["certificate", "add", "www", "--certificate", "www.pem"], "--key <FILE>"),
        (&["certificate", "remove"], "<NAME>"),
        (&["server", "add", "web", "172.16.1.21:80", "--weight", "x"], "--weight <WEIGHT>"),
    ] {
        let (code, out, err) = told(&causeway(arguments));
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}");
        assert!(err.contains(hint), "{arguments:?}: {err}");
    }
}
