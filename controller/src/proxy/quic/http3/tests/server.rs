//! The server under test: an endpoint per worker, and a small application.

use super::super::super::endpoint::{Endpoint, Settings};
use super::super::super::identity::{Place, Secrets};
use super::super::super::socket::bind_quic;
use super::super::connection::{Limits, serve};
use super::SECOND_NS;
use crate::proxy::http1::Refusal;
use crate::proxy::reactor::{self, Timer};
use crate::proxy::stream::{Incoming, Reset, Stream};
use bytes::Bytes;
use http::Response;
use rustls::SupportedProtocolVersion;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

enum Command {
    Replace(Box<rustls::ServerConfig>, oneshot::Sender<()>),
    Close,
}

pub struct Server {
    pub address: SocketAddr,
    pub certificate: CertificateDer<'static>,
    commands: Vec<UnboundedSender<Command>>,
    told: RefCell<UnboundedReceiver<String>>,
    threads: RefCell<Vec<JoinHandle<()>>>,
}

/// TLS of a server named `localhost`, and its certificate.
pub fn certificate(
    versions: &[&'static SupportedProtocolVersion],
) -> (rustls::ServerConfig, CertificateDer<'static>) {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_string()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    (tls, cert.der().clone())
}

impl Server {
    pub fn start(workers: usize) -> Server {
        Server::with(workers, Limits::new(60 * SECOND_NS, 10 * SECOND_NS, None), |_| {})
    }

    pub fn with(workers: usize, limits: Limits, adapt: fn(&mut Endpoint)) -> Server {
        let (tls, certificate) = certificate(&[&rustls::version::TLS13]);
        let bound = bind_quic(&["127.0.0.1:0".parse().unwrap()], workers).unwrap().remove(0);
        let secrets = Secrets::random();
        let (teller, told) = unbounded_channel();
        let (mut commands, mut threads) = (Vec::new(), Vec::new());
        for (number, socket) in bound.sockets.into_iter().enumerate() {
            let (sender, receiver) = unbounded_channel();
            let (tls, secrets, teller) = (tls.clone(), secrets.clone(), teller.clone());
            threads.push(std::thread::spawn(move || {
                let place = Place::new(number, workers).unwrap();
                let work = async move {
                    let settings = Settings::new(&tls, &secrets).unwrap();
                    let mut endpoint = Endpoint::open(socket, place, &secrets, settings).unwrap();
                    adapt(&mut endpoint);
                    work(endpoint, number, limits, secrets, receiver, teller).await;
                };
                reactor::run(work).unwrap();
            }));
            commands.push(sender);
        }
        Server {
            address: bound.address,
            certificate,
            commands,
            told: RefCell::new(told),
            threads: RefCell::new(threads),
        }
    }

    /// What the application told next.
    #[expect(clippy::await_holding_refcell_ref, reason = "one task of a test at a time asks")]
    pub async fn told(&self) -> String {
        self.told.borrow_mut().recv().await.expect("the server runs")
    }

    pub fn close(&self) {
        self.commands.iter().for_each(|commands| commands.send(Command::Close).unwrap());
    }

    /// Waits for the end of all workers.
    pub fn ended(&self) {
        self.threads.take().into_iter().for_each(|thread| thread.join().unwrap());
    }

    pub async fn replace_certificate(&self) -> CertificateDer<'static> {
        let (tls, certificate) = certificate(&[&rustls::version::TLS13]);
        for commands in &self.commands {
            let (done, replaced) = oneshot::channel();
            commands.send(Command::Replace(Box::new(tls.clone()), done)).ok().unwrap();
            replaced.await.unwrap();
        }
        certificate
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The workers' main tasks end with their commands.
        self.commands.clear();
        if !std::thread::panicking() {
            self.ended();
        }
    }
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Command")
    }
}

async fn work(
    endpoint: Endpoint,
    number: usize,
    limits: Limits,
    secrets: Secrets,
    mut commands: UnboundedReceiver<Command>,
    teller: UnboundedSender<String>,
) {
    let endpoint = Rc::new(endpoint);
    let closing = Rc::new(Cell::new(false));
    let (accepting, is_closing) = (endpoint.clone(), closing.clone());
    reactor::spawn(async move {
        loop {
            let newcomer = accepting.accept().await;
            let Some(handshake) = accepting.begin(newcomer) else { continue };
            let application = Application { endpoint: accepting.clone(), number, teller: teller.clone() };
            let is_closing = is_closing.clone();
            reactor::spawn(async move {
                let Some(connection) = handshake.finish().await else { return };
                let on_request = move |incoming| reactor::spawn(application.clone().answer(incoming));
                serve(connection, limits, move || is_closing.get(), on_request).await;
            });
        }
    });
    while let Some(command) = commands.recv().await {
        match command {
            Command::Replace(tls, done) => {
                endpoint.replace(Settings::new(&tls, &secrets).unwrap());
                done.send(()).unwrap();
            }
            Command::Close => {
                closing.set(true);
                endpoint.refuse_new();
                reactor::wake_all();
                return endpoint.idle().await;
            }
        }
    }
}

#[derive(Clone)]
struct Application {
    endpoint: Rc<Endpoint>,
    number: usize,
    teller: UnboundedSender<String>,
}

impl Application {
    fn tell(&self, what: impl Into<String>) {
        // A test that has ended asks no more.
        let _ = self.teller.send(what.into());
    }

    async fn answer(self, incoming: Incoming) {
        let Incoming { head, refusal, stream } = incoming;
        let stream = &*stream;
        if let Some(refusal) = refusal {
            return refuse(stream, refusal).await;
        }
        let text = String::from_utf8(head).unwrap();
        match text.split(' ').nth(1).unwrap() {
            "/head" => whole(stream, text.as_bytes()).await,
            "/worker" => whole(stream, self.number.to_string().as_bytes()).await,
            "/connections" => whole(stream, self.endpoint.connections().to_string().as_bytes()).await,
            "/retried" => {
                assert!(self.endpoint.retried() > 0);
                whole(stream, b"yes").await;
            }
            "/echo" => self.echo(stream).await,
            "/wait" => {
                self.tell("waiting");
                poll_fn(|cx| stream.poll_gone(cx)).await;
                self.tell("gone");
            }
            "/slow" => {
                stream.send_head(Response::new(()), false).unwrap();
                let timer = Timer::new();
                timer.set_after(SECOND_NS / 5);
                timer.expired().await;
                write(stream, b"at last").await;
                poll_fn(|cx| stream.poll_finish(cx, &mut None)).await.unwrap();
            }
            "/abandoned" => {
                stream.send_head(Response::new(()), false).unwrap();
                write(stream, b"some").await;
            }
            "/internal" => {
                stream.send_head(Response::new(()), false).unwrap();
                write(stream, b"some").await;
                stream.reset(Reset::Internal);
                poll_fn(|cx| stream.poll_gone(cx)).await;
            }
            "/endless" => self.endless(stream).await,
            path => panic!("{path}"),
        }
    }

    async fn echo(&self, stream: &dyn Stream) {
        stream.send_head(Response::new(()), false).unwrap();
        loop {
            match poll_fn(|cx| stream.poll_body(cx)).await {
                Ok(Some(bytes)) => write(stream, &bytes).await,
                Ok(None) => break,
                Err(_) => return self.tell("body broken off"),
            }
        }
        let mut trailers = poll_fn(|cx| stream.poll_trailers(cx)).await.unwrap();
        poll_fn(|cx| stream.poll_finish(cx, &mut trailers)).await.unwrap();
    }

    /// Writes until nothing was taken for a while, and tells how much was.
    async fn endless(&self, stream: &dyn Stream) {
        stream.send_head(Response::new(()), false).unwrap();
        let (bytes, timer) = (Bytes::from(vec![b'x'; 64 * 1024]), Timer::new());
        let mut written = 0;
        loop {
            timer.set_after(SECOND_NS / 2);
            let step = poll_fn(|cx| {
                if let std::task::Poll::Ready(taken) = stream.poll_write(cx, &bytes) {
                    return std::task::Poll::Ready(Some(taken.unwrap()));
                }
                timer.poll_expired(cx).map(|()| None)
            })
            .await;
            match step {
                Some(taken) => written += taken,
                None => return self.tell(written.to_string()),
            }
        }
    }
}

async fn refuse(stream: &dyn Stream, refusal: Refusal) {
    let head = Response::builder().status(refusal.status()).body(()).unwrap();
    stream.send_head(head, true).unwrap();
    stream.reset(Reset::NoError);
}

async fn whole(stream: &dyn Stream, bytes: &[u8]) {
    let head = Response::builder().header("content-length", bytes.len()).body(()).unwrap();
    stream.send_head(head, bytes.is_empty()).unwrap();
    write(stream, bytes).await;
    poll_fn(|cx| stream.poll_finish(cx, &mut None)).await.unwrap();
}

async fn write(stream: &dyn Stream, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match poll_fn(|cx| stream.poll_write(cx, bytes)).await {
            Ok(written) => bytes = &bytes[written..],
            Err(_) => return,
        }
    }
}
