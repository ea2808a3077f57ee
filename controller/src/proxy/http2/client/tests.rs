//! Against h2's server on the same reactor.

use super::*;
use crate::proxy::reactor::{TcpListener, TcpStream};
use h2::server::SendResponse;
use http::{Request, Response};
use std::net::SocketAddr;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

const HEAD: &[u8] =
    b"POST /a.B/C HTTP/1.1\r\nHost: a.example\r\nContent-Type: application/grpc\r\nTE: trailers\r\n\
    Connection: TE\r\nTransfer-Encoding: chunked\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n";

/// A request as the server has it.
struct Received {
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
}

/// What the server is told.
enum Order {
    /// GOAWAY, and end when all is done.
    Leave,
    /// Close without a word.
    Vanish,
}

/// A server of so many calls at a time: its address, its requests, and where orders go.
async fn server(most: u32) -> (SocketAddr, UnboundedReceiver<Received>, UnboundedSender<Order>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let (received, requests) = unbounded_channel();
    let (orders, mut ordered) = unbounded_channel();
    reactor::spawn(async move {
        let listener = TcpListener::new(listener).unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let mut builder = h2::server::Builder::new();
        builder.max_concurrent_streams(most);
        let mut connection = builder.handshake::<_, Bytes>(stream).await.unwrap();
        loop {
            tokio::select! {
                accepted = connection.accept() => match accepted {
                    Some(Ok((request, respond))) => received.send(Received { request, respond }).unwrap(),
                    _ => return,
                },
                Some(order) = ordered.recv() => match order {
                    Order::Leave => connection.graceful_shutdown(),
                    Order::Vanish => return,
                },
            }
        }
    });
    (address, requests, orders)
}

async fn connect(address: SocketAddr) -> TcpStream {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM.nonblocking(), None).unwrap();
    TcpStream::connect(socket, address).await.unwrap()
}

fn run(test: impl Future<Output = ()> + 'static) {
    let done = Rc::new(Cell::new(false));
    let end = done.clone();
    reactor::run(async move {
        test.await;
        end.set(true);
    })
    .unwrap();
    // The reactor catches panics of its tasks.
    assert!(done.get(), "the test panicked");
}

async fn head_of(call: &Call) -> Result<(String, bool), Failure> {
    let mut out = Vec::new();
    let ends = poll_fn(|cx| call.poll_head(cx, &mut out)).await?;
    Ok((String::from_utf8(out).unwrap(), ends))
}

async fn write(call: &Call, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let written = poll_fn(|cx| call.poll_write(cx, bytes)).await.unwrap();
        bytes = &bytes[written..];
    }
}

fn trailers(status: &'static str) -> HeaderMap {
    let mut map = HeaderMap::new();
    map.insert("grpc-status", status.parse().unwrap());
    map
}

fn response() -> Response<()> {
    Response::builder().header("content-type", "application/grpc").body(()).unwrap()
}

async fn wait_until(condition: impl Fn() -> bool) {
    while !condition() {
        reactor::next_turn().await;
    }
}

// Holds LR-132, LR-133
#[test]
fn calls_carry_messages_and_trailers_both_ways() {
    run(async {
        let (address, mut requests, _orders) = server(100).await;
        let links = Links::default();
        let link = links.add(connect(address).await, None, true).unwrap();
        let call = link.call(HEAD, false).unwrap();
        write(&call, b"first").await;
        let Received { request, mut respond } = requests.recv().await.unwrap();
        assert_eq!(request.method(), "POST");
        assert_eq!(request.uri(), "http://a.example/a.B/C");
        let mut names: Vec<_> = request.headers().keys().map(|name| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-type", "te", "x-forwarded-for"]);
        let mut body = request.into_body();
        // One message each way before the next: both directions stay open.
        assert_eq!(body.data().await.unwrap().unwrap(), "first");
        let mut reply = respond.send_response(response(), false).unwrap();
        reply.send_data(Bytes::from_static(b"FIRST"), false).unwrap();
        let text = "HTTP/1.1 200 \r\ncontent-type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(head_of(&call).await, Ok((text.to_owned(), false)));
        assert_eq!(poll_fn(|cx| call.poll_body(cx)).await, Ok(Some(Bytes::from_static(b"FIRST"))));
        write(&call, b"second").await;
        call.finish(Some(trailers("7"))).unwrap();
        assert_eq!(body.data().await.unwrap().unwrap(), "second");
        assert!(body.data().await.is_none());
        assert_eq!(body.trailers().await.unwrap(), Some(trailers("7")));
        reply.send_trailers(trailers("0")).unwrap();
        assert_eq!(poll_fn(|cx| call.poll_body(cx)).await, Ok(None));
        assert_eq!(poll_fn(|cx| call.poll_trailers(cx)).await, Ok(Some(trailers("0"))));
        // Trailers only.
        let call = link.call(HEAD, true).unwrap();
        let Received { request, mut respond } = requests.recv().await.unwrap();
        assert!(request.body().is_end_stream());
        respond.send_response(response(), true).unwrap();
        let text = "HTTP/1.1 200 \r\ncontent-type: application/grpc\r\n\r\n";
        assert_eq!(head_of(&call).await, Ok((text.to_owned(), true)));
        assert_eq!(poll_fn(|cx| call.poll_body(cx)).await, Ok(None));
    });
}

#[test]
fn a_large_message_flows_past_every_window() {
    run(async {
        let (address, mut requests, _orders) = server(100).await;
        let link = Links::default().add(connect(address).await, None, true).unwrap();
        let call = link.call(HEAD, false).unwrap();
        let sent = vec![7; 1_000_000];
        let upload = async {
            write(&call, &sent).await;
            call.finish(None).unwrap();
        };
        let echo = async {
            let Received { request, mut respond } = requests.recv().await.unwrap();
            let mut reply = respond.send_response(response(), false).unwrap();
            let mut body = request.into_body();
            while let Some(data) = body.data().await {
                let data = data.unwrap();
                body.flow_control().release_capacity(data.len()).unwrap();
                reply.send_data(data, false).unwrap();
            }
            reply.send_data(Bytes::new(), true).unwrap();
        };
        let download = async {
            head_of(&call).await.unwrap();
            let mut received = Vec::new();
            while let Some(data) = poll_fn(|cx| call.poll_body(cx)).await.unwrap() {
                received.extend_from_slice(&data);
            }
            received
        };
        let ((), (), received) = tokio::join!(upload, echo, download);
        assert!(received == sent);
    });
}

#[test]
fn a_full_connection_takes_no_more_calls() {
    run(async {
        let (address, mut requests, _orders) = server(2).await;
        let links = Links::default();
        let link = links.add(connect(address).await, None, true).unwrap();
        let first = link.call(HEAD, true).unwrap();
        let Received { respond: mut one, .. } = requests.recv().await.unwrap();
        // The server's settings have come with what it sent meanwhile, or come now.
        one.send_informational(Response::builder().status(103).body(()).unwrap()).unwrap();
        head_of(&first).await.unwrap();
        let second = links.take().unwrap().call(HEAD, true).unwrap();
        assert!(links.take().is_none());
        one.send_response(response(), true).unwrap();
        head_of(&first).await.unwrap();
        drop(first);
        assert!(Rc::ptr_eq(&links.take().unwrap(), &link));
        drop(second);
    });
}

#[test]
fn failures_say_what_is_safe_to_repeat() {
    run(async {
        let (address, mut requests, orders) = server(100).await;
        let link = Links::default().add(connect(address).await, None, true).unwrap();
        for (reason, failure) in [
            (Reason::REFUSED_STREAM, Failure::Unprocessed),
            (Reason::INTERNAL_ERROR, Failure::Reset),
            (Reason::CANCEL, Failure::Reset),
        ] {
            let call = link.call(HEAD, true).unwrap();
            requests.recv().await.unwrap().respond.send_reset(reason);
            assert_eq!(head_of(&call).await, Err(failure), "{reason}");
            // Within the response nothing is safe any more.
            let call = link.call(HEAD, true).unwrap();
            let mut respond = requests.recv().await.unwrap().respond;
            let mut reply = respond.send_response(response(), false).unwrap();
            head_of(&call).await.unwrap();
            reply.send_reset(reason);
            assert_eq!(poll_fn(|cx| call.poll_body(cx)).await, Err(Failure::Reset), "{reason}");
        }
        let within = link.call(HEAD, true).unwrap();
        let mut respond = requests.recv().await.unwrap().respond;
        let reply = respond.send_response(response(), false).unwrap();
        head_of(&within).await.unwrap();
        let before = link.call(HEAD, true).unwrap();
        let received = requests.recv().await.unwrap();
        assert!(orders.send(Order::Vanish).is_ok());
        assert_eq!(head_of(&before).await, Err(Failure::Died));
        assert_eq!(poll_fn(|cx| within.poll_body(cx)).await, Err(Failure::Cut));
        assert_eq!(link.call(HEAD, true).err(), Some(Failure::Unprocessed));
        drop((reply, received));
    });
}

#[test]
fn a_connection_told_to_go_ends_with_its_calls() {
    run(async {
        let (address, mut requests, orders) = server(100).await;
        let links = Links::default();
        let link = links.add(connect(address).await, None, true).unwrap();
        let call = link.call(HEAD, true).unwrap();
        let mut received = requests.recv().await.unwrap();
        assert!(orders.send(Order::Leave).is_ok());
        wait_until(|| links.take().is_none()).await;
        received.respond.send_response(response(), true).unwrap();
        assert!(head_of(&call).await.unwrap().1);
        drop((call, received));
        // The server's end of it is gone too.
        assert!(requests.recv().await.is_none());
    });
}

#[test]
fn a_server_that_left_has_its_connections_closed_after_their_calls() {
    run(async {
        let (address, mut requests, _orders) = server(100).await;
        let links = Links::default();
        let link = links.add(connect(address).await, "127.0.0.1".parse().ok(), true).unwrap();
        links.keep_sources(&["127.0.0.1".parse().unwrap()]);
        assert!(links.take().is_some());
        let call = link.call(HEAD, true).unwrap();
        let mut received = requests.recv().await.unwrap();
        links.close();
        assert!(links.take().is_none());
        received.respond.send_response(response(), true).unwrap();
        assert!(head_of(&call).await.is_ok());
        drop((call, received));
        assert!(requests.recv().await.is_none());
        // One more may have been on its way.
        let (address, mut requests, _orders) = server(100).await;
        let call = links.add(connect(address).await, None, true).unwrap().call(HEAD, true).unwrap();
        let mut received = requests.recv().await.unwrap();
        received.respond.send_response(response(), true).unwrap();
        assert!(head_of(&call).await.is_ok());
        drop((call, received));
        assert!(requests.recv().await.is_none());
    });
}

#[test]
fn a_call_given_up_unanswered_makes_the_connection_prove_itself() {
    run(async {
        let (address, mut requests, _orders) = server(100).await;
        let links = Links::default();
        let link = links.add(connect(address).await, None, true).unwrap();
        let call = link.call(HEAD, true).unwrap();
        let mut received = requests.recv().await.unwrap();
        drop(call);
        assert!(links.take().is_none());
        // The server learns that nobody waits.
        let reset = poll_fn(|cx| received.respond.poll_reset(cx)).await;
        assert_eq!(reset.unwrap(), Reason::CANCEL);
        wait_until(|| links.take().is_some()).await;
        assert!(Rc::ptr_eq(&links.take().unwrap(), &link));
    });
}
