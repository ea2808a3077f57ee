//! Web servers that can be made to misbehave, asked by curl from the balancer's host.

use crate::{PATIENCE, small};
use causeway_lab::{
    Balancers, Behaviour, ECS01, ExtraServer, Fault, LB, Lab, LabOptions, crowd_address, index_page,
    requirement, web_servers,
};
use std::net::{SocketAddr, TcpStream};
use std::process::Output;
use std::time::{Duration, Instant};

/// curl's exit codes for what a server may do instead of answering.
const CONNECTION_REFUSED: i32 = 7;
const WRONG_ANSWER: i32 = 1;
const CUT_SHORT: i32 = 18;
const TIMED_OUT: i32 = 28;
const CLOSED_EARLY: i32 = 52;
const UNTRUSTED: i32 = 60;

/// What a command of curl's on `host` printed, or its exit code.
pub fn curl(lab: &Lab, host: &str, arguments: &[&str]) -> Result<String, i32> {
    let mut command = lab.command(host, "curl").expect("a host of the lab");
    command.args(["-sS", "--max-time", "5"]).args(arguments);
    let Output { status, stdout, .. } = command.output().expect("curl is installed");
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    Err(status.code().expect("curl ends by itself"))
}

fn get(lab: &Lab, url: &str) -> Result<String, i32> {
    curl(lab, LB, &[url])
}

fn status(lab: &Lab, url: &str) -> Result<String, i32> {
    curl(lab, LB, &["-o", "/dev/null", "-w", "%{http_code}", url])
}

#[test]
fn web_servers_of_both_vswitches_answer_with_their_names() {
    if !requirement::root("web_servers_of_both_vswitches_answer_with_their_names") {
        return;
    }
    let servers = web_servers(2, 2);
    let lab = Lab::up(LabOptions { extra_servers: servers.clone(), ..small("labmany") }).expect("lab up");
    for server in &servers {
        let address = server.address;
        for url in [format!("http://{address}/"), format!("http://{address}:8080/")] {
            assert_eq!(get(&lab, &url).expect("it answers"), index_page(&server.name));
        }
        let head = curl(&lab, LB, &["-I", &format!("http://{address}/health")]).expect("it answers");
        assert!(head.contains(&format!("X-Server: {}\r\n", server.name)), "{head}");
    }
    // From the other vSwitch through the router, from the other region through the tunnel's far side.
    for host in [ECS01, "ecs21", "ecs02"] {
        let page = curl(&lab, host, &["http://172.16.2.42/"]).expect("it answers everywhere");
        assert_eq!(page, index_page("ecs22"));
    }
    lab.stop_server("ecs12").expect("stop");
    assert_eq!(get(&lab, "http://172.16.1.42/"), Err(CONNECTION_REFUSED));
    assert_eq!(get(&lab, "http://172.16.1.41/").expect("others stay"), index_page("ecs11"));
    lab.start_server("ecs12").expect("start");
    assert_eq!(get(&lab, "http://172.16.1.42/").expect("it is back"), index_page("ecs12"));
}

#[test]
fn a_web_server_misbehaves_as_told_until_told_otherwise() {
    if !requirement::root("a_web_server_misbehaves_as_told_until_told_otherwise") {
        return;
    }
    let lab = Lab::up(LabOptions { extra_servers: web_servers(1, 0), ..small("labbehave") }).expect("lab up");
    let page = "http://172.16.1.41/";
    let health = "http://172.16.1.41/health";
    let set = |behaviour| lab.set_behaviour("ecs11", behaviour).expect("it can be told");
    let is_normal = || {
        set(Behaviour::Normal);
        assert_eq!(get(&lab, page).expect("normal again"), index_page("ecs11"));
    };
    is_normal();

    let failures = [
        (Behaviour::CloseEarly, CLOSED_EARLY),
        (Behaviour::CutShort, CUT_SHORT),
        (Behaviour::Garbage, WRONG_ANSWER),
    ];
    for (behaviour, code) in failures {
        set(behaviour.clone());
        assert_eq!(get(&lab, page), Err(code), "{behaviour:?}");
        is_normal();
    }
    set(Behaviour::Hang);
    assert_eq!(curl(&lab, LB, &["--max-time", "0.3", page]), Err(TIMED_OUT));
    is_normal();
    set(Behaviour::Slow(Duration::from_millis(300)));
    let began = Instant::now();
    assert_eq!(get(&lab, page).expect("late"), index_page("ecs11"));
    assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
    is_normal();

    // At one path only, and again after a restart.
    lab.set_behaviour_at("ecs11", "/health", Behaviour::Status(404)).expect("set");
    for _ in 0..2 {
        assert_eq!(status(&lab, health), Ok("404".into()));
        assert_eq!(status(&lab, page), Ok("200".into()));
        lab.stop_server("ecs11").expect("stop");
        lab.start_server("ecs11").expect("start");
    }
    lab.set_behaviour_at("ecs11", "/health", Behaviour::Normal).expect("set");
    assert_eq!(get(&lab, health), Ok("ok\n".into()));

    // Counted by requests, from when it is set.
    for _ in 0..2 {
        lab.set_behaviour_at("ecs11", "/health", Behaviour::Flap { pass: 2, fail: 1 }).expect("set");
        let answers: Vec<_> = (0..5).map(|_| status(&lab, health).expect("an answer")).collect();
        assert_eq!(answers, ["200", "200", "503", "200", "200"]);
    }
    let error = lab.set_behaviour(ECS01, Behaviour::Hang).expect_err("the tutorial's servers are plain");
    assert!(error.to_string().contains("ecs01"), "{error}");
}

#[test]
fn a_web_server_speaks_tls_with_a_certificate_of_its_own_making() {
    if !requirement::root("a_web_server_speaks_tls_with_a_certificate_of_its_own_making") {
        return;
    }
    let lab = Lab::up(LabOptions { extra_servers: web_servers(1, 0), ..small("labtls") }).expect("lab up");
    let url = "https://172.16.1.41/";
    assert_eq!(get(&lab, url), Err(UNTRUSTED));
    assert_eq!(curl(&lab, LB, &["-k", "--http1.1", url]).expect("it answers"), index_page("ecs11"));
    let [certificate, _] = lab.layout().certificate().map(|file| file.display().to_string());
    let by_name = ["--cacert", &certificate, "--resolve", "www.example.test:443:172.16.1.41"];
    let page = curl(&lab, LB, &[&by_name[..], &["https://www.example.test/"]].concat()).expect("trusted");
    assert_eq!(page, index_page("ecs11"));
    lab.set_behaviour("ecs11", Behaviour::Status(404)).expect("set");
    let arguments = ["-k", "-o", "/dev/null", "-w", "%{http_code}", url];
    assert_eq!(curl(&lab, LB, &arguments), Ok("404".into()));
}

#[test]
fn a_hung_request_is_given_up_when_the_server_no_longer_hangs() {
    if !requirement::root("a_hung_request_is_given_up_when_the_server_no_longer_hangs") {
        return;
    }
    let lab = Lab::up(LabOptions { extra_servers: web_servers(1, 0), ..small("labhang") }).expect("lab up");
    lab.set_behaviour("ecs11", Behaviour::Hang).expect("set");
    std::thread::scope(|scope| {
        let hung = scope.spawn(|| get(&lab, "http://172.16.1.41/"));
        // The request is there once its connection is established on the server's side.
        let mut sockets = String::new();
        while !sockets.contains(":80") {
            sockets = lab.run("ecs11", &["ss", "-Htn", "state", "established"]).expect("ss lists sockets");
        }
        lab.set_behaviour("ecs11", Behaviour::Normal).expect("set");
        let outcome = hung.join().expect("curl ends");
        // Had it not been read yet, it is answered.
        assert!(outcome == Err(CLOSED_EARLY) || outcome == Ok(index_page("ecs11")), "{outcome:?}");
    });
}

#[test]
fn a_web_server_has_delays_cookies_and_an_echo_for_tests() {
    if !requirement::root("a_web_server_has_delays_cookies_and_an_echo_for_tests") {
        return;
    }
    let lab = Lab::up(LabOptions { extra_servers: web_servers(1, 0), ..small("labecho") }).expect("lab up");
    let began = Instant::now();
    assert_eq!(get(&lab, "http://172.16.1.41/slow?s=0.4").expect("late"), index_page("ecs11"));
    assert!(began.elapsed() >= Duration::from_millis(400), "{:?}", began.elapsed());

    let cookies = || -> Vec<String> {
        let head = curl(&lab, LB, &["-I", "http://172.16.1.41/login"]).expect("it answers");
        head.lines().filter_map(|line| line.strip_prefix("Set-Cookie: ")).map(str::to_owned).collect()
    };
    assert_eq!(cookies(), ["APPSESSION=ecs11-1; Path=/; HttpOnly", "theme=dark; Path=/"]);
    assert_eq!(cookies()[0], "APPSESSION=ecs11-2; Path=/; HttpOnly");

    let arguments = ["-H", "Cookie: a=\"b\"; c=d", "--data-binary", "12345", "http://172.16.1.41/echo/x?y=z"];
    let echo = curl(&lab, LB, &arguments).expect("it answers");
    for part in [
        r#"{"server":"ecs11","peer":"172.16.1.10","method":"POST","uri":"/echo/x?y=z","headers":{"#,
        r#""cookie":"a=\u0022b\u0022; c=d""#,
        r#""body_bytes":5}"#,
    ] {
        assert!(echo.contains(part), "{part} is not in {echo}");
    }
}

#[test]
fn a_crowd_answers_at_each_of_a_thousand_addresses_and_refuses_at_some() {
    if !requirement::root("a_crowd_answers_at_each_of_a_thousand_addresses_and_refuses_at_some") {
        return;
    }
    let options = LabOptions { extra_servers: vec![ExtraServer::crowd()], ..small("labcrowd") };
    for balancers in [Balancers::OneHost, Balancers::HostPerZone] {
        let lab = Lab::up(LabOptions { balancers, ..options.clone() }).expect("lab up");
        for host in lab.balancers() {
            let connect = |number: u16| {
                let to = SocketAddr::from((crowd_address(number), 80));
                TcpStream::connect_timeout(&to, PATIENCE).map(|stream| stream.peer_addr())
            };
            let all = || (0..1000).filter(|number| connect(*number).is_err()).count();
            assert_eq!(lab.within(host, all).expect("enter the host"), 0, "of {host}'s");
            let page = curl(&lab, host, &["http://172.16.67.232/"]);
            assert_eq!(page, Ok("Hello World! This is 172.16.67.232 in Chengdu.".into()));
        }
        let refuse = |numbers: &[u16]| {
            let fault = Fault::CrowdRefuses(numbers.iter().copied().map(crowd_address).collect());
            lab.inject(&fault).expect("inject");
            fault
        };
        let url = |number| format!("http://{}/", crowd_address(number));
        refuse(&[0]);
        let fault = refuse(&[1, 2]);
        assert!(get(&lab, &url(0)).is_ok() && get(&lab, &url(3)).is_ok());
        assert_eq!(get(&lab, &url(2)), Err(CONNECTION_REFUSED));
        lab.mend(&fault).expect("mend");
        assert!(get(&lab, &url(2)).is_ok());
    }
}
