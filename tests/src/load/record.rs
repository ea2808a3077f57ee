//! What came of a load's requests.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// An answer, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its header lines, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The first 64 KiB of its body.
    pub body: Vec<u8>,
    /// Length of its body in bytes.
    pub body_bytes: usize,
}

impl Answer {
    /// The value of the first header `name`, which is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).next()
    }

    /// The values of all headers `name`, which is in lower case.
    pub fn headers<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        self.headers.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The server that answered: as it says in `X-Server`, or in its page.
    pub fn server(&self) -> Option<String> {
        if let Some(name) = self.header("x-server") {
            return Some(name.to_owned());
        }
        let page = std::str::from_utf8(&self.body).ok()?;
        let (name, _) = page.strip_prefix("Hello World! This is ")?.split_once(" in ")?;
        Some(name.to_lowercase())
    }
}

/// One request of a load.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its number, from 0.
    pub number: u64,
    /// When it was to begin.
    pub due: Instant,
    /// When it began: later than due if the machine was busy.
    pub began: Instant,
    /// From its beginning to the end of the answer, or to its failure.
    pub took: Duration,
    /// The client's address, if it was given.
    pub source: Option<IpAddr>,
    /// The user, if users take turns.
    pub user: Option<usize>,
    /// What was asked for, query and all.
    pub path: String,
    /// Whether it went over a connection that had carried another.
    pub reused: bool,
    /// The answer, or what happened instead.
    pub outcome: Result<Answer, String>,
}

impl Record {
    /// The answer.
    ///
    /// # Panics
    /// If there was none.
    #[track_caller]
    pub fn answer(&self) -> &Answer {
        self.outcome.as_ref().unwrap_or_else(|error| panic!("request {}: {error}", self.number))
    }

    /// Its status; `None` if there was no answer.
    pub fn status(&self) -> Option<u16> {
        self.outcome.as_ref().ok().map(|answer| answer.status)
    }

    /// The server that answered, if one did.
    pub fn server(&self) -> Option<String> {
        self.outcome.as_ref().ok()?.server()
    }

    /// Whether it was answered with 200.
    pub fn is_good(&self) -> bool {
        self.status() == Some(200)
    }

    /// When it ended.
    pub fn ended(&self) -> Instant {
        self.began + self.took
    }
}

/// Requests of a load, by number.
#[derive(Clone, Debug, Default)]
pub struct Records(pub Vec<Record>);

impl Records {
    /// Each, by number.
    pub fn iter(&self) -> std::slice::Iter<'_, Record> {
        self.0.iter()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that `keep`.
    #[must_use]
    pub fn only(&self, keep: impl Fn(&Record) -> bool) -> Records {
        Records(self.iter().filter(|record| keep(record)).cloned().collect())
    }

    /// Those that began in this time.
    #[must_use]
    pub fn between(&self, from: Instant, to: Instant) -> Records {
        self.only(|record| (from..to).contains(&record.began))
    }

    /// How many each server answered with 200.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for server in self.iter().filter(|record| record.is_good()).filter_map(Record::server) {
            *counts.entry(server).or_default() += 1;
        }
        counts
    }

    /// What part of the requests that were answered with 200 `server` answered; 0 if there are none.
    pub fn share(&self, server: &str) -> f64 {
        let counts = self.counts();
        let all: usize = counts.values().sum();
        if all == 0 { 0.0 } else { counts.get(server).copied().unwrap_or(0) as f64 / all as f64 }
    }

    /// The requests that began in each of the whole windows of `width` from `from` on.
    pub fn windows(&self, from: Instant, width: Duration) -> Vec<Records> {
        let Some(last) = self.iter().map(|record| record.began).max() else { return Vec::new() };
        let whole = last.saturating_duration_since(from).as_nanos() / width.as_nanos();
        let mut windows = vec![Records::default(); usize::try_from(whole).expect("a test is short")];
        for record in self.iter().filter(|record| record.began >= from) {
            let window = (record.began - from).as_nanos() / width.as_nanos();
            if let Some(window) = usize::try_from(window).ok().and_then(|index| windows.get_mut(index)) {
                window.0.push(record.clone());
            }
        }
        windows
    }

    /// Requests that began per second; 0 for fewer than two.
    pub fn rate(&self) -> f64 {
        let began = |record: &Record| record.began;
        let (Some(first), Some(last)) = (self.iter().map(began).min(), self.iter().map(began).max()) else {
            return 0.0;
        };
        if first == last { 0.0 } else { (self.len() - 1) as f64 / (last - first).as_secs_f64() }
    }

    /// Those that were not answered with 200.
    #[must_use]
    pub fn failed(&self) -> Records {
        self.only(|record| !record.is_good())
    }

    /// Asserts that there are requests, and that each was answered with 200.
    #[track_caller]
    pub fn assert_none_failed(&self) {
        assert!(!self.is_empty(), "no request ended");
        let failed = self.failed();
        let first = self.0[0].due;
        let lines: Vec<String> = failed.iter().take(20).map(|record| record.describe(first)).collect();
        assert!(failed.is_empty(), "{} of {} failed, the first: {lines:#?}", failed.len(), self.len());
    }
}

impl Record {
    fn describe(&self, first: Instant) -> String {
        let how = match &self.outcome {
            Ok(answer) => answer.status.to_string(),
            Err(error) => error.clone(),
        };
        let at = self.began.saturating_duration_since(first);
        let reused = if self.reused { ", on a kept connection" } else { "" };
        format!("number {} at {at:?}, after {:?}{reused}: {how}", self.number, self.took)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: u64, began: Instant, status: u16, server: &str) -> Record {
        let headers = vec![("x-server".to_owned(), server.to_owned())];
        Record {
            number,
            due: began,
            began,
            took: Duration::from_millis(1),
            source: None,
            user: None,
            path: "/".into(),
            reused: false,
            outcome: Ok(Answer { status, headers, body: Vec::new(), body_bytes: 0 }),
        }
    }

    #[test]
    fn windows_are_whole_and_begin_where_they_should() {
        let began = Instant::now();
        let at = |millis| began + Duration::from_millis(millis);
        let rows = [(0, 0, "a"), (1, 100, "a"), (2, 1000, "b"), (3, 1999, "a"), (4, 2500, "a")];
        let records =
            Records(rows.map(|(number, millis, server)| record(number, at(millis), 200, server)).into());
        let sizes = |from| -> Vec<usize> {
            records.windows(from, Duration::from_secs(1)).iter().map(Records::len).collect()
        };
        assert_eq!(sizes(at(0)), [2, 2]);
        assert_eq!(sizes(at(50)), [2, 1]);
        assert_eq!(records.windows(at(0), Duration::from_secs(1))[1].share("b"), 0.5);
        assert_eq!(records.rate(), 4.0 / 2.5);
        assert_eq!(records.between(at(100), at(1999)).len(), 2);
    }

    #[test]
    fn only_good_answers_count_for_a_server() {
        let began = Instant::now();
        let mut records = Records(vec![record(0, began, 200, "a"), record(1, began, 502, "a")]);
        records.0.push(Record { outcome: Err("reset".into()), ..record(2, began, 200, "a") });
        assert_eq!(records.counts(), BTreeMap::from([("a".to_owned(), 1)]));
        assert_eq!(records.failed().iter().map(|record| record.number).collect::<Vec<_>>(), [1, 2]);
        let message = std::panic::catch_unwind(|| records.assert_none_failed()).expect_err("two failed");
        let message = message.downcast_ref::<String>().expect("a message");
        assert!(message.contains("2 of 3 failed") && message.contains(": 502"), "{message}");
    }

    #[test]
    fn the_tutorials_pages_name_their_server() {
        let body = causeway_lab::index_page(causeway_lab::ECS02).into_bytes();
        let answer = Answer { status: 200, headers: Vec::new(), body_bytes: body.len(), body };
        assert_eq!(answer.server().as_deref(), Some(causeway_lab::ECS02));
    }
}
