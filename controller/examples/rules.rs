//! What finding a rule costs, for `cargo xtask bench rules`: prints `KIND RULES HIT_NS MISS_NS` for each kind and number
//! of rules, tab-separated. A hit's rule is anywhere in the list; the last one of each list is among the requests.

use controller::model::{Actions, Condition, Pattern};
use controller::rules::{Fields, RequestView, RuleSet};
use controller::snapshot::RuleSnapshot;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// A request that has no header lines: rules on host and path read none.
struct NoLines;

impl Fields for NoLines {
    fn any(&self, _: &str, _: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        false
    }
}

/// Rules of one kind: the conditions of the rule of a number, and host and path of a request that it alone matches.
struct Kind {
    name: &'static str,
    host: fn(usize) -> Option<String>,
    path: fn(usize) -> Option<String>,
    asked: fn(usize) -> (String, String),
}

const KINDS: [Kind; 8] = [
    Kind {
        name: "host",
        host: |number| Some(format!("shop-{number}.example.com")),
        path: |_| None,
        asked: |number| (format!("shop-{number}.example.com"), "/index.html".into()),
    },
    Kind {
        name: "*.host",
        host: |number| Some(format!("*.shop-{number}.example.com")),
        path: |_| None,
        asked: |number| (format!("www.shop-{number}.example.com"), "/index.html".into()),
    },
    Kind {
        name: "path",
        host: |_| None,
        path: |number| Some(format!("/api/v{}/service-{number}", number % 7)),
        asked: |number| ("www.example.com".into(), format!("/api/v{}/service-{number}", number % 7)),
    },
    Kind {
        name: "path*",
        host: |_| None,
        path: |number| Some(format!("/api/v{}/service-{number}/*", number % 7)),
        asked: |number| ("www.example.com".into(), format!("/api/v{}/service-{number}/users/42", number % 7)),
    },
    Kind {
        // Beginnings of 25 lengths, each request's a part of which many are the same.
        name: "deep path*",
        host: |_| None,
        path: |number| Some(format!("{}{number}/*", "/a".repeat(number % 25))),
        asked: |number| ("www.example.com".into(), format!("{}{number}/users/42", "/a".repeat(number % 25))),
    },
    Kind {
        name: "host path*",
        host: |number| Some(format!("shop-{}.example.com", number / 100)),
        path: |number| Some(format!("/service-{}/*", number % 100)),
        asked: |number| {
            (format!("shop-{}.example.com", number / 100), format!("/service-{}/users/42", number % 100))
        },
    },
    Kind {
        name: "*.host path",
        host: |number| Some(format!("*.shop-{}.example.com", number % 100)),
        path: |number| Some(format!("/service-{number}")),
        asked: |number| (format!("www.shop-{}.example.com", number % 100), format!("/service-{number}")),
    },
    Kind {
        name: "mixed",
        host: |number| match number % 4 {
            0 => Some(format!("shop-{number}.example.com")),
            1 => Some(format!("*.shop-{number}.example.com")),
            2 => None,
            _ => Some(format!("mall-{}.example.com", number / 400)),
        },
        path: |number| match number % 4 {
            0 | 1 => None,
            2 => Some(format!("/api/service-{number}/*")),
            _ => Some(format!("/service-{number}")),
        },
        asked: |number| match number % 4 {
            0 => (format!("shop-{number}.example.com"), "/index.html".into()),
            1 => (format!("www.shop-{number}.example.com"), "/index.html".into()),
            2 => ("www.example.com".into(), format!("/api/service-{number}/users/42")),
            _ => (format!("mall-{}.example.com", number / 400), format!("/service-{number}")),
        },
    },
];

fn rule(kind: &Kind, number: usize) -> RuleSnapshot {
    let hosts = (kind.host)(number).map(|host| Condition::Host(vec![Pattern::glob(host)]));
    let paths = (kind.path)(number).map(|path| Condition::Path(vec![Pattern::glob(path)]));
    RuleSnapshot {
        id: format!("rule-{number}"),
        conditions: hosts.into_iter().chain(paths).collect(),
        actions: Actions { extensions: vec![], last: None },
    }
}

/// Requests of each measurement, in an order in which no rule's memory is near the one before.
const REQUESTS: usize = 1000;
/// As long as one measurement takes at least; the best of several counts, since a machine has other things to do.
const LENGTH: Duration = Duration::from_millis(20);
const MEASUREMENTS: usize = 5;

fn main() {
    for kind in &KINDS {
        for count in [10, 100, 1_000, 10_000] {
            let rules: Vec<_> = (0..count).map(|number| rule(kind, number)).collect();
            let set = RuleSet::new(&rules).expect("patterns without regular expressions compile");
            let scattered = |request: usize| if request == 0 { count - 1 } else { request * 7919 % count };
            let hits: Vec<_> = (0..REQUESTS).map(|request| (kind.asked)(scattered(request))).collect();
            // As like the others as can be, of rules that there are not.
            let misses: Vec<_> = (0..REQUESTS).map(|request| (kind.asked)(count + 400 + request)).collect();
            for (number, (host, path)) in (0..).zip(&hits) {
                let found = set.find(&request(host, path)).map(|found| found.index);
                assert_eq!(found, Some(scattered(number)), "{host}{path}");
            }
            assert!(misses.iter().all(|(host, path)| set.find(&request(host, path)).is_none()));
            println!(
                "{}\t{count}\t{:.0}\t{:.0}",
                kind.name,
                nanoseconds(&set, &hits),
                nanoseconds(&set, &misses)
            );
        }
    }
}

fn request<'a>(host: &'a str, path: &'a str) -> RequestView<'a> {
    RequestView {
        host: host.as_bytes(),
        path: path.as_bytes(),
        query: None,
        method: b"GET",
        client: [192, 0, 2, 1].into(),
        fields: &NoLines,
    }
}

/// Of one find, on average over all requests.
fn nanoseconds(set: &RuleSet, requests: &[(String, String)]) -> f64 {
    let measure = || {
        let (start, mut rounds) = (Instant::now(), 0);
        while start.elapsed() < LENGTH {
            for (host, path) in requests {
                black_box(set.find(black_box(&request(host, path))));
            }
            rounds += 1;
        }
        start.elapsed().as_secs_f64() * 1e9 / (rounds * requests.len()) as f64
    };
    (0..MEASUREMENTS).map(|_| measure()).fold(f64::INFINITY, f64::min)
}
