//! The lines by which two texts differ.

/// Most pairs of lines that are compared. Texts beyond it are shown as replaced.
const PAIRS_MAX: usize = 1 << 20;

/// A line of a comparison.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Line<'a> {
    Same(&'a str),
    Gone(&'a str),
    New(&'a str),
}

/// Compares two texts line by line: a longest common subsequence between their common beginning and end.
pub(crate) fn lines<'a>(old: &'a str, new: &'a str) -> Vec<Line<'a>> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let begin = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let (a, b) = (
        old.get(begin..).unwrap_or_default(),
        new.get(begin..).unwrap_or_default(),
    );
    let pairs = a.iter().rev().zip(b.iter().rev());
    let end = pairs.take_while(|(a, b)| a == b).count();
    let (a, tail) = a.split_at(a.len() - end);
    let (b, _) = b.split_at(b.len() - end);
    let mut out: Vec<Line<'a>> = Vec::new();
    out.extend(old.iter().take(begin).map(|l| Line::Same(l)));
    between(a, b, &mut out);
    out.extend(tail.iter().map(|l| Line::Same(l)));
    out
}

fn between<'a>(a: &[&'a str], b: &[&'a str], out: &mut Vec<Line<'a>>) {
    let wide = b.len() + 1;
    if (a.len() + 1).saturating_mul(wide) > PAIRS_MAX {
        out.extend(a.iter().map(|l| Line::Gone(l)));
        out.extend(b.iter().map(|l| Line::New(l)));
        return;
    }
    // Length of the longest common subsequence of what follows each pair of places.
    let mut common = vec![0_u32; (a.len() + 1) * wide];
    let at = |common: &[u32], i: usize, j: usize| common.get(i * wide + j).copied().unwrap_or(0);
    for (i, one) in a.iter().enumerate().rev() {
        for (j, other) in b.iter().enumerate().rev() {
            let best = match one == other {
                true => at(&common, i + 1, j + 1) + 1,
                false => at(&common, i + 1, j).max(at(&common, i, j + 1)),
            };
            if let Some(place) = common.get_mut(i * wide + j) {
                *place = best;
            }
        }
    }
    let (mut i, mut j) = (0, 0);
    loop {
        match (a.get(i), b.get(j)) {
            (Some(one), Some(other)) if one == other => {
                out.push(Line::Same(one));
                (i, j) = (i + 1, j + 1);
            }
            (Some(one), other)
                if other.is_none() || at(&common, i + 1, j) >= at(&common, i, j + 1) =>
            {
                out.push(Line::Gone(one));
                i += 1;
            }
            (_, Some(other)) => {
                out.push(Line::New(other));
                j += 1;
            }
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_leads_from_the_old_text_to_the_new_one() {
        use Line::{Gone, New, Same};
        let found = lines("a\nb\nc\nd", "a\nx\nc\ny\nd");
        let want = [
            Same("a"),
            Gone("b"),
            New("x"),
            Same("c"),
            New("y"),
            Same("d"),
        ];
        assert_eq!(found, want);
        assert_eq!(lines("", "a"), [New("a")]);
        assert_eq!(lines("a", ""), [Gone("a")]);
        assert!(lines("", "").is_empty());
        assert_eq!(lines("a\na", "a"), [Same("a"), Gone("a")]);
        let long = |c: &str| (0..2000).map(|n| format!("{c}{n}\n")).collect::<String>();
        let (old, new) = (long("a"), long("b"));
        assert_eq!(lines(&old, &new).len(), 4000);
    }
}
