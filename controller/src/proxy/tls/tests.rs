//! TLS with clients on a reactor of its own; the clients are rustls, on blocking sockets.

use super::server::Spoken;
use super::*;
use crate::model::TlsVersion::{self, Tls12, Tls13};
use crate::proxy::client_stream::ClientStream;
use crate::proxy::reactor::{self, TcpListener, Timer};
use crate::snapshot::{CertificateSnapshot, TlsSnapshot};
use rcgen::{CertificateParams, CertifiedIssuer, DnType, KeyPair};
use rustls::client::Resumption;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};
use std::future::{Future, poll_fn};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// No read of a test waits longer: a hang becomes a failure.
const PATIENCE: Duration = Duration::from_secs(20);
const LONG_NS: u64 = 20_000_000_000;

type Accepted = Result<(Box<TlsStream>, TlsSession), AcceptError>;

/// Runs `handle` for each connection's handshake on a reactor of its own, which ends with the process.
fn listen<F: Future<Output = ()> + 'static>(
    server: &TlsServer,
    deadline_ns: u64,
    handle: impl Fn(Accepted) -> F + Send + Clone + 'static,
) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let server = server.clone();
    std::thread::spawn(move || {
        reactor::run(async move {
            let listener = TcpListener::new(listener).unwrap();
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (server, handle) = (server.clone(), handle.clone());
                reactor::spawn(async move {
                    let timer = Timer::new();
                    timer.set_after(deadline_ns);
                    handle(accept(tcp, &server, &timer).await).await;
                });
            }
        })
    });
    address
}

/// Echoes what comes until the client ends; tells how each handshake went.
fn echo(server: &TlsServer, deadline_ns: u64) -> (SocketAddr, Receiver<Result<TlsSession, String>>) {
    let (tell, told) = channel();
    let address = listen(server, deadline_ns, move |accepted| {
        let tell = tell.clone();
        async move {
            match accepted {
                Ok((stream, session)) => {
                    tell.send(Ok(session)).unwrap();
                    let mut stream = ClientStream::Tls(stream);
                    let mut buffer = vec![0; 100_000];
                    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                        stream.write_all(&buffer[..read]).await.unwrap();
                    }
                    let _ = AsyncWriteExt::shutdown(&mut stream).await;
                }
                Err(error) => tell.send(Err(error.to_string())).unwrap(),
            }
        }
    });
    (address, told)
}

/// An authority, and the certificates it made.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority");
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn certificate(&self, names: &[&str]) -> CertificateSnapshot {
        let key = KeyPair::generate().unwrap();
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, names[0]);
        let chain = params.signed_by(&key, &self.0).unwrap().pem();
        CertificateSnapshot { name: names[0].into(), chain, key: key.serialize_pem() }
    }

    /// A client that trusts it.
    fn client(&self) -> ClientConfig {
        self.client_of(rustls::ALL_VERSIONS, None)
    }

    fn client_of(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
        identity: Option<(&Authority, &str)>,
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let Some((authority, name)) = identity else { return builder.with_no_client_auth() };
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &authority.0).unwrap().der().clone();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        builder.with_client_auth_cert(vec![certificate], key).unwrap()
    }
}

fn snapshot() -> TlsSnapshot {
    TlsSnapshot {
        certificates: vec![0],
        versions: vec![Tls12, Tls13],
        suites: vec![
            "TLS13_AES_128_GCM_SHA256".into(),
            "TLS13_AES_256_GCM_SHA384".into(),
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256".into(),
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384".into(),
        ],
        client_authorities: None,
        http2: true,
    }
}

fn server(tls: &TlsSnapshot, certificates: &[CertificateSnapshot]) -> TlsServer {
    TlsServer::new(tls, certificates, Spoken::Http).unwrap()
}

type Client = StreamOwned<ClientConnection, std::net::TcpStream>;

fn tcp(address: SocketAddr) -> std::net::TcpStream {
    let tcp = std::net::TcpStream::connect(address).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    tcp.set_nodelay(true).unwrap();
    tcp
}

fn connect(address: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> io::Result<Client> {
    let session =
        ClientConnection::new(config.clone(), ServerName::try_from(name.to_owned()).unwrap()).unwrap();
    let mut client = StreamOwned::new(session, tcp(address));
    while client.conn.is_handshaking() {
        client.conn.complete_io(&mut client.sock)?;
    }
    Ok(client)
}

/// Sends `text` and reads as much.
fn exchange(client: &mut Client, text: &str) -> io::Result<String> {
    client.write_all(text.as_bytes())?;
    let mut back = vec![0; text.len()];
    client.read_exact(&mut back)?;
    Ok(String::from_utf8(back).unwrap())
}

/// A handshake and an exchange, which only a client that the server takes gets through.
fn try_exchange(address: SocketAddr, config: &Arc<ClientConfig>) -> Result<Client, String> {
    let mut client = connect(address, config, "a.example").map_err(|error| error.to_string())?;
    assert_eq!(exchange(&mut client, "ping").map_err(|error| error.to_string())?, "ping");
    Ok(client)
}

// Holds LR-24, LR-25
#[test]
fn a_client_is_shown_the_certificate_for_the_name_it_asks_for() {
    let authority = Authority::new();
    let certificates = [
        authority.certificate(&["unused.example"]),
        authority.certificate(&["*.wild.example"]),
        authority.certificate(&["exact.wild.example"]),
        authority.certificate(&["default.example", "127.0.0.1"]),
    ];
    let tls = TlsSnapshot { certificates: vec![3, 1, 2], ..snapshot() };
    let (address, told) = echo(&server(&tls, &certificates), LONG_NS);
    let config = Arc::new(authority.client());
    for (name, shown) in [
        ("exact.wild.example", Some(2)),
        ("other.wild.example", Some(1)),
        ("Other.WILD.example", Some(1)),
        ("default.example", Some(3)),
        ("127.0.0.1", Some(3)),
        ("unused.example", None),
        ("a.b.wild.example", None),
        ("wild.example", None),
    ] {
        match connect(address, &config, name) {
            Ok(client) => {
                let expected = &certificates[shown.expect(name)];
                let found = client.conn.peer_certificates().unwrap()[0].clone();
                let pem = rustls::pki_types::pem::PemObject::from_pem_slice(expected.chain.as_bytes());
                assert_eq!(found, pem.unwrap(), "{name}");
                let asked = (name != "127.0.0.1").then(|| name.to_ascii_lowercase());
                let session = told.recv_timeout(PATIENCE).unwrap().unwrap();
                assert_eq!(session.server_name.as_deref(), asked.as_deref());
            }
            Err(error) => {
                // The client does not trust the default certificate for such a name.
                assert!(error.to_string().contains("not valid for name"), "{name}: {error}");
                assert_eq!(shown, None);
                told.recv_timeout(PATIENCE).unwrap().unwrap_err();
            }
        }
    }
}

// Holds LR-20, LR-23
#[test]
fn only_versions_and_suites_of_the_policy_are_spoken() {
    let authority = Authority::new();
    let certificates = [authority.certificate(&["a.example"])];
    let (tls12, tls13) = (&rustls::version::TLS12, &rustls::version::TLS13);
    let suites = snapshot().suites;
    for (versions, served, client, expected) in [
        (&[Tls12, Tls13][..], &suites[..], &[tls12, tls13][..], Some(("TLSv1.3", "TLS_AES_128_GCM_SHA256"))),
        (&[Tls12, Tls13], &suites[..], &[tls12], Some(("TLSv1.2", "ECDHE-ECDSA-AES128-GCM-SHA256"))),
        (&[Tls12], &suites[..], &[tls12, tls13], Some(("TLSv1.2", "ECDHE-ECDSA-AES128-GCM-SHA256"))),
        (&[Tls12, Tls13], &suites[1..2], &[tls12, tls13], Some(("TLSv1.3", "TLS_AES_256_GCM_SHA384"))),
        // A version without a suite is not offered.
        (&[Tls12, Tls13], &suites[3..], &[tls12, tls13], Some(("TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384"))),
        (&[Tls12], &suites[..], &[tls13], None),
        (&[Tls13], &suites[..], &[tls12], None),
        (&[Tls12, Tls13], &suites[..2], &[tls12], None),
    ] {
        let tls = TlsSnapshot { versions: versions.to_vec(), suites: served.to_vec(), ..snapshot() };
        let (address, told) = echo(&server(&tls, &certificates), LONG_NS);
        let result = try_exchange(address, &Arc::new(authority.client_of(client, None)));
        match (expected, told.recv_timeout(PATIENCE).unwrap()) {
            (Some((version, cipher)), Ok(session)) => {
                assert_eq!((session.version, session.cipher), (version, cipher));
                result.unwrap();
            }
            (None, Err(error)) => {
                assert!(error.starts_with("TLS handshake: "), "{error}");
                let refusal = result.err().unwrap();
                assert!(refusal.contains("received fatal alert"), "{refusal}");
            }
            other => panic!("{versions:?} {served:?}: {other:?}"),
        }
    }
}

// Holds LR-15
#[test]
fn http_2_is_offered_only_where_it_is_on() {
    let authority = Authority::new();
    let certificates = [authority.certificate(&["a.example"])];
    for (http2, offered, expected) in [
        (true, &["h2", "http/1.1"][..], Some(true)),
        (true, &["http/1.1", "h2"], Some(true)),
        (true, &["http/1.1"], Some(false)),
        (true, &[], Some(false)),
        (false, &["h2", "http/1.1"], Some(false)),
        (false, &["h2"], None),
    ] {
        let (address, told) = echo(&server(&TlsSnapshot { http2, ..snapshot() }, &certificates), LONG_NS);
        let mut config = authority.client();
        config.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
        let result = try_exchange(address, &Arc::new(config));
        let told = told.recv_timeout(PATIENCE).unwrap();
        assert_eq!(told.as_ref().ok().map(|session| session.is_http2), expected, "{http2} {offered:?}");
        match expected {
            // RFC 7301 section 3.2.
            None => assert!(result.err().unwrap().contains("NoApplicationProtocol")),
            Some(is_http2) => {
                let name: &[u8] = if is_http2 { b"h2" } else { b"http/1.1" };
                let found = result.unwrap().conn.alpn_protocol().map(<[u8]>::to_vec);
                assert_eq!(found, (!offered.is_empty()).then(|| name.to_vec()));
            }
        }
    }
}

#[test]
fn a_session_goes_on_at_another_worker_and_after_a_renewal_in_either_version() {
    let authority = Authority::new();
    let mut certificates = [authority.certificate(&["a.example"])];
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut config = authority.client_of(&[version], None);
        config.resumption = Resumption::in_memory_sessions(16);
        let config = Arc::new(config);
        let (first, _told) = echo(&server(&snapshot(), &certificates), LONG_NS);
        let (second, _told2) = echo(&server(&snapshot(), &certificates), LONG_NS);
        certificates[0] = authority.certificate(&["a.example"]);
        let (renewed, told) = echo(&server(&snapshot(), &certificates), LONG_NS);
        assert_eq!(kind(first, &config), HandshakeKind::Full);
        assert_eq!(kind(second, &config), HandshakeKind::Resumed);
        assert_eq!(kind(first, &config), HandshakeKind::Resumed);
        assert_eq!(kind(renewed, &config), HandshakeKind::Resumed);
        assert!(told.recv_timeout(PATIENCE).unwrap().unwrap().is_resumed);
    }
}

fn kind(address: SocketAddr, config: &Arc<ClientConfig>) -> HandshakeKind {
    try_exchange(address, config).unwrap().conn.handshake_kind().unwrap()
}

// Holds LR-26
#[test]
fn a_session_is_worth_nothing_where_another_certificate_of_the_client_is_needed() {
    let (authority, clients, others) = (Authority::new(), Authority::new(), Authority::new());
    let certificates = [authority.certificate(&["a.example"]), authority.certificate(&["b.example"])];
    let demanding =
        |authority: &Authority| TlsSnapshot { client_authorities: Some(authority.0.pem()), ..snapshot() };
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut config = authority.client_of(&[version], None);
        config.resumption = Resumption::in_memory_sessions(16);
        let config = Arc::new(config);
        let (open, _told) = echo(&server(&snapshot(), &certificates), LONG_NS);
        let (demanding_one, _told2) = echo(&server(&demanding(&clients), &certificates), LONG_NS);
        assert_eq!(kind(open, &config), HandshakeKind::Full);
        assert_eq!(kind(open, &config), HandshakeKind::Resumed);
        let error = try_exchange(demanding_one, &config).err().unwrap();
        assert!(error.contains("fatal alert"), "{error}");

        // Nor with one that was good enough elsewhere.
        let mut config = authority.client_of(&[version], Some((&clients, "alice")));
        config.resumption = Resumption::in_memory_sessions(16);
        let config = Arc::new(config);
        let (demanding_other, _told3) = echo(&server(&demanding(&others), &certificates), LONG_NS);
        assert_eq!(kind(demanding_one, &config), HandshakeKind::Full);
        assert_eq!(kind(demanding_one, &config), HandshakeKind::Resumed);
        let error = try_exchange(demanding_other, &config).err().unwrap();
        assert!(error.contains("fatal alert"), "{error}");
    }
}

// Holds LR-26, LR-41
#[test]
fn a_client_needs_a_certificate_of_the_authority_and_is_known_by_it() {
    let (authority, clients, others) = (Authority::new(), Authority::new(), Authority::new());
    let certificates = [authority.certificate(&["a.example"])];
    let tls = TlsSnapshot { client_authorities: Some(clients.0.pem()), ..snapshot() };
    let (address, told) = echo(&server(&tls, &certificates), LONG_NS);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut config = authority.client_of(&[version], Some((&clients, "alice")));
        config.resumption = Resumption::in_memory_sessions(16);
        let config = Arc::new(config);
        // A resumed session is known as well.
        for is_resumed in [false, true] {
            try_exchange(address, &config).unwrap();
            let session = told.recv_timeout(PATIENCE).unwrap().unwrap();
            assert_eq!(session.is_resumed, is_resumed);
            let certificate = session.client_certificate.unwrap();
            assert_eq!(certificate.subject, "CN=alice");
            assert!(certificate.issuer.starts_with("CN=authority"), "{}", certificate.issuer);
            assert_eq!(certificate.fingerprint.len(), 40);
        }
        for identity in [None, Some((&others, "mallory"))] {
            let error = try_exchange(address, &Arc::new(authority.client_of(&[version], identity))).err();
            assert!(error.as_ref().unwrap().contains("fatal alert"), "{error:?}");
            let told = told.recv_timeout(PATIENCE).unwrap().unwrap_err();
            assert!(told.starts_with("TLS handshake: "), "{told}");
        }
    }
}

// Holds LR-27
#[test]
fn http_without_tls_is_told_from_junk() {
    let authority = Authority::new();
    let server = server(&snapshot(), &[authority.certificate(&["a.example"])]);
    let (address, told) = echo(&server, LONG_NS);
    for (sent, expected) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "plain HTTP on the TLS port"),
        (b"G", "plain HTTP on the TLS port"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "plain HTTP on the TLS port"),
        (b"", "client closed within the TLS handshake"),
        (b"\x16\x03\x01", "client closed within the TLS handshake"),
        (b"\x80\x2e\x01\x03\x01", "TLS handshake: "),
        (b"\x16GET / HTTP/1.1\r\n\r\n", "TLS handshake: "),
    ] {
        let mut tcp = tcp(address);
        tcp.write_all(sent).unwrap();
        tcp.shutdown(Shutdown::Write).unwrap();
        let told = told.recv_timeout(PATIENCE).unwrap().unwrap_err();
        assert!(told.starts_with(expected), "{sent:?}: {told}");
    }
}

#[test]
fn handshakes_byte_by_byte_come_through() {
    let authority = Authority::new();
    let tls = server(&snapshot(), &[authority.certificate(&["a.example"])]);
    let (address, _told) = echo(&tls, LONG_NS);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = Arc::new(authority.client_of(&[version], None));
        let name = ServerName::try_from("a.example").unwrap();
        let mut session = ClientConnection::new(config, name).unwrap();
        let mut tcp = tcp(address);
        while session.is_handshaking() {
            let mut bytes = Vec::new();
            while session.wants_write() {
                session.write_tls(&mut bytes).unwrap();
            }
            bytes.iter().for_each(|byte| tcp.write_all(&[*byte]).unwrap());
            if session.is_handshaking() {
                assert!(session.read_tls(&mut tcp).unwrap() > 0);
                session.process_new_packets().unwrap();
            }
        }
        assert_eq!(exchange(&mut StreamOwned::new(session, tcp), "ping").unwrap(), "ping");
    }
}

#[test]
fn a_slow_client_cannot_stretch_the_handshake() {
    let authority = Authority::new();
    let tls = server(&snapshot(), &[authority.certificate(&["a.example"])]);
    let (address, told) = echo(&tls, 200_000_000);
    let name = ServerName::try_from("a.example").unwrap();
    let mut session = ClientConnection::new(Arc::new(authority.client()), name).unwrap();
    let mut hello = Vec::new();
    session.write_tls(&mut hello).unwrap();
    // Nothing; a byte now and then, never all; all, and nothing in answer to the server's.
    for (at_once, then) in [(0, 0), (0, hello.len() - 1), (hello.len(), hello.len())] {
        let mut tcp = tcp(address);
        tcp.write_all(&hello[..at_once]).unwrap();
        tcp.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let mut rest = hello[at_once..then].iter();
        loop {
            match tcp.read(&mut [0; 4096]) {
                Ok(0) => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // The server may be about to close.
                    let _ = rest.next().map(|byte| tcp.write_all(&[*byte]));
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        let told = told.recv_timeout(PATIENCE).unwrap().unwrap_err();
        assert_eq!(told, "TLS handshake incomplete within the timeout");
    }
}

/// Hands each connection to the test's task, which goes on when the client says so.
fn stepwise<F: Future<Output = ()> + 'static>(
    handle: impl Fn(Box<TlsStream>, UnboundedReceiver<()>) -> F + Send + Clone + 'static,
) -> (Client, impl Fn()) {
    let authority = Authority::new();
    let tls = server(&snapshot(), &[authority.certificate(&["a.example"])]);
    let (go, gone) = unbounded_channel();
    let gone = Arc::new(std::sync::Mutex::new(Some(gone)));
    let address = listen(&tls, LONG_NS, move |accepted| {
        let gone = gone.lock().unwrap().take().unwrap();
        handle(accepted.unwrap().0, gone)
    });
    let client = connect(address, &Arc::new(authority.client()), "a.example").unwrap();
    (client, move || go.send(()).unwrap())
}

/// Whether it is ready now.
async fn is_ready<T>(mut poll: impl FnMut(&mut std::task::Context<'_>) -> Poll<T>) -> bool {
    poll_fn(|cx| Poll::Ready(poll(cx).is_ready())).await
}

async fn read(stream: &TlsStream, length: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; length];
    let read = poll_fn(|cx| stream.poll_read(cx, &mut buffer)).await?;
    buffer.truncate(read);
    Ok(buffer)
}

#[test]
fn a_hang_up_is_seen_behind_no_data_and_takes_none_away() {
    let (tell, told) = channel();
    let (mut client, go) = stepwise(move |stream, mut go| {
        let tell = tell.clone();
        async move {
            // Pipelined data: more than a look takes at a time.
            go.recv().await.unwrap();
            tell.send(is_ready(|cx| stream.poll_hung_up(cx)).await).unwrap();
            tell.send(is_ready(|cx| stream.poll_readable(cx)).await).unwrap();
            let mut got = Vec::new();
            while got.len() < 30_000 {
                got.extend(read(&stream, 7000).await.unwrap());
                tell.send(is_ready(|cx| stream.poll_hung_up(cx)).await && got.len() < 30_000).unwrap();
            }
            assert_eq!(got, [7; 30_000]);
            // A key update is nothing to read.
            go.recv().await.unwrap();
            tell.send(is_ready(|cx| stream.poll_readable(cx)).await).unwrap();
            tell.send(is_ready(|cx| stream.poll_hung_up(cx)).await).unwrap();
            tell.send(!stream.is_quiet()).unwrap();
            // close_notify, behind data and alone.
            go.recv().await.unwrap();
            tell.send(is_ready(|cx| stream.poll_hung_up(cx)).await).unwrap();
            assert_eq!(read(&stream, 10).await.unwrap(), b"last");
            tell.send(is_ready(|cx| stream.poll_hung_up(cx)).await).unwrap();
            assert!(!stream.is_quiet());
            assert_eq!(read(&stream, 10).await.unwrap(), b"");
            tell.send(true).unwrap();
            go.recv().await;
        }
    });
    let told = || told.recv_timeout(PATIENCE).unwrap();
    client.write_all(&[7; 30_000]).unwrap();
    client.flush().unwrap();
    go();
    assert_eq!((told(), told()), (false, true));
    // Each read of the 30,000 bytes.
    for _ in 0..5 {
        assert!(!told());
    }
    client.conn.refresh_traffic_keys().unwrap();
    client.flush().unwrap();
    go();
    assert_eq!((told(), told(), told()), (false, false, false));
    client.write_all(b"last").unwrap();
    client.conn.send_close_notify();
    client.flush().unwrap();
    go();
    assert_eq!((told(), told(), told()), (false, true, true));
}

#[test]
fn the_end_is_proper_only_when_it_was_said() {
    for (says, aborts) in [(true, false), (false, false), (false, true)] {
        let (mut client, go) = stepwise(move |stream, mut go| async move {
            let mut stream = ClientStream::Tls(stream);
            stream.write_all(b"all of it").await.unwrap();
            go.recv().await.unwrap();
            if says {
                poll_fn(|cx| stream.poll_close_notify(cx)).await.unwrap();
            }
            if aborts {
                stream.reset_on_close().unwrap();
            }
        });
        let mut got = [0; 9];
        client.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"all of it");
        go();
        let end = client.read(&mut got).map_err(|error| error.kind());
        match (says, aborts) {
            (true, _) => assert_eq!(end, Ok(0)),
            (false, false) => assert_eq!(end, Err(io::ErrorKind::UnexpectedEof)),
            (false, true) => assert_eq!(end, Err(io::ErrorKind::ConnectionReset)),
        }
    }
}

#[test]
fn an_end_without_close_notify_and_a_broken_record_are_errors_that_stay() {
    for is_broken in [false, true] {
        let (tell, told) = channel();
        let (mut client, go) = stepwise(move |stream, mut go| {
            let tell = tell.clone();
            async move {
                let mut stream = ClientStream::Tls(stream);
                stream.write_all(b"go").await.unwrap();
                let ClientStream::Tls(stream) = stream else { unreachable!() };
                go.recv().await.unwrap();
                assert_eq!(read(&stream, 100).await.unwrap(), b"good");
                assert!(is_ready(|cx| stream.poll_readable(cx)).await);
                assert!(is_ready(|cx| stream.poll_hung_up(cx)).await);
                for _ in 0..2 {
                    tell.send(read(&stream, 100).await.unwrap_err().kind()).unwrap();
                }
            }
        });
        // Only then nothing is taken for a part of the handshake.
        client.read_exact(&mut [0; 2]).unwrap();
        client.write_all(b"good").unwrap();
        client.flush().unwrap();
        if is_broken {
            client.sock.write_all(b"\x17\x03\x03\x00\x20 no record that the keys would open").unwrap();
        } else {
            client.sock.shutdown(Shutdown::Write).unwrap();
        }
        go();
        let expected = if is_broken { io::ErrorKind::InvalidData } else { io::ErrorKind::UnexpectedEof };
        for _ in 0..2 {
            assert_eq!(told.recv_timeout(PATIENCE).unwrap(), expected);
        }
    }
}

#[test]
fn large_bodies_pass_unchanged_both_ways_and_over_key_updates() {
    const BYTES: usize = 5_000_000;
    let authority = Authority::new();
    let tls = server(&snapshot(), &[authority.certificate(&["a.example"])]);
    let (address, _told) = echo(&tls, LONG_NS);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = Arc::new(authority.client_of(&[version], None));
        let mut client = connect(address, &config, "a.example").unwrap();
        // A period that no buffer size is a multiple of.
        let sent: Vec<u8> = (0..BYTES as u32).map(|at| (at % 251) as u8).collect();
        let mut got = vec![0; BYTES];
        // Less than the sockets hold, so that neither side waits for the other.
        for (sent, got) in sent.chunks(70_001).zip(got.chunks_mut(70_001)) {
            client.write_all(sent).unwrap();
            if version == &rustls::version::TLS13 {
                client.conn.refresh_traffic_keys().unwrap();
            }
            client.read_exact(got).unwrap();
        }
        assert!(got == sent);
        client.conn.send_close_notify();
        client.flush().unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 0, "the echo ends properly");
    }
}

#[test]
fn says_what_is_wrong_with_a_snapshot() {
    let authority = Authority::new();
    let good = authority.certificate(&["a.example"]);
    let bad = CertificateSnapshot { name: "www".into(), chain: "junk".into(), ..good.clone() };
    let certificates = [good, bad];
    for (change, expected) in [
        (TlsSnapshot { certificates: vec![], ..snapshot() }, "no certificate"),
        (
            TlsSnapshot { certificates: vec![0, 7], ..snapshot() },
            "certificate number 7 is not in the snapshot",
        ),
        (
            TlsSnapshot { certificates: vec![0, 1], ..snapshot() },
            "certificate \"www\": chain: no certificate",
        ),
        (TlsSnapshot { suites: vec!["X".into()], ..snapshot() }, "cipher suite \"X\" is not served"),
        (TlsSnapshot { versions: vec![TlsVersion::Tls11, Tls12], ..snapshot() }, "TLSv1.1 is not served"),
        (TlsSnapshot { versions: vec![], ..snapshot() }, "no version of TLS has a cipher suite"),
        (TlsSnapshot { suites: vec![], ..snapshot() }, "no version of TLS has a cipher suite"),
        (
            TlsSnapshot { client_authorities: Some("junk".into()), ..snapshot() },
            "client certificates: authorities: no certificate in the PEM text",
        ),
    ] {
        let error = TlsServer::new(&change, &certificates, Spoken::Http).err().expect(expected).to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn listeners_of_the_same_content_share_all_of_it() {
    let authority = Authority::new();
    let certificates = [authority.certificate(&["a.example"]), authority.certificate(&["b.example"])];
    let one = server(&snapshot(), &certificates[..1]);
    // Another position, the same certificate.
    let moved = TlsSnapshot { certificates: vec![1], ..snapshot() };
    let same = server(&moved, &[certificates[1].clone(), certificates[0].clone()]);
    assert!(Arc::ptr_eq(one.config(), same.config()));
    for other in [
        TlsSnapshot { http2: false, ..snapshot() },
        TlsSnapshot { versions: vec![Tls13], ..snapshot() },
        TlsSnapshot { suites: snapshot().suites[..1].to_vec(), ..snapshot() },
        TlsSnapshot { certificates: vec![0, 1], ..snapshot() },
        TlsSnapshot { client_authorities: Some(authority.0.pem()), ..snapshot() },
    ] {
        assert!(!Arc::ptr_eq(one.config(), server(&other, &certificates).config()), "{other:?}");
    }
    let quic = TlsServer::new(&snapshot(), &certificates, Spoken::Http3).unwrap();
    assert_eq!(quic.config().alpn_protocols, [b"h3".to_vec()]);
}
