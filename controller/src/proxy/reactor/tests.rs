use super::*;
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MS: u64 = 1_000_000;

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
        let error = connect(address).await.err().expect("nobody listens");
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
    run(async { panic!("on purpose") }).unwrap();
}
