use super::*;
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MS: u64 = 1_000_000;

/// [`super::run`], of a test: a panic in its task ends the task and not the reactor, so it must come to its end.
fn run(test: impl Future<Output = ()> + 'static) -> io::Result<()> {
    let ended = Rc::new(Cell::new(false));
    let end = ended.clone();
    super::run(async move {
        test.await;
        end.set(true);
    })?;
    assert!(ended.get(), "the test's task panicked");
    Ok(())
}

fn listen() -> (std::net::TcpListener, SocketAddr) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    (listener, address)
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).unwrap();
    TcpStream::connect(socket, address).await
}

#[test]
fn echoes_through_tokio_traits() {
    run(async {
        let (listener, address) = listen();
        let listener = TcpListener::new(listener).unwrap();
        spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
        });
        let mut stream = connect(address).await.unwrap();
        let sent: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
        stream.write_all(&sent).await.unwrap();
        stream.shutdown().unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).await.unwrap();
        assert!(got == sent);
    })
    .unwrap();
}

#[test]
fn tells_of_a_refused_connection() {
    run(async {
        let (listener, address) = listen();
        drop(listener);
        let error = connect(address).await.expect_err("nobody listens");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    })
    .unwrap();
}

#[test]
fn is_woken_from_another_thread() {
    run(async {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || sender.send(7).unwrap());
        assert_eq!(receiver.await, Ok(7));
        thread.join().unwrap();
    })
    .unwrap();
}

#[test]
fn timers_fire_in_order_and_can_be_pushed_on() {
    run(async {
        let order = Rc::new(RefCell::new(Vec::new()));
        for ms in [60, 20, 40] {
            let order = order.clone();
            spawn(async move {
                let timer = Timer::new();
                timer.set_after(1);
                timer.set_after(ms * MS);
                timer.expired().await;
                order.borrow_mut().push(ms);
            });
        }
        let timer = Timer::new();
        let start = now();
        timer.set_after(120 * MS);
        timer.expired().await;
        assert!(now() >= start + 120 * MS);
        assert_eq!(*order.borrow(), [20, 40, 60]);
    })
    .unwrap();
}

#[test]
fn sees_the_peer_hang_up_behind_unread_data() {
    run(async {
        let (listener, address) = listen();
        let listener = TcpListener::new(listener).unwrap();
        let thread = std::thread::spawn(move || {
            let mut peer = std::net::TcpStream::connect(address).unwrap();
            peer.write_all(b"left behind").unwrap();
        });
        let (stream, _) = listener.accept().await.unwrap();
        poll_fn(|cx| stream.poll_hung_up(cx)).await;
        assert!(!stream.is_quiet());
        let mut buffer = [0; 64];
        assert_eq!(poll_fn(|cx| stream.poll_read(cx, &mut buffer)).await.unwrap(), 11);
        assert_eq!(poll_fn(|cx| stream.poll_read(cx, &mut buffer)).await.unwrap(), 0);
        thread.join().unwrap();
    })
    .unwrap();
}

#[test]
fn an_idle_connection_is_quiet_until_something_comes() {
    run(async {
        let (listener, address) = listen();
        let (mut peer, stream) = {
            let stream = connect(address).await.unwrap();
            listener.set_nonblocking(false).unwrap();
            (listener.accept().unwrap().0, stream)
        };
        assert!(stream.is_quiet());
        peer.write_all(b"x").unwrap();
        poll_fn(|cx| stream.poll_readable(cx)).await;
        assert!(!stream.is_quiet());
        // Exactly as long as the buffer: the kernel has to be asked whether there is more.
        let mut buffer = [0; 1];
        assert_eq!(poll_fn(|cx| stream.poll_read(cx, &mut buffer)).await.unwrap(), 1);
        assert!(stream.is_quiet());
        drop(stream);
        assert_eq!(peer.read(&mut buffer).unwrap(), 0);
    })
    .unwrap();
}

#[test]
fn drops_waiting_tasks_at_the_end_and_wakes_all_on_demand() {
    struct Flag(Rc<Cell<u32>>);
    impl Drop for Flag {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let dropped = Rc::new(Cell::new(0));
    let flag = dropped.clone();
    run(async move {
        let woken = Rc::new(Cell::new(0));
        for _ in 0..3 {
            let (flag, woken) = (Flag(flag.clone()), woken.clone());
            spawn(async move {
                let _flag = flag;
                let timer = Timer::new();
                poll_fn(|_| {
                    woken.set(woken.get() + 1);
                    Poll::<()>::Pending
                })
                .await;
                drop(timer);
            });
        }
        let timer = Timer::new();
        timer.set_after(10 * MS);
        timer.expired().await;
        assert_eq!(woken.get(), 3);
        wake_all();
        timer.set_after(20 * MS);
        timer.expired().await;
        assert_eq!(woken.get(), 6);
    })
    .unwrap();
    assert_eq!(dropped.get(), 3);
}

#[test]
fn a_task_that_panics_takes_no_other_with_it() {
    run(async {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        spawn(async { panic!("on purpose") });
        spawn(async move {
            next_turn().await;
            sender.send(7).unwrap();
        });
        assert_eq!(receiver.await, Ok(7));
    })
    .unwrap();
    // A reactor whose main task panicked ends instead of waiting for ever.
    super::run(async { panic!("on purpose") }).unwrap();
}

fn udp() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::new(std::net::UdpSocket::bind("127.0.0.1:0").unwrap(), true).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

async fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut bytes = vec![0; 65_536];
    let mut meta = [quinn::udp::RecvMeta::default()];
    let received =
        poll_fn(|cx| socket.poll_recv(cx, &mut [io::IoSliceMut::new(&mut bytes)], &mut meta)).await.unwrap();
    assert_eq!(received, 1);
    bytes.truncate(meta[0].len);
    (bytes, meta[0].addr)
}

fn datagram(destination: SocketAddr, contents: &[u8]) -> quinn::udp::Transmit<'_> {
    quinn::udp::Transmit { destination, ecn: None, contents, segment_size: None, src_ip: None }
}

#[test]
fn datagrams_come_whole_and_in_order_and_more_than_one_waiting_sender_goes_on() {
    const SENDERS: u32 = 3;
    const EACH: u32 = 2000;
    run(async {
        let ((server, address), (client, from)) = (udp(), udp());
        let client = Rc::new(client);
        let (done, mut waiting) = tokio::sync::mpsc::channel(8);
        for sender in 0..SENDERS {
            let (client, done) = (client.clone(), done.clone());
            spawn(async move {
                for number in 0..EACH {
                    let bytes = [sender.to_be_bytes(), number.to_be_bytes()].concat();
                    while client.try_send(&datagram(address, &bytes)).is_err() {
                        poll_fn(|cx| client.poll_writable(cx)).await;
                    }
                    next_turn().await;
                }
                done.send(()).await.unwrap();
            });
        }
        // Loopback loses what the receiver's buffer does not hold, so only the order of what arrives is certain.
        let mut last = [None; SENDERS as usize];
        let mut ended = 0;
        while ended < SENDERS {
            tokio::select! {
                biased;
                (bytes, peer) = receive(&server) => {
                    assert_eq!((bytes.len(), peer), (8, from));
                    let number = |part: &[u8]| u32::from_be_bytes(part.try_into().unwrap());
                    let (sender, number) = (number(&bytes[..4]) as usize, number(&bytes[4..]));
                    assert!(last[sender].is_none_or(|before| before < number));
                    last[sender] = Some(number);
                }
                _ = waiting.recv() => ended += 1,
            }
        }
        assert!(last.iter().all(Option::is_some));
    })
    .unwrap();
}

#[test]
fn a_fine_timer_fires_at_its_deadline_and_not_before() {
    run(async {
        let timer = Timer::fine();
        for ms in [1, 3, 1500] {
            let deadline = now() + ms * MS;
            timer.set_after(ms * MS);
            timer.expired().await;
            assert!(now() >= deadline, "{ms}");
        }
    })
    .unwrap();
}
