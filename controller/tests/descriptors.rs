//! Clients that open connections without end. In a process of its own, since the limit is the whole process's.

#[expect(dead_code, reason = "shared with the proxy's tests, which use all of it")]
#[path = "proxy/harness.rs"]
mod harness;

use harness::{Balancer, Server};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const LIMIT: u64 = 256;
const GREEDY: usize = 400;
/// Set for the process that plays the clients, which must not share our descriptors.
const TARGET: &str = "CAUSEWAY_TEST_GREEDY_TARGET";

fn limit_descriptors() {
    let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure lives across both calls.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limits), 0);
        limits.rlim_cur = LIMIT;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limits), 0);
    }
}

fn cpu_time() -> Duration {
    // SAFETY: plain data, for which zero is valid; filled by the call.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the structure lives across the call.
    assert_eq!(unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) }, 0);
    let of = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    of(usage.ru_utime) + of(usage.ru_stime)
}

/// Opens many connections, says so, and holds them until standard input ends. Only in the process [`greedy`] starts.
#[test]
fn plays_the_greedy_client() {
    let Ok(target) = std::env::var(TARGET) else { return };
    assert!(controller::proxy::raise_limit().unwrap() > GREEDY as u64, "the hard limit is too low");
    let target: SocketAddr = target.parse().unwrap();
    let held: Vec<TcpStream> = (0..GREEDY).map(|_| TcpStream::connect(target).unwrap()).collect();
    println!("\nholding");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    drop(held);
}

fn greedy(target: SocketAddr) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "plays_the_greedy_client", "--nocapture"])
        .env(TARGET, target.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "holding"), "the clients could not connect");
    child
}

#[test]
fn clients_without_number_leave_descriptors_for_the_rest_and_cost_no_time() {
    limit_descriptors();
    let server = Server::named("a");
    let balancer = Balancer::new(&[server.address]);
    let mut early = balancer.client();
    assert_eq!(early.request("GET / HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);

    let mut clients = greedy(balancer.address);
    let files: Vec<_> = (0..32).map(|_| File::open("/dev/null")).collect();
    assert!(files.iter().all(Result::is_ok), "nothing is left for probes and files");
    drop(files);
    let response = early.request("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!(response.status, 200, "who was there first is served");
    let before = cpu_time();
    std::thread::sleep(Duration::from_secs(1));
    let spent = cpu_time() - before;
    assert!(spent < Duration::from_millis(250), "{spent:?} of a second spent on refusing");

    drop(clients.stdin.take());
    clients.wait().unwrap();
    assert_eq!(balancer.get("/").status, 200, "it accepts again");
}
