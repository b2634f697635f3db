//! `cargo xtask`: repository chores.

use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask CHORE

  layers          tiers, purity and their exceptions
  sizes           lengths of source files
  bounds          SECURITY's table of what a peer can make a node hold: that its constants and tests are there
  vectors [DIR]   known answers of spec-vectors/, or of DIR, through the crates
  readme [--write]  README promises, the crates' READMEs, and the README's commands
  bench [--quick] [--only GROUP] [--json FILE]  measurements against peers
  bench --compare A B    what changed between two files that --json wrote
  sim [--nodes N] [--minutes N] [--checked] [--out DIR] FILE…  scenarios of thousands of nodes (build it with --release)
  x25519 [N]      N random multiplications, 10 million unless said otherwise, beside another implementation (build it with --release)
  anonymity [SVG] how well the mix hides who sent what, against what theory predicts (build it with --release)
  replays [TAGS] [PACKETS]  10 million tags and 100 000 packets, unless said otherwise, that come twice, and after a restart (build it with --release)
  netns           six nodes in network namespaces: killed, cut off, moved (needs root, iproute2, python3)
  probes [N] [--quick] [--only NAME]  a gateway beside the same site without betanet and beside nginx: N probes of each kind, 2 000 unless said
                  otherwise, every answer compared and the times tested; from 100 on with those that wait for time-outs (needs nginx-core)
  attacks [SECONDS] [--only NAME] [--same] [--mixed] [--quick] [--json FILE]  a gateway attacked from other processes: what it holds
                  meanwhile, and whether honest clients are served; --help lists the attacks
  distinguish [N] [plain|fitted]  N page loads of Chromium and as many tunnels, 300 unless said otherwise, told apart by classifiers
                  (needs root, chromium and python3-venv)
  demo            what the README's first command shows
  ci              all of what has to pass

Example: cargo xtask vectors spec-vectors";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["bench", rest @ ..] => xtask::measured::bench(rest),
        ["attacks", rest @ ..] => xtask::measured::attacks(rest),
        ["help" | "--help" | "-h"] | [_, "--help" | "-h"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        ["layers"] => xtask::layers::run(),
        ["sizes"] => xtask::sizes::run(),
        ["bounds"] => xtask::bounds::run(),
        ["vectors"] => vectors(xtask::root().join("spec-vectors")),
        ["vectors", dir] => vectors(PathBuf::from(dir)),
        ["readme"] => xtask::readme::run(false),
        ["readme", "--write"] => xtask::readme::run(true),
        ["sim", rest @ ..] => xtask::sim::command(rest),
        ["x25519", rest @ ..] => xtask::x25519::command(rest),
        ["anonymity"] => anonymity(&PathBuf::from("target/anonymity.svg")),
        ["anonymity", svg] => anonymity(&PathBuf::from(svg)),
        ["replays", rest @ ..] => xtask::replays::command(rest),
        ["netns"] => xtask::netns::run(),
        ["probes"] => xtask::measured::probes(&["2000"]),
        ["probes", rest @ ..] => xtask::measured::probes(rest),
        ["distinguish", rest @ ..] => xtask::distinguish::run(rest),
        ["demo"] => xtask::ci::demo(),
        ["ci"] => xtask::ci::run(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}

fn anonymity(svg: &std::path::Path) -> Result<(), String> {
    if xtask::anonymity::run(svg)? {
        Ok(())
    } else {
        Err("entropy is not what is predicted".into())
    }
}

fn vectors(dir: PathBuf) -> Result<(), String> {
    if xtask::vectors::run(&dir, &mut |line| println!("{line}"))? {
        Ok(())
    } else {
        Err("not every known answer was given".into())
    }
}
