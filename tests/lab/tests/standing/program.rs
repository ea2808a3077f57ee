//! The gRPC server and the HTTP function, asked by independent clients.

use crate::small;
use crate::web::curl;
use causeway_lab::{
    ExtraServer, FUNCTION_PORT, FUNCTION_PREFIX, GRPC_PORT, GrpcHealth, LB, Lab, LabOptions, requirement,
};
use std::time::{Duration, Instant};

const CHECK: &str = "/grpc.health.v1.Health/Check";
const DEADLINE_EXCEEDED: &str = "4";

/// gRPC status, message in hexadecimal and trailers of one call with `message`.
fn call(lab: &Lab, method: &str, message: &str, seconds: &str) -> [String; 3] {
    let server = ExtraServer::grpc().address;
    let target = format!("{server}:{GRPC_PORT}");
    let client = concat!(env!("CARGO_MANIFEST_DIR"), "/programs/grpc_client.py");
    let words = ["/usr/bin/python3", client, &target, method, message, seconds];
    let output = lab.run(LB, &words).expect("the client prints what it got");
    let lines: Vec<String> = output.lines().map(str::to_owned).collect();
    lines.try_into().expect("three lines")
}

#[test]
fn a_grpc_server_says_of_its_health_what_it_was_told() {
    if !requirement::root("a_grpc_server_says_of_its_health_what_it_was_told") {
        return;
    }
    let lab = Lab::up(LabOptions { extra_servers: vec![ExtraServer::grpc()], ..small("labgrpc") });
    let lab = lab.expect("lab up");
    let answer = |seconds| {
        let [code, message, _] = call(&lab, CHECK, "", seconds);
        (code, message)
    };
    assert_eq!(answer("5"), ("0".into(), "0801".into()), "SERVING from the start");
    let cases = [
        (GrpcHealth::NotServing, "0", "0802"),
        (GrpcHealth::Code(12), "12", ""),
        (GrpcHealth::Code(14), "14", ""),
        (GrpcHealth::Serving, "0", "0801"),
    ];
    for (health, code, message) in cases {
        lab.set_grpc_health("grpc", health).expect("it can be told");
        assert_eq!(answer("5"), (code.into(), message.into()), "{health:?}");
    }
    lab.set_grpc_health("grpc", GrpcHealth::Hang).expect("it can be told");
    assert_eq!(answer("0.3").0, DEADLINE_EXCEEDED);
    lab.set_grpc_health("grpc", GrpcHealth::Serving).expect("it can be told");
    let [code, message, trailers] = call(&lab, "/lab.Shop/Echo", "0a0568656c6c6f", "5");
    assert_eq!((code.as_str(), message.as_str()), ("0", "0a0568656c6c6f"));
    assert!(trailers.contains("'x-server', value='grpc'"), "{trailers}");

    lab.stop_server("grpc").expect("stop");
    assert_eq!(answer("1").0, "14", "UNAVAILABLE: nobody listens");
    lab.start_server("grpc").expect("start");
    assert_eq!(answer("5").0, "0");
    assert!(lab.set_grpc_health("ecs01", GrpcHealth::Hang).is_err());
}

#[test]
fn a_function_reports_what_it_was_called_with() {
    if !requirement::root("a_function_reports_what_it_was_called_with") {
        return;
    }
    let lab = Lab::up(LabOptions { extra_servers: vec![ExtraServer::function()], ..small("labfc") });
    let lab = lab.expect("lab up");
    let origin = format!("http://{}:{FUNCTION_PORT}", ExtraServer::function().address);
    let url = |rest: &str| format!("{origin}{FUNCTION_PREFIX}{rest}");

    let arguments = ["-H", "X-Shop: 7", "-H", "Transfer-Encoding: chunked", "-d", "12345"];
    let answer = curl(&lab, LB, &[&arguments[..], &[&url("cart?a=b")]].concat()).expect("it answers");
    for part in [
        r#""function": "fc", "invocation": 1, "method": "POST""#,
        r#""path": "/2016-08-15/proxy/shop/checkout/cart", "query": "a=b""#,
        r#""x-shop": "7""#,
        r#""body_bytes": 5}"#,
    ] {
        assert!(answer.contains(part), "{part} is not in {answer}");
    }
    let status = |url: &str| curl(&lab, LB, &["-o", "/dev/null", "-w", "%{http_code}", url]);
    assert_eq!(status(&url("?status=502")), Ok("502".into()));
    assert_eq!(status(&origin), Ok("404".into()), "no function there");
    let began = Instant::now();
    assert_eq!(status(&url("?s=0.3")), Ok("200".into()));
    assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
    // Kept connections, without a delay of the kernel's for each answer.
    let many = format!("{}?[1-20]", url(""));
    let answers = curl(&lab, LB, &["-w", "%{num_connects}\n", "-o", "/dev/null", &many]).expect("answers");
    assert_eq!(answers.lines().filter(|line| *line == "0").count(), 19, "{answers}");
}
