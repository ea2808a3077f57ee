//! The index against the plainest thing that does the same: one rule after the other, one value after the other,
//! written from the requirements alone.

use super::*;

/// A small generator (SplitMix64); tests need no better one.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    /// A text over a few letters, so that many are equal, begin or end alike.
    fn text(&mut self, letters: &str, length_max: usize) -> String {
        let letters: Vec<char> = letters.chars().collect();
        (0..self.below(length_max + 1)).map(|_| letters[self.below(letters.len())]).collect()
    }

    fn list<T>(&mut self, max: usize, mut one: impl FnMut(&mut Random) -> T) -> Vec<T> {
        (0..1 + self.below(max)).map(|_| one(self)).collect()
    }
}

fn pattern(random: &mut Random, letters: &str, before: &str) -> Pattern {
    let literal = random.text(letters, 12);
    match random.below(8) {
        0..=2 => Pattern::Literal(format!("{before}{literal}")),
        3 => Pattern::Wildcard(format!("{before}{literal}*")),
        4 => Pattern::Wildcard(format!("*{literal}")),
        5 | 6 => {
            let text = random.text(&format!("{letters}*?"), 12);
            Pattern::glob(format!("{before}{text}"))
        }
        _ => Pattern::Regex { pattern: "^.[ab]".into(), ignore_case: random.one_in(2) },
    }
}

fn condition(random: &mut Random) -> Condition {
    let field = |random: &mut Random| FieldCondition {
        key: ["X-A", "x-b"][random.below(2)].into(),
        values: random.list(2, |random| pattern(random, "ab", "")),
    };
    let pairs = |random: &mut Random| {
        random.list(2, |random| Pair { key: pattern(random, "ab", ""), value: pattern(random, "ab ", "") })
    };
    match random.below(20) {
        0..=6 => Condition::Host(random.list(3, |random| pattern(random, "ab.", ""))),
        7..=13 => Condition::Path(random.list(3, |random| pattern(random, "ab/", "/"))),
        14 => Condition::Header(field(random)),
        15 => Condition::QueryString(pairs(random)),
        16 => Condition::Method(vec![["GET", "PUT"][random.below(2)].into()]),
        17 => Condition::Cookie(pairs(random)),
        18 => Condition::SourceIp(vec![["192.0.2.0/25", "192.0.2.128/25"][random.below(2)].parse().unwrap()]),
        _ if random.one_in(2) => Condition::ResponseHeader(field(random)),
        _ => Condition::ResponseStatusCode(vec![if random.one_in(2) {
            StatusPattern::Code(404)
        } else {
            StatusPattern::Class(5)
        }]),
    }
}

/// Every byte of `text` used up by every byte of `pattern`, in all ways at once.
fn glob_matches(pattern: &[u8], text: &[u8]) -> bool {
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    for &wanted in pattern {
        let mut next = vec![false; text.len() + 1];
        for at in 0..=text.len() {
            next[at] = match wanted {
                b'*' => reached[..=at].contains(&true),
                b'?' => at > 0 && reached[at - 1],
                wanted => at > 0 && reached[at - 1] && text[at - 1] == wanted,
            };
        }
        reached = next;
    }
    reached[text.len()]
}

fn pattern_matches(pattern: &Pattern, text: &str) -> bool {
    match pattern {
        Pattern::Literal(literal) => literal == text,
        Pattern::Wildcard(pattern) => glob_matches(pattern.as_bytes(), text.as_bytes()),
        Pattern::Regex { ignore_case, .. } => {
            let text = if *ignore_case { text.to_lowercase() } else { text.to_owned() };
            // `.` is no line break, and there are none here.
            text.chars().nth(1).is_some_and(|second| "ab".contains(second))
        }
    }
}

struct Request {
    host: String,
    path: String,
    query: Option<String>,
    method: &'static str,
    client: IpAddr,
    fields: Vec<(&'static str, String)>,
    response: Option<(u16, Vec<(&'static str, String)>)>,
}

impl Request {
    fn random(random: &mut Random) -> Request {
        let lines = |random: &mut Random| {
            random.list(3, |random| (["X-A", "X-B", "x-b"][random.below(3)], random.text("ab", 3)))
        };
        let pairs = |random: &mut Random, between: &str| {
            let pairs = random.list(3, |random| {
                format!("{}{}{}", random.text("ab", 3), ["=", ""][random.below(2)], random.text("ab", 3))
            });
            pairs.join(between)
        };
        let mut fields = lines(random);
        if random.one_in(2) {
            fields.push(("Cookie", pairs(random, "; ")));
        }
        Request {
            host: random.text("abB.", 12) + ["", ":80"][random.below(2)],
            path: if random.one_in(20) { String::new() } else { format!("/{}", random.text("ab/", 12)) },
            query: random
                .one_in(2)
                .then(|| pairs(random, "&").replace("ab", ["ab", "%61b", "a+"][random.below(3)])),
            method: ["GET", "PUT", "POST"][random.below(3)],
            client: IpAddr::from([192, 0, 2, random.below(256) as u8]),
            fields,
            response: random.one_in(3).then(|| ([200, 404, 500, 404][random.below(4)], lines(random))),
        }
    }

    fn holds(&self, condition: &Condition) -> bool {
        let any =
            |patterns: &[Pattern], text: &str| patterns.iter().any(|pattern| pattern_matches(pattern, text));
        let field = |wanted: &FieldCondition, lines: &[(&str, String)]| {
            lines
                .iter()
                .any(|(name, value)| name.eq_ignore_ascii_case(&wanted.key) && any(&wanted.values, value))
        };
        let pair = |wanted: &[Pair], key: &str, value: &str| {
            wanted.iter().any(|pair| pattern_matches(&pair.key, key) && pattern_matches(&pair.value, value))
        };
        match condition {
            Condition::Host(patterns) => {
                any(patterns, &self.host.split(':').next().unwrap_or_default().to_lowercase())
            }
            Condition::Path(patterns) => any(patterns, &self.path),
            Condition::Header(wanted) => field(wanted, &self.fields),
            Condition::QueryString(wanted) => {
                let query = self.query.as_deref().unwrap_or_default();
                query.split('&').filter(|part| !part.is_empty()).any(|part| {
                    let decode = |text: &str| text.replace('+', " ").replace("%61", "a");
                    let (key, value) = part.split_once('=').unwrap_or((part, ""));
                    pair(wanted, &decode(key), &decode(value))
                })
            }
            Condition::Method(methods) => methods.iter().any(|method| method == self.method),
            Condition::Cookie(wanted) => self.fields.iter().any(|(name, line)| {
                let mut parts = line.split("; ").filter_map(|part| part.split_once('='));
                *name == "Cookie" && parts.any(|(key, value)| pair(wanted, key, value))
            }),
            Condition::SourceIp(nets) => nets.iter().any(|net| net.contains(&self.client)),
            Condition::ResponseHeader(wanted) => {
                self.response.as_ref().is_some_and(|(_, lines)| field(wanted, lines))
            }
            Condition::ResponseStatusCode(wanted) => self.response.as_ref().is_some_and(|(status, _)| {
                wanted.iter().any(|wanted| match wanted {
                    StatusPattern::Code(code) => code == status,
                    StatusPattern::Class(class) => {
                        u16::from(*class) * 100 <= *status && *status < u16::from(*class) * 100 + 100
                    }
                })
            }),
        }
    }

    fn found(&self, set: &RuleSet) -> Option<usize> {
        let borrow = |lines: &'_ [(&'static str, String)]| -> Vec<(&'static str, String)> { lines.to_vec() };
        let fields = borrow(&self.fields);
        let fields = Lines(fields.iter().map(|(name, value)| (*name, value.as_str())).collect());
        let view = RequestView {
            host: self.host.as_bytes(),
            path: self.path.as_bytes(),
            query: self.query.as_deref().map(str::as_bytes),
            method: self.method.as_bytes(),
            client: self.client,
            fields: &fields,
        };
        let found = match &self.response {
            None => set.find(&view),
            Some((status, lines)) => {
                let lines = Lines(lines.iter().map(|(name, value)| (*name, value.as_str())).collect());
                set.find_response(&view, *status, &lines)
            }
        };
        found.map(|found| found.index)
    }
}

// Holds LR-63, LR-70, LR-80..LR-83
#[test]
fn the_index_finds_what_asking_one_rule_after_the_other_does() {
    let given = std::env::var("SEED").ok().map(|seed| seed.parse().expect("SEED is a number"));
    let seeds = given.map_or(0..3000, |seed: u64| seed..seed + 1);
    let mut hits = [0; 3];
    for seed in seeds {
        let mut random = Random(seed);
        // Few rules, and as many as need every kind of index.
        let size = [3, 12, 60][random.below(3)];
        let rules = random.list(size, |random| rule(random.list(3, condition)));
        let set = set(&rules);
        for _ in 0..20 {
            let request = Request::random(&mut random);
            let expected = rules.iter().position(|rule| rule.conditions.iter().all(|one| request.holds(one)));
            let found = request.found(&set);
            assert_eq!(
                found, expected,
                "repeat with SEED={seed}\nhost {:?} path {:?}\n{rules:#?}",
                request.host, request.path
            );
            hits[expected.map_or(0, |index| 1 + usize::from(index > 8))] += 1;
        }
    }
    if given.is_none() {
        // Misses, and hits near and far.
        assert!(hits.iter().all(|count| *count > 1000), "{hits:?}");
    }
}

#[test]
fn texts_of_all_lengths_are_found_exact_as_beginnings_and_as_ends() {
    let text = |length: usize| "abcdefghij".repeat(4)[..length].to_owned();
    let rules: Vec<_> = (0..40)
        .map(|length| rule(vec![path(&[&format!("/{}", text(length))])]))
        .chain((0..40).rev().map(|length| rule(vec![path(&[&format!("/x{}*", text(length))])])))
        .chain((0..40).rev().map(|length| rule(vec![path(&[&format!("*y{}", text(length))])])))
        .collect();
    let set = set(&rules);
    for length in 0..40 {
        let asked = |path: String| found(&set, &Ask { line: &format!("GET a.com{path}"), ..ask("") });
        assert_eq!(asked(format!("/{}", text(length))), Some(length));
        assert_eq!(asked(format!("/x{}", text(length))), Some(79 - length));
        assert_eq!(asked(format!("/x{}-", text(length))), Some(79 - length));
        assert_eq!(asked(format!("/-y{}", text(length))), Some(119 - length));
        assert_eq!(asked(format!("/{}-", text(length))), None);
    }
}
