//! Figures of a case, what they say of its targets, and the table. Pure.

use super::super::ratio::{Pair, Summary, median, summary};
use super::case::Target;
use std::fmt::Write;

/// One measurement of one proxy. Times are per request, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    pub per_second: f64,
    pub user: f64,
    pub system: f64,
    /// Milliseconds.
    pub p50: Option<f64>,
    pub p99: Option<f64>,
    /// Resident memory, bytes.
    pub resident: f64,
    /// Bytes per idle connection.
    pub idle: f64,
}

impl Sample {
    /// Requests per second of CPU time.
    fn per_cpu_second(&self) -> f64 {
        1e6 / (self.user + self.system)
    }
}

/// A proxy's measurements, in the order of rounds.
pub struct Series {
    pub name: String,
    pub samples: Vec<Sample>,
}

impl Series {
    fn median(&self, figure: impl Fn(&Sample) -> f64) -> f64 {
        median(self.samples.iter().map(figure))
    }

    /// Median of those that there are.
    fn median_of_some(&self, figure: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
        let known: Vec<f64> = self.samples.iter().filter_map(figure).collect();
        (!known.is_empty()).then(|| median(known.into_iter()))
    }
}

/// A target and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    pub what: String,
    pub is_met: bool,
}

/// Ours against another's, round by round.
fn compare(ours: &Series, theirs: &Series, figure: impl Fn(&Sample) -> f64) -> Summary {
    let pairs = ours.samples.iter().zip(&theirs.samples);
    let pairs: Vec<Pair> =
        pairs.map(|(ours, theirs)| Pair { ours: figure(ours), theirs: figure(theirs) }).collect();
    summary(&pairs)
}

/// A table with a row per proxy, then the ratios, then the targets. The first series is ours; `targets` are judged on
/// it. At most 80 columns.
pub fn render(series: &[Series], targets: &[Target]) -> (String, Vec<Verdict>) {
    let mut text = String::new();
    let is_idle = targets.iter().any(|target| matches!(target, Target::IdleKb(_)));
    if is_idle {
        idle_rows(&mut text, series)
    } else {
        rows(&mut text, series)
    }
    let [ours, theirs @ ..] = series else { return (text, Vec::new()) };
    for other in theirs.iter().filter(|_| !is_idle && !ours.samples.is_empty()) {
        let ratio = |figure: fn(&Sample) -> f64| {
            let Summary { ratio, ratio_min, ratio_max, .. } = compare(ours, other, figure);
            format!("x {ratio:.2} ({ratio_min:.2}..{ratio_max:.2})")
        };
        let by = format!("{} : {}", ours.name, other.name);
        let (cpu, rate) = (ratio(Sample::per_cpu_second), ratio(|sample| sample.per_second));
        let _ = writeln!(text, "  {by:<20} per CPU s {cpu}  req/s {rate}");
    }
    let verdicts: Vec<Verdict> = targets.iter().map(|target| judge(*target, ours, theirs)).collect();
    for verdict in &verdicts {
        let _ = writeln!(text, "  {:<7} {}", if verdict.is_met { "ok" } else { "MISSED" }, verdict.what);
    }
    (text, verdicts)
}

fn rows(text: &mut String, series: &[Series]) {
    let _ = writeln!(
        text,
        "  {:<12} {:>8} {:>9} {:>14} {:>7} {:>7} {:>7} {:>7}",
        "medians", "req/s", "/ CPU s", "us user + sys", "least", "p50 ms", "p99 ms", "RSS MB"
    );
    for one in series.iter().filter(|one| !one.samples.is_empty()) {
        let milliseconds =
            |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
        let least =
            one.samples.iter().map(|sample| sample.user + sample.system).fold(f64::INFINITY, f64::min);
        let _ = writeln!(
            text,
            "  {:<12} {:>8.0} {:>9.0} {:>6.2} + {:>5.2} {:>7.1} {:>7} {:>7} {:>7.1}",
            one.name,
            one.median(|sample| sample.per_second),
            one.median(Sample::per_cpu_second),
            one.median(|sample| sample.user),
            one.median(|sample| sample.system),
            least,
            milliseconds(one.median_of_some(|sample| sample.p50)),
            milliseconds(one.median_of_some(|sample| sample.p99)),
            one.median(|sample| sample.resident) / 1e6,
        );
    }
}

fn idle_rows(text: &mut String, series: &[Series]) {
    let _ = writeln!(text, "  {:<12} {:>18} {:>22}", "medians", "KB per connection", "RSS MB with them all");
    for one in series.iter().filter(|one| !one.samples.is_empty()) {
        let _ = writeln!(
            text,
            "  {:<12} {:>18.1} {:>22.1}",
            one.name,
            one.median(|sample| sample.idle) / 1024.0,
            one.median(|sample| sample.resident) / 1e6,
        );
    }
}

fn judge(target: Target, ours: &Series, theirs: &[Series]) -> Verdict {
    // What was not measured is not met.
    if ours.samples.is_empty() || theirs.is_empty() {
        return Verdict { what: format!("not measured, wanted {target:?}"), is_met: false };
    }
    let named = |name: &str| theirs.iter().filter(|other| other.name == name).collect::<Vec<_>>();
    let all = theirs.iter().collect::<Vec<_>>();
    // The least of the median ratios is that to the better of them.
    let least = |others: &[&Series], figure: &dyn Fn(&Sample) -> f64| {
        let ratios = others.iter().map(|other| compare(ours, other, figure).ratio);
        ratios.min_by(f64::total_cmp).unwrap_or(f64::NAN)
    };
    let (what, is_met) = match target {
        Target::OfBoth(wanted) => {
            let found = least(&all, &Sample::per_cpu_second);
            (format!("per CPU s x {found:.2} of the better, wanted >= {wanted}"), found >= wanted)
        }
        Target::OfNginx(wanted) => {
            let found = least(&named("nginx"), &Sample::per_cpu_second);
            (format!("per CPU s x {found:.2} of nginx, wanted >= {wanted}"), found >= wanted)
        }
        Target::OfHaproxy(wanted) => {
            let found = least(&named("HAProxy"), &Sample::per_cpu_second);
            (format!("per CPU s x {found:.2} of HAProxy, wanted >= {wanted}"), found >= wanted)
        }
        Target::UserMicros(wanted) => {
            let found = ours.median(|sample| sample.user);
            (format!("{found:.2} us user per request, wanted <= {wanted}"), found <= wanted)
        }
        Target::P99OfBoth(wanted) => {
            // Of times, that to the better is the greatest.
            let p99 = |sample: &Sample| sample.p99.unwrap_or(f64::NAN);
            let found = all.iter().map(|other| compare(ours, other, p99).ratio).fold(0.0, f64::max);
            (format!("p99 x {found:.2} of the better's, wanted <= {wanted}"), found <= wanted)
        }
        Target::IdleKb(wanted) => {
            let found = ours.median(|sample| sample.idle) / 1024.0;
            (format!("{found:.1} KB per idle connection, wanted <= {wanted}"), found <= wanted)
        }
        Target::UserOfFew(wanted) => {
            let found = least(&all, &|sample| sample.user);
            (format!("user time x {found:.2} of that with few rules, wanted <= {wanted}"), found <= wanted)
        }
    };
    Verdict { what, is_met }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, users: &[f64]) -> Series {
        let sample = |user: &f64| Sample {
            per_second: 40_000.0,
            user: *user,
            system: 10.0,
            p50: Some(1.0),
            p99: Some(*user),
            resident: 5e6,
            idle: 1024.0 * user,
        };
        Series { name: name.to_owned(), samples: users.iter().map(sample).collect() }
    }

    fn three() -> [Series; 3] {
        [
            series("Causeway", &[2.0, 2.0, 4.0]),
            series("nginx", &[5.0, 5.0, 10.0]),
            series("HAProxy", &[8.0, 8.0, 12.0]),
        ]
    }

    #[test]
    fn the_better_of_the_others_decides() {
        // 15 us to 12 us is 1.25; the third round, 20 to 14, does not move the median.
        let is_met = |target| render(&three(), &[target]).1[0].is_met;
        assert!(is_met(Target::OfBoth(1.24)) && !is_met(Target::OfBoth(1.26)));
        assert!(is_met(Target::OfHaproxy(1.49)) && !is_met(Target::OfHaproxy(1.51)));
        assert!(is_met(Target::UserMicros(2.0)) && !is_met(Target::UserMicros(1.9)));
        assert!(is_met(Target::P99OfBoth(0.41)) && !is_met(Target::P99OfBoth(0.39)));
        assert!(is_met(Target::IdleKb(2.0)) && !is_met(Target::IdleKb(1.9)));
        assert!(is_met(Target::UserOfFew(0.41)) && !is_met(Target::UserOfFew(0.2)));
    }

    #[test]
    fn what_was_not_measured_is_missed() {
        let only_theirs = [series("Causeway", &[]), series("nginx", &[5.0])];
        assert!(!render(&only_theirs, &[Target::OfBoth(0.0)]).1[0].is_met);
        assert!(!render(&only_theirs[..1], &[Target::UserMicros(9.0)]).1[0].is_met);
    }

    #[test]
    fn lines_fit_a_terminal() {
        for targets in [vec![Target::OfBoth(1.0), Target::UserMicros(3.5)], vec![Target::IdleKb(4.0)]] {
            let (text, _) = render(&three(), &targets);
            assert!(text.lines().count() >= 4, "{text}");
            assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        }
    }
}
