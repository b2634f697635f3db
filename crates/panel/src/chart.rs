//! Charts: drawn by the server as SVG, each with a title and the same data as a table.

use maud::{Markup, html};

use crate::text;

const WIDTH: u64 = 600;
const HEIGHT: u64 = 120;
/// Rows of the table: the newest ones.
const ROWS: usize = 60;

/// One line of a chart.
pub(crate) struct Line {
    pub(crate) name: &'static str,
    /// Values by time in UNIX ms, oldest first.
    pub(crate) points: Vec<(u64, u64)>,
}

/// The corners of a line.
fn corners(points: &[(u64, u64)], (from, to): (u64, u64), most: u64) -> String {
    let span = to.saturating_sub(from).max(1);
    let place = |(at, value): &(u64, u64)| {
        let x = at.saturating_sub(from).saturating_mul(WIDTH) / span;
        let y = u128::from(*value) * u128::from(HEIGHT) / u128::from(most.max(1));
        let y = HEIGHT.saturating_sub(u64::try_from(y).unwrap_or(HEIGHT));
        format!("{x},{y}")
    };
    points.iter().map(place).collect::<Vec<_>>().join(" ")
}

/// A chart of lines over time; a sentence if there is nothing to draw yet.
pub(crate) fn chart(id: &str, title: &str, show: fn(u64) -> String, lines: &[Line]) -> Markup {
    let all = || lines.iter().flat_map(|l| &l.points);
    let times = (all().map(|p| p.0).min(), all().map(|p| p.0).max());
    let most = all().map(|p| p.1).max().unwrap_or(0);
    let (Some(from), Some(to)) = times else {
        return html! { div data-testid={ "chart-" (id) } { h3 { (title) } p.soft { "There is no value yet: samples are taken each 10 s." } } };
    };
    html! {
        div data-testid={ "chart-" (id) } {
            h3 id={ "c-" (id) } { (title) }
            svg.chart role="img" aria-labelledby={ "c-" (id) " s-" (id) } viewBox={ "0 -4 " (WIDTH) " " (HEIGHT + 8) } {
                title id={ "s-" (id) } { (title) ": up to " (show(most)) ", from " (text::moment(from)) " to " (text::moment(to)) }
                line x1="0" y1=(HEIGHT) x2=(WIDTH) y2=(HEIGHT) class="axis" {}
                @for (n, line) in lines.iter().enumerate() { polyline class={ "line" (n) } points=(corners(&line.points, (from, to), most)) {} }
            }
            p.soft { "Highest: " (show(most)) ". Lines: " (lines.iter().map(|l| l.name).collect::<Vec<_>>().join(" (solid), ")) @if lines.len() > 1 { " (dashed)" } "." }
            details id={ "t-" (id) } {
                summary { "The same as a table" }
                div.scroll tabindex="0" role="region" aria-label=(title) { table {
                    thead { tr { th scope="col" { "Time" } th scope="col" { "Line" } th scope="col" { "Value" } } }
                    tbody { @for line in lines { @for (at, value) in line.points.iter().rev().take(ROWS) { tr { td { (text::moment(*at)) } td { (line.name) } td { (show(*value)) } } } } }
                } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_has_its_values_as_a_table_and_none_is_invented() {
        assert_eq!(
            corners(&[(0, 0), (5, 10), (10, 5)], (0, 10), 10),
            "0,120 300,0 600,60"
        );
        assert_eq!(corners(&[(3, u64::MAX)], (3, 3), u64::MAX), "0,0");
        let line = |points| Line { name: "in", points };
        let empty = chart("x", "Traffic", text::number, &[line(Vec::new())]);
        assert!(!empty.0.contains("<svg"), "{}", empty.0);
        let drawn = chart("x", "Traffic", text::number, &[line(vec![(1_000, 7)])]).0;
        assert!(
            drawn.contains("<svg") && drawn.contains("<td>7</td>"),
            "{drawn}"
        );
    }
}
