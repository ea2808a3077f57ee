//! The two servers with real sockets and a control loop that answers what the test wants.

use super::client::{Client, ClientError};
use super::metrics::MetricsSnapshot;
use super::server::{ApiServer, BindError};
use super::*;
use crate::config::ErrorFamily;
use crate::config::edit::{NewServer, ServerSettings};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{mpsc, oneshot};

fn status() -> Response {
    Response::Status {
        status: StatusView {
            version: "0.1.0".into(),
            node: "lb".into(),
            pid: 1,
            uptime_secs: 2,
            revision: Some(Revision(3)),
            snapshot_sequence: 4,
            workers: 5,
        },
    }
}

/// A server on a socket in a new directory, with a loop that answers [`status`] to everything.
fn start() -> (tempfile::TempDir, PathBuf, tokio::task::JoinHandle<()>) {
    start_with(status())
}

/// As [`start`], with this answer.
fn start_with(response: Response) -> (tempfile::TempDir, PathBuf, tokio::task::JoinHandle<()>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run/api.sock");
    let server = ApiServer::bind(&path).unwrap();
    let (control, mut requests) = mpsc::channel::<(Request, oneshot::Sender<Response>)>(1);
    tokio::spawn(async move {
        while let Some((_, answer)) = requests.recv().await {
            let _ = answer.send(response.clone());
        }
    });
    (directory, path, tokio::spawn(server.serve(control)))
}

/// What the server answers to `bytes`, until it closes or we have heard one line for each of ours.
async fn exchange(path: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn answers_every_request_of_a_connection() {
    let (_directory, path, _server) = start();
    let answers = tokio::task::spawn_blocking(move || {
        let mut client = Client::connect(&path).unwrap();
        [
            client.call(&Request::Status).unwrap(),
            client.call(&Request::Get { kind: Kind::Servers, name: None }).unwrap(),
        ]
    });
    assert_eq!(answers.await.unwrap(), [status(), status()]);
}

#[tokio::test]
async fn lets_only_the_owner_connect() {
    let (_directory, path, _server) = start();
    assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn says_what_it_did_not_understand_and_closes() {
    let (_directory, path, _server) = start();
    let answer = exchange(&path, b"{\"request\":\"reboot\"}\n{\"request\":\"status\"}\n").await;
    let lines: Vec<&str> = answer.lines().collect();
    assert_eq!(lines.len(), 1, "{answer}");
    let Response::Failed { message } = serde_json::from_str(lines[0]).unwrap() else { panic!("{answer}") };
    assert!(message.contains("unknown variant `reboot`"), "{message}");
}

#[tokio::test]
async fn refuses_a_line_without_end() {
    let (_directory, path, _server) = start();
    let mut stream = UnixStream::connect(&path).await.unwrap();
    // The server answers and closes as soon as it has seen too much; the rest cannot be written.
    let _ = stream.write_all(&vec![b' '; LINE_BYTES_MAX + 1]).await;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("request longer than 8388608 bytes"), "{answer}");
}

#[tokio::test]
async fn says_so_when_there_is_more_to_tell_than_a_client_takes() {
    let text = format!("server_groups: [{}]", "{name: x, a: 1, b: 2, c: 3},".repeat(20_000));
    let errors = crate::config::parse_resources(&text, "many.yaml").unwrap_err();
    let count = errors.findings().len();
    let (_directory, path, _server) = start_with(Response::Refused { errors });
    let answer = exchange(&path, b"{\"request\":\"status\"}\n").await;
    let Response::Failed { message } = serde_json::from_str(&answer).unwrap() else { panic!("{answer}") };
    assert!(
        count > 60_000 && message.starts_with(&format!("{count} errors, nothing was changed;")),
        "{message}"
    );
    assert!(message.contains("causeway check"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn drops_a_client_that_says_nothing() {
    let (_directory, path, _server) = start();
    let mut silent = UnixStream::connect(&path).await.unwrap();
    let mut byte = [0];
    assert_eq!(silent.read(&mut byte).await.unwrap(), 0, "closed when the deadline is over");
}

#[tokio::test]
async fn serves_others_while_many_clients_say_nothing() {
    let (_directory, path, _server) = start();
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(UnixStream::connect(&path).await.unwrap());
    }
    let answer = exchange(&path, b"{\"request\":\"status\"}\n").await;
    assert_eq!(serde_json::from_str::<Response>(&answer).unwrap(), status());
}

#[tokio::test]
async fn says_that_the_controller_is_stopping_when_it_gives_no_answer() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api.sock");
    let (control, requests) = mpsc::channel(1);
    drop(requests);
    tokio::spawn(ApiServer::bind(&path).unwrap().serve(control));
    let answer = exchange(&path, b"{\"request\":\"status\"}\n").await;
    assert!(answer.contains("the controller is stopping"), "{answer}");
}

#[tokio::test]
async fn replaces_the_socket_of_a_dead_controller_but_not_of_a_living_one() {
    let (_directory, path, server) = start();
    assert!(matches!(ApiServer::bind(&path), Err(BindError::InUse { .. })));
    server.abort();
    assert!(server.await.unwrap_err().is_cancelled());
    assert!(!path.exists(), "a controller that ends removes its socket");

    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "one that is killed leaves it");
    ApiServer::bind(&path).unwrap();
}

#[tokio::test]
async fn tells_apart_not_running_and_not_permitted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api.sock");
    let error = Client::connect(&path).unwrap_err();
    assert!(matches!(error, ClientError::NotRunning { .. }));
    assert_eq!(
        error.to_string(),
        format!(
            "causeway is not running: nobody answers on {}; start it with `causeway run`, or name its socket with \
             --socket",
            path.display()
        )
    );
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(matches!(Client::connect(&path).unwrap_err(), ClientError::NotRunning { .. }));
}

#[test]
fn requests_and_responses_read_as_documented() {
    let request = Request::Apply { file_name: "r.yaml".into(), text: "vpcs: []\n".into(), follow: false };
    let json = r#"{"request":"apply","file_name":"r.yaml","text":"vpcs: []\n","follow":false}"#;
    assert_eq!(serde_json::to_string(&request).unwrap(), json);
    let short = r#"{"request":"apply","file_name":"r.yaml","text":"vpcs: []\n"}"#;
    assert_eq!(serde_json::from_str::<Request>(short).unwrap(), request);
    assert_eq!(
        serde_json::from_str::<Request>(r#"{"request":"get","kind":"next-hops"}"#).unwrap(),
        Request::Get { kind: Kind::NextHops, name: None }
    );
    let view = Response::View {
        view: View::Routes(vec![RouteView {
            vpc: "vpc1".into(),
            destination: "192.168.0.0/16".into(),
            target: RouteTarget::TransitRouter { name: "tr".into(), next_hops: vec!["tr-a".into()] },
        }]),
    };
    let json = r#"{"response":"view","view":{"kind":"routes","items":[{"vpc":"vpc1","destination":"192.168.0.0/16","target":{"type":"transit-router","name":"tr","next_hops":["tr-a"]}}]}}"#;
    assert_eq!(serde_json::to_string(&view).unwrap(), json);
    assert_eq!(serde_json::from_str::<Response>(json).unwrap(), view);
}

#[test]
fn edits_read_as_documented() {
    let json = r#"{"request":"edit","operation":{"type":"add-servers","group":"web","servers":[{"server":"172.16.1.21","port":80,"weight":null,"remote_ip":false,"description":"new"}]}}"#;
    let server = NewServer {
        server: "172.16.1.21".into(),
        port: Some(80),
        description: Some("new".into()),
        ..NewServer::default()
    };
    let request =
        Request::Edit { operation: Operation::AddServers { group: "web".into(), servers: vec![server] } };
    assert_eq!(serde_json::to_string(&request).unwrap(), json);
    assert_eq!(serde_json::from_str::<Request>(json).unwrap(), request);
    let short = r#"{"request":"edit","operation":{"type":"set-servers","group":"web","servers":[{"server":"172.16.1.21:80","weight":0}]}}"#;
    let server = ServerSettings { server: "172.16.1.21:80".into(), weight: Some(0), description: None };
    assert_eq!(
        serde_json::from_str::<Request>(short).unwrap(),
        Request::Edit { operation: Operation::SetServers { group: "web".into(), servers: vec![server] } }
    );

    let denied = Response::Denied {
        denials: vec![Remark {
            code: Some(ErrorFamily::ResourceNotFound.of("Server")),
            subject: "server group \"web\", server 172.16.1.21:80".into(),
            value: String::new(),
            rule: "the group has no such server".into(),
            remedy: String::new(),
        }],
    };
    let json = r#"{"response":"denied","denials":[{"code":"ResourceNotFound.Server","subject":"server group \"web\", server 172.16.1.21:80","value":"","rule":"the group has no such server","remedy":""}]}"#;
    assert_eq!(serde_json::to_string(&denied).unwrap(), json);
    assert_eq!(serde_json::from_str::<Response>(json).unwrap(), denied);
}

#[test]
fn configuration_errors_survive_the_way_to_the_client() {
    let errors = crate::config::parse_resources("listeners: [{port: 0}]", "r.yaml").unwrap_err();
    let response = Response::Refused { errors };
    let json = serde_json::to_string(&response).unwrap();
    assert_eq!(serde_json::from_str::<Response>(&json).unwrap(), response);
}

/// The metrics server's answer to `request`.
async fn scrape(request: &[u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (source, mut asked) = mpsc::channel::<oneshot::Sender<MetricsSnapshot>>(1);
    tokio::spawn(async move {
        while let Some(answer) = asked.recv().await {
            let _ = answer.send(MetricsSnapshot { revision: 9, ..Default::default() });
        }
    });
    let server = tokio::spawn(metrics_server::serve(listener, source));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    server.abort();
    answer
}

#[tokio::test]
async fn serves_metrics_over_http() {
    let answer = scrape(b"GET /metrics?x=y HTTP/1.1\r\nHost: lb\r\n\r\n").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(
        head.contains("Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8"),
        "{head}"
    );
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
    assert!(body.contains("causeway_config_revision 9\n") && body.ends_with("# EOF\n"), "{body}");
}

#[tokio::test]
async fn refuses_everything_else_over_http() {
    for (request, status) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "404"),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "405"),
        (b"\x16\x03\x01\r\n\r\n", "400"),
        (b"GET /metrics\r\n\r\n", "400"),
    ] {
        let answer = scrape(request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    let answer = scrape(b"HEAD /metrics HTTP/1.1\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n"), "{answer}");
}
