//! What is printed of the answers and times.

use serde_json::{Value, json};

use super::Row;
use super::expected::EXPECTED;
use super::seen::{Difference, NGINX, SITE, differing};
use super::stats::{holm, ks, median};

/// The family-wise error of all tests together.
pub(super) const ALPHA: f64 = 0.01;
/// How far medians of the gateway and the site may lie apart, and of how many tries they say so much: those of fewer do by chance.
const APART: f64 = 0.05;
const TRIES: usize = 1000;

pub(super) struct Report<'a> {
    pub(super) rows: &'a [Row],
    /// Whether every kind was asked.
    pub(super) all: bool,
    pub(super) each: usize,
    /// Whether times decide too.
    pub(super) timed: bool,
}

/// The line of the list that a difference from nginx stands in, by its number from 1.
fn reason(kind: &str, difference: &Difference) -> Option<usize> {
    let mut lines = EXPECTED.iter();
    let at = lines.position(|e| e.covers(kind, &difference.field))?;
    Some(at + 1)
}

/// At most so much of a value is printed.
fn short(value: &str) -> String {
    match value.char_indices().nth(400) {
        Some((at, _)) => format!("{} …", &value[..at]),
        None => value.to_owned(),
    }
}

impl Report<'_> {
    /// Kinds whose times were tested, with p of gateway and site.
    fn tested(&self) -> (Vec<usize>, Vec<f64>, Vec<bool>) {
        let timed = self.rows.iter().enumerate().filter(|(_, r)| !r.slow);
        let (at, ps): (Vec<usize>, Vec<f64>) = timed
            .map(|(i, r)| (i, ks(&r.times[0], &r.times[1]).1))
            .unzip();
        let rejected = holm(&ps, ALPHA);
        (at, ps, rejected)
    }

    /// By kind: fields in which the gateway differs from another server.
    fn differing(&self, other: usize) -> Vec<Vec<Difference>> {
        differing(self.rows.iter().map(|r| &r.seen), other, ALPHA)
    }

    /// Prints all; whether everything is as it should be.
    pub(super) fn print(&self) -> bool {
        let (at, ps, rejected) = self.tested();
        let [from_site, from_nginx] = [SITE, NGINX].map(|other| self.differing(other));
        let mut fine = true;
        let mut used = vec![false; EXPECTED.len()];
        println!(
            "{:46} {:>9} {:>9} {:>9} {:>6} {:>7} {:>9}  answers beside the site, and nginx",
            "probe", "gateway", "site", "nginx", "apart", "D", "p"
        );
        for (i, row) in self.rows.iter().enumerate() {
            let (from_site, from_nginx) = (&from_site[i], &from_nginx[i]);
            let test = at.iter().position(|t| *t == i);
            let apart_in_time = test.is_some_and(|t| rejected[t]);
            let medians = row
                .times
                .each_ref()
                .map(|t| if t.is_empty() { 0.0 } else { median(t) });
            let apart = (medians[0] - medians[1]).abs() / medians[1];
            let far = apart > APART && row.times[0].len() >= TRIES;
            let unlike = self.timed && test.is_some() && (apart_in_time || far);
            let mut why: Vec<usize> = Vec::new();
            let mut unexplained = 0_u32;
            for difference in from_nginx {
                match reason(&row.kind, difference) {
                    Some(n) => {
                        used[n - 1] = true;
                        if !why.contains(&n) {
                            why.push(n);
                        }
                    }
                    None => unexplained += 1,
                }
            }
            let site = match (from_site.is_empty(), unlike) {
                (false, _) => "DIFFER",
                (true, true) => "same, times DIFFER",
                (true, false) => "same",
            };
            let nginx = match (row.times[2].is_empty(), unexplained, why.is_empty()) {
                (true, ..) => "not asked".to_owned(),
                (_, 1.., _) => "DIFFER".to_owned(),
                (_, _, true) => "same".to_owned(),
                (_, _, false) => format!("differ, reason {why:?}"),
            };
            fine &= from_site.is_empty() && !unlike && unexplained == 0;
            println!(
                "{:46} {:>7.3}ms {:>7.3}ms {:>7.3}ms {:>5.1}% {:>7.4} {:>9.2e}  {site}; {nginx}",
                row.kind,
                medians[0],
                medians[1],
                medians[2],
                apart * 100.0,
                ks(&row.times[0], &row.times[1]).0,
                test.map_or(1.0, |t| ps[t]),
            );
            for d in from_site {
                println!(
                    "    {}\n      gateway {}\n      site    {}",
                    d.field,
                    short(&d.ours),
                    short(&d.theirs)
                );
            }
            for d in from_nginx.iter().filter(|d| reason(&row.kind, d).is_none()) {
                println!(
                    "    {}\n      gateway {}\n      nginx   {}",
                    d.field,
                    short(&d.ours),
                    short(&d.theirs)
                );
            }
        }
        self.list(&used, &mut fine);
        fine
    }

    /// The written list of what differs for a reason.
    fn list(&self, used: &[bool], fine: &mut bool) {
        if EXPECTED.is_empty() {
            return;
        }
        println!("\nwhat differs from nginx for a reason:");
        for (n, (expected, used)) in EXPECTED.iter().zip(used).enumerate() {
            let idle = self.all && !used;
            println!(
                "{:3}  {} [{}]: {}{}",
                n + 1,
                expected.kinds.join(", "),
                expected.fields.join(", "),
                expected.why,
                if idle {
                    " — NOTHING DIFFERS SO ANY MORE"
                } else {
                    ""
                }
            );
            *fine &= !idle;
        }
        println!(
            "times beside nginx are shown and not tested: another program, in another language, takes other microseconds for\n\
             the same answer, and a test of {} of each finds them",
            self.each
        );
    }

    pub(super) fn json(&self, found: bool) -> Value {
        let (at, ps, rejected) = self.tested();
        let [from_site, from_nginx] = [SITE, NGINX].map(|other| self.differing(other));
        let rows = self.rows.iter().enumerate().map(|(i, row)| {
            let test = at.iter().position(|t| *t == i);
            let differ: Vec<&str> = from_nginx[i].iter().map(|d| d.field.as_str()).collect();
            let unexplained = from_nginx[i].iter().any(|d| reason(&row.kind, d).is_none());
            let medians = row
                .times
                .each_ref()
                .map(|t| if t.is_empty() { 0.0 } else { median(t) });
            json!({
                "probe": row.kind, "median_ms": medians, "p": test.map(|t| ps[t]),
                "rejected": test.is_some_and(|t| rejected[t]), "as_the_site": from_site[i].is_empty(),
                "differs_from_nginx": differ, "without_reason": unexplained,
            })
        });
        json!({"each": self.each, "probes": rows.collect::<Vec<_>>(), "planted_found": found})
    }
}

#[cfg(test)]
mod tests {
    use super::super::expected::Expected;

    #[test]
    fn a_reason_covers_what_it_names_and_no_more() {
        let expected = Expected {
            kinds: &["tls cipher c0", "h1 GET /$"],
            fields: &["records", "end"],
            why: "",
        };
        assert!(expected.covers("tls cipher c024, TLS 1.2", "records"));
        assert!(expected.covers("h1 GET /", "end"));
        assert!(!expected.covers("h1 GET /none", "end"));
        assert!(!expected.covers("tls cipher c024", "alert"));
    }
}
