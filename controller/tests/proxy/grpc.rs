//! gRPC groups: servers that speak HTTP/2, from h2, asked by HTTP/1.1 clients, which see the same in their words.

use crate::harness::{Balancer, PATIENCE, Server, header};
use crate::https::Authority;
use bytes::Bytes;
use controller::model::{Actions, Condition, Extension, Final, Forward, GroupShare, Ordered, Pattern};
use controller::snapshot::{GroupSnapshot, RuleSnapshot, ServerSnapshot, Snapshot, UpstreamProtocol};
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};
use rustls::pki_types::ServerName;
use std::future::Future;
use std::io::BufRead;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A server that speaks HTTP/2 and runs `handle` for each request.
struct GrpcServer {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl GrpcServer {
    fn new<F: Future<Output = ()> + Send>(
        handle: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + Clone + Send + Sync + 'static,
    ) -> GrpcServer {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let local = tokio::task::LocalSet::new();
            runtime.block_on(local.run_until(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    count.fetch_add(1, Ordering::SeqCst);
                    let handle = handle.clone();
                    tokio::task::spawn_local(async move {
                        let mut connection = h2::server::handshake(stream).await.unwrap();
                        while let Some(Ok((request, respond))) = connection.accept().await {
                            let handle = handle.clone();
                            tokio::task::spawn_local(async move { handle(request, respond).await });
                        }
                    });
                }
            }));
        });
        GrpcServer { address, connections }
    }
}

fn balancer(server: &GrpcServer) -> Balancer {
    Balancer::with(&[server.address], 1, |snapshot| {
        snapshot.groups[0].protocol = UpstreamProtocol::Grpc;
    })
}

fn head() -> Response<()> {
    Response::builder().header("content-type", "application/grpc").body(()).unwrap()
}

fn status(code: &str) -> HeaderMap {
    let mut map = HeaderMap::new();
    map.insert("grpc-status", code.parse().unwrap());
    map
}

/// Answers every message as it comes, and ends with what was asked for in trailers.
async fn echo(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    assert_eq!(request.headers()["te"], "trailers");
    assert_eq!(request.headers()["x-forwarded-for"], "127.0.0.1");
    assert!(!request.headers().contains_key("transfer-encoding"));
    assert_eq!(request.uri(), "http://a.example/a.B/C");
    let mut reply = respond.send_response(head(), false).unwrap();
    let mut body = request.into_body();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        reply.send_data(data, false).unwrap();
    }
    let asked = body
        .trailers()
        .await
        .unwrap()
        .map_or_else(|| "0".to_owned(), |trailers| trailers["x-status"].to_str().unwrap().to_owned());
    reply.send_trailers(status(&asked)).unwrap();
}

const POST: &str =
    "POST /a.B/C HTTP/1.1\r\nHost: a.example\r\nTE: trailers\r\nContent-Type: application/grpc\r\n";

fn line(reader: &mut impl BufRead) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    line
}

/// The next chunk's data.
fn chunk(reader: &mut impl BufRead) -> Vec<u8> {
    let size = usize::from_str_radix(line(reader).trim(), 16).unwrap();
    let mut data = vec![0; size];
    reader.read_exact(&mut data).unwrap();
    if size > 0 {
        assert_eq!(line(reader), "\r\n");
    }
    data
}

// Holds LR-132, LR-133
#[test]
fn a_stream_answers_message_by_message_and_ends_with_trailers() {
    let server = GrpcServer::new(echo);
    let balancer = balancer(&server);
    for _ in 0..2 {
        // An answer that begins before the request has ended is the last of an HTTP/1.1 connection.
        let mut client = balancer.client();
        client.send(&format!("{POST}Transfer-Encoding: chunked\r\n\r\n"));
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert_eq!(header(&head, "content-type"), Some("application/grpc"));
        for message in ["first", "second"] {
            client.send(&format!("{:x}\r\n{message}\r\n", message.len()));
            assert_eq!(chunk(client.reader()), message.as_bytes());
        }
        client.send("0\r\nX-Status: 7\r\n\r\n");
        assert_eq!(chunk(client.reader()), b"");
        assert_eq!(line(client.reader()), "grpc-status: 7\r\n");
        assert_eq!(line(client.reader()), "\r\n");
    }
    let log = balancer.into_log();
    assert_eq!((log.len(), &log[1]["status"]), (2, &200.into()));
    assert_eq!(server.connections.load(Ordering::SeqCst), 1, "calls share a connection");
}

#[test]
fn large_bodies_of_a_known_length_pass_unchanged() {
    let server = GrpcServer::new(echo);
    let balancer = balancer(&server);
    let mut client = balancer.client();
    let sent: Vec<u8> = (0..3_000_000).map(|number: u32| number as u8).collect();
    let mut writer = client.stream.try_clone().unwrap();
    let body = sent.clone();
    let writing = std::thread::spawn(move || {
        use std::io::Write;
        write!(writer, "{POST}Content-Length: {}\r\n\r\n", body.len()).unwrap();
        writer.write_all(&body).unwrap();
    });
    let response = client.response(false);
    writing.join().unwrap();
    assert!(response.body == sent, "{} bytes came back", response.body.len());
}

#[test]
fn an_error_that_is_only_a_head_ends_with_it() {
    let server = GrpcServer::new(async |_, mut respond: SendResponse<Bytes>| {
        let mut head = head();
        head.headers_mut().insert("grpc-status", "5".parse().unwrap());
        respond.send_response(head, true).unwrap();
    });
    let balancer = balancer(&server);
    let response = balancer.client().request(&format!("{POST}Content-Length: 0\r\n\r\n"));
    assert_eq!((response.status, response.header("grpc-status")), (200, Some("5")));
    assert_eq!(response.header("content-length"), Some("0"));
    assert_eq!(response.header("transfer-encoding"), None);
}

#[test]
fn resets_become_failures_and_what_was_not_looked_at_is_sent_again() {
    let number = Arc::new(AtomicUsize::new(0));
    let count = number.clone();
    let server = GrpcServer::new(move |request: Request<RecvStream>, mut respond: SendResponse<Bytes>| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        async move {
            match (request.headers()["x-what"].as_bytes(), number) {
                (b"refuse once", 0) => respond.send_reset(Reason::REFUSED_STREAM),
                (b"reset", _) => respond.send_reset(Reason::INTERNAL_ERROR),
                (b"cut", _) => {
                    let mut reply = respond.send_response(head(), false).unwrap();
                    reply.send_data(Bytes::from_static(b"some"), false).unwrap();
                    // Whether the reset takes the data back is h2's business.
                    reply.send_reset(Reason::INTERNAL_ERROR);
                }
                _ => {
                    respond.send_response(head(), true).unwrap();
                }
            }
        }
    });
    let balancer = balancer(&server);
    let ask =
        |what: &str| balancer.client().request(&format!("{POST}X-What: {what}\r\nContent-Length: 0\r\n\r\n"));
    assert_eq!(ask("refuse once").status, 200);
    assert_eq!(number.load(Ordering::SeqCst), 2);
    assert_eq!(ask("reset").status, 502);
    assert_eq!(ask("fine").status, 200);
    let mut client = balancer.client();
    client.send(&format!("{POST}X-What: cut\r\nContent-Length: 0\r\n\r\n"));
    let (rest, _) = client.rest();
    assert!(!rest.ends_with(b"0\r\n\r\n"), "a cut response looks whole");
}

/// A client that leaves cancels its call.
#[test]
fn a_client_that_leaves_cancels_its_call() {
    let (told, cancelled) = std::sync::mpsc::channel();
    let server = GrpcServer::new(move |_request: Request<RecvStream>, mut respond: SendResponse<Bytes>| {
        let told = told.clone();
        async move {
            let mut reply = respond.send_response(head(), false).unwrap();
            let reason = std::future::poll_fn(|cx| reply.poll_reset(cx)).await.unwrap();
            told.send(reason).unwrap();
        }
    });
    let balancer = balancer(&server);
    let mut client = balancer.client();
    client.send(&format!("{POST}Content-Length: 0\r\n\r\n"));
    client.head();
    drop(client);
    assert_eq!(cancelled.recv_timeout(PATIENCE).unwrap(), Reason::CANCEL);
}

#[test]
fn a_group_that_keeps_no_connections_has_one_for_each_call() {
    let server = GrpcServer::new(echo);
    let mut balancer = balancer(&server);
    balancer.snapshot.groups[0].keepalive = false;
    balancer.publish();
    for _ in 0..3 {
        let mut client = balancer.client();
        let response = client.request(&format!("{POST}Content-Length: 2\r\n\r\nhi"));
        assert_eq!((response.status, response.body.as_slice()), (200, &b"hi"[..]));
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 3);
}

/// A second group of the server at `address`, which gets copies of everything.
fn mirrored(snapshot: &mut Snapshot, address: SocketAddr, protocol: UpstreamProtocol) {
    let server = ServerSnapshot { id: 2, address, weight: 100, ramp: None };
    snapshot.groups.push(GroupSnapshot { protocol, ..GroupSnapshot::new("mirror", vec![server]) });
    let forward = Forward { groups: vec![GroupShare { group: 0, weight: 100 }], sticky_secs: None };
    snapshot.listeners[0].rules = vec![RuleSnapshot {
        id: "m".into(),
        conditions: vec![Condition::Path(vec![Pattern::glob("/*")])],
        actions: Actions {
            extensions: vec![Ordered { order: 1, action: Extension::TrafficMirror { group: 1 } }],
            last: Some(Ordered { order: 2, action: Final::Forward(forward) }),
        },
    }];
}

// Holds LR-106
#[test]
fn servers_of_grpc_get_copies_as_they_get_calls() {
    let (told, copies) = std::sync::mpsc::channel();
    let mirror = GrpcServer::new(move |request: Request<RecvStream>, mut respond: SendResponse<Bytes>| {
        let told = told.clone();
        async move {
            let path = request.uri().path().to_owned();
            let mut body = request.into_body();
            let mut data = Vec::new();
            while let Some(part) = body.data().await {
                let part = part.unwrap();
                body.flow_control().release_capacity(part.len()).unwrap();
                data.extend_from_slice(&part);
            }
            let trailers = body.trailers().await.unwrap().unwrap_or_default();
            told.send((path, data, trailers)).unwrap();
            let mut reply = respond.send_response(head(), false).unwrap();
            reply.send_data(Bytes::from_static(b"nobody reads this"), false).unwrap();
            reply.send_trailers(status("0")).unwrap();
        }
    });
    let server = GrpcServer::new(echo);
    for main in [UpstreamProtocol::Grpc, UpstreamProtocol::Http] {
        let plain = Server::new(|connection, _| {
            while let Some(head) = connection.head() {
                let mut end = String::new();
                while header(&head, "transfer-encoding").is_some() && !end.ends_with("7\r\n\r\n") {
                    assert!(connection.reader().read_line(&mut end).unwrap() > 0);
                }
                connection.answer("plain");
            }
        });
        let address = if main == UpstreamProtocol::Grpc { server.address } else { plain.address };
        let balancer = Balancer::with(&[address], 1, |snapshot| {
            snapshot.groups[0].protocol = main.clone();
            mirrored(snapshot, mirror.address, UpstreamProtocol::Grpc);
        });
        let mut client = balancer.client();
        let chunks = "5\r\nfirst\r\n6\r\nsecond\r\n0\r\nX-Status: 7\r\n\r\n";
        let response = client.request(&format!("{POST}Transfer-Encoding: chunked\r\n\r\n{chunks}"));
        assert_eq!(response.status, 200);
        let (path, data, trailers) = copies.recv_timeout(PATIENCE).unwrap();
        assert_eq!((path.as_str(), data.as_slice()), ("/a.B/C", &b"firstsecond"[..]), "{main:?}");
        assert_eq!(trailers["x-status"], "7", "{main:?}");
        let bodiless =
            balancer.client().request("GET /a.B/C HTTP/1.1\r\nHost: a.example\r\nTE: trailers\r\n\r\n");
        assert_eq!(bodiless.status, 200);
        let (_, data, trailers) = copies.recv_timeout(PATIENCE).unwrap();
        assert_eq!((data.len(), trailers.len()), (0, 0));
        assert_eq!(balancer.stats.mirrors_dropped(), 0);
    }
}

// Holds LR-106, LR-132
#[test]
fn a_call_over_tls_is_copied_to_a_server_of_http_1() {
    let authority = Authority::new();
    let server = GrpcServer::new(echo);
    let (told, copies) = std::sync::mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let mirror = Server::new(move |connection, _| {
        let head = connection.head().unwrap();
        let mut body = String::new();
        while !body.ends_with("\r\n\r\n") {
            assert!(connection.reader().read_line(&mut body).unwrap() > 0, "{body:?}");
        }
        told.lock().unwrap().send((head, body)).unwrap();
        connection.answer("");
    });
    let mut balancer = authority.balancer(server.address, 1);
    balancer.snapshot.groups[0].protocol = UpstreamProtocol::Grpc;
    mirrored(&mut balancer.snapshot, mirror.address, UpstreamProtocol::Http);
    balancer.publish();
    let config = authority.client(&["h2"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let tcp = tokio::net::TcpStream::connect(balancer.address).await.unwrap();
        let name = ServerName::try_from("a.example").unwrap();
        let stream = tokio_rustls::TlsConnector::from(config).connect(name, tcp).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let mut client = client.ready().await.unwrap();
        let request = Request::post("https://a.example/a.B/C")
            .header("te", "trailers")
            .header("content-type", "application/grpc")
            .body(())
            .unwrap();
        let (response, mut sending) = client.send_request(request, false).unwrap();
        sending.send_data(Bytes::from_static(b"message"), false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-status", "5".parse().unwrap());
        sending.send_trailers(trailers).unwrap();
        let mut body = response.await.unwrap().into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), &b"message"[..]);
        assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "5");
    });
    let (head, body) = copies.recv_timeout(PATIENCE).unwrap();
    assert_eq!(header(&head, "transfer-encoding"), Some("chunked"));
    assert_eq!(body, "7\r\nmessage\r\n0\r\nx-status: 5\r\n\r\n");
    assert_eq!(balancer.into_log()[0]["ssl_protocol"], "TLSv1.3");
}
