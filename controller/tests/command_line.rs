//! The `causeway` program as an operator runs it: what it prints where, and its exit codes.

use controller::api::server::ApiServer;
use controller::api::{Request, Response, RouteTarget, RouteView, View};
use controller::config::edit::{Operation, edit};
use controller::config::{Change, ChangeKind, Warnings, changes, parse_node, parse_resources};
use controller::store::Revision;
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

/// What a real controller would answer while the tutorial's resources are in force.
fn edited(operation: &Operation) -> Response {
    let read = |path: &str| std::fs::read_to_string(path).unwrap();
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

/// A controller that answers what a real one would, as far as these tests go. Runs until the returned runtime drops.
fn pretended_controller(socket: &Path) -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let guard = runtime.enter();
    let server = ApiServer::bind(socket).unwrap();
    let (control, mut requests) = mpsc::channel::<(Request, oneshot::Sender<Response>)>(1);
    runtime.spawn(server.serve(control));
    runtime.spawn(async move {
        while let Some((request, answer)) = requests.recv().await {
            let response = match request {
                Request::Apply { file_name, text } => match parse_resources(&text, &file_name) {
                    Ok(_) => Response::Applied {
                        revision: Revision(7),
                        changes: vec![Change {
                            kind: ChangeKind::Changed,
                            subject: "server group \"web\", server 172.16.1.20:80".into(),
                            detail: "weight 100 -> 50".into(),
                        }],
                        warnings: Warnings::default(),
                    },
                    Err(errors) => Response::Refused { errors },
                },
                Request::Diff { .. } => {
                    Response::Difference { changes: vec![], warnings: Warnings::default() }
                }
                Request::Get { .. } => Response::View {
                    view: View::Routes(vec![RouteView {
                        vpc: "vpc1".into(),
                        destination: "172.16.0.0/12".into(),
                        target: RouteTarget::Local,
                    }]),
                },
                Request::Edit { operation } => edited(&operation),
                Request::RotateCookieKey | Request::Status => {
                    Response::Failed { message: "no status today; ask tomorrow".into() }
                }
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
        (&["server", "add", "web", "172.16.1.21:80", "--weight", "x"], "--weight <WEIGHT>"),
    ] {
        let (code, out, err) = told(&causeway(arguments));
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}");
        assert!(err.contains(hint), "{arguments:?}: {err}");
    }
}
