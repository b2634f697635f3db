//! `cargo xtask anonymity [SVG]`: how well the mix hides who sent what, measured in the simulator.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use betanet_sim::anonymity::{Measured, Setting, measure, n_minus_one};

const RATES: [f64; 6] = [1.0, 2.0, 5.0, 10.0, 20.0, 40.0];
/// From this rate on the links are busy enough for the prediction of a whole path.
const BUSY: f64 = 10.0;
const CORRUPT: [usize; 5] = [0, 10, 20, 30, 50];
/// A loop that is not back by then is missed, as by a client.
const PATIENCE: Duration = Duration::from_secs(10);

const SETTING: Setting = Setting {
    seed: 1,
    relays: 100,
    layers: 3,
    clients: 1000,
    rate: 10.0,
    corrupt_percent: 0,
    followed: 200,
};

/// Prints the table and writes the plot; whether entropy is within 0.3 bit of what is predicted.
///
/// # Errors
///
/// The plot cannot be written.
pub fn run(svg: &Path) -> Result<bool, String> {
    println!(
        "100 relays in 3 layers, 1000 clients, exponential delays of 50 ms cut at 150 ms; bits of entropy"
    );
    println!("packets/s          one relay            whole path");
    println!("client  relay   measured predicted   measured predicted");
    let mut good = true;
    let mut honest = Vec::new();
    for rate in RATES {
        let m = measure(&Setting { rate, ..SETTING });
        let near = |a: f64, b: f64| (a - b).abs() <= 0.3;
        let met = near(m.one, m.one_predicted) && near(m.path, m.path_predicted);
        good &= met || rate < BUSY;
        let says = match (met, rate < BUSY) {
            (true, _) => "within 0.3",
            (false, true) => "links too quiet for the prediction of a path",
            (false, false) => "MISSED",
        };
        println!(
            "{rate:>6} {:>6.0}   {:>8.2} {:>9.2}   {:>8.2} {:>9.2}   {says}",
            m.relay_rate, m.one, m.one_predicted, m.path, m.path_predicted
        );
        honest.push((rate, m));
    }
    println!(
        "\ncorrupt relays, at {BUSY} packets/s a client\n%    path bits   followed for certain, share^layers"
    );
    let mut corrupt = Vec::new();
    for corrupt_percent in CORRUPT {
        let m = measure(&Setting {
            corrupt_percent,
            rate: BUSY,
            followed: 1000,
            ..SETTING
        });
        let share = f64::from(u32::try_from(corrupt_percent).unwrap_or(0)) / 100.0;
        println!(
            "{corrupt_percent:<4} {:>9.2}   {:>6.3} {:>6.3}",
            m.path,
            m.certain,
            share.powi(3)
        );
        corrupt.push((corrupt_percent, m));
    }
    println!("\na relay keeps all back but one packet for 5 s; a loop is missed after 10 s");
    println!("its layer  loops every   sent   kept   clients that miss one   first after");
    for (attacker, layer) in [(0, "first"), (1, "second")] {
        for every in [1, 10, 60] {
            let between = Duration::from_secs(every);
            let lasts = Duration::from_secs(5);
            let a = n_minus_one(&SETTING, attacker, between, lasts, PATIENCE);
            let first = a
                .first
                .map_or("never".into(), |f| format!("{:.1} s", f.as_secs_f64()));
            println!(
                "{layer:<9} {every:>10} s {:>6} {:>6} {:>23} {first:>13}",
                a.loops, a.lost, a.alarmed
            );
        }
    }
    let drawn = plot(&honest, &corrupt);
    std::fs::write(svg, drawn).map_err(|e| format!("{}: {e}", svg.display()))?;
    println!("\n{}", svg.display());
    Ok(good)
}

fn line(out: &mut String, points: &[(f64, f64)], colour: &str, dash: &str, label: (&str, f64)) {
    let path: Vec<String> = points
        .iter()
        .map(|(x, y)| format!("{x:.1},{y:.1}"))
        .collect();
    let _ = writeln!(
        out,
        "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dash}\" points=\"{}\"/>\
         <text x=\"470\" y=\"{}\" fill=\"{colour}\">{}</text>",
        path.join(" "),
        label.1,
        label.0,
    );
}

/// Entropy by rate, and by the share of corrupt relays.
fn plot(honest: &[(f64, Measured)], corrupt: &[(usize, Measured)]) -> String {
    let mut out = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 760 420\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"760\" height=\"420\" fill=\"white\"/>\n\
         <text x=\"60\" y=\"24\" font-size=\"14\">Entropy of a message's anonymity set, bits: 100 relays, 3 layers, 1000 clients</text>\n",
    );
    let y = |bits: f64| 380.0 - bits * 24.0;
    for bits in (0_u8..=14).step_by(2) {
        let at = y(f64::from(bits));
        let _ = writeln!(
            out,
            "<line x1=\"60\" x2=\"460\" y1=\"{at}\" y2=\"{at}\" stroke=\"#ddd\"/><text x=\"36\" y=\"{}\">{bits}</text>",
            at + 4.0
        );
    }
    let x = |rate: f64| 60.0 + rate.log2() / 40.0_f64.log2() * 400.0;
    for (rate, _) in honest {
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"398\">{rate}</text>",
            x(*rate) - 6.0
        );
    }
    out.push_str("<text x=\"180\" y=\"414\">packets a second of each client</text>\n");
    let of = |pick: fn(&Measured) -> f64| -> Vec<(f64, f64)> {
        honest
            .iter()
            .map(|(rate, m)| (x(*rate), y(pick(m))))
            .collect()
    };
    line(
        &mut out,
        &of(|m| m.path),
        "#0b5",
        "",
        ("whole path, measured", 60.0),
    );
    line(
        &mut out,
        &of(|m| m.path_predicted),
        "#0b5",
        "4 4",
        ("whole path, predicted", 80.0),
    );
    line(
        &mut out,
        &of(|m| m.one),
        "#06c",
        "",
        ("one relay, measured", 100.0),
    );
    line(
        &mut out,
        &of(|m| m.one_predicted),
        "#06c",
        "4 4",
        ("one relay, predicted", 120.0),
    );
    out.push_str(
        "<text x=\"470\" y=\"170\">corrupt relays: path, bits; followed for certain</text>\n",
    );
    for (i, (percent, m)) in corrupt.iter().enumerate() {
        let at = 192 + 20 * i;
        let _ = writeln!(
            out,
            "<text x=\"470\" y=\"{at}\">{percent} %</text><rect x=\"510\" y=\"{}\" width=\"{:.1}\" height=\"10\" fill=\"#c40\"/>\
             <text x=\"{:.1}\" y=\"{at}\">{:.2}; {:.3}</text>",
            at - 9,
            m.path * 10.0,
            516.0 + m.path * 10.0,
            m.path,
            m.certain
        );
    }
    out.push_str("</svg>\n");
    out
}
