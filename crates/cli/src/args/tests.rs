use clap::{Command, CommandFactory as _};

use super::{Betanet, Coordinator, Gateway, Mixnode, Worker};

/// Maximum number of words in a sentence of a help text.
const WORDS: usize = 25;

/// Returns the sentences of a text. Examples, defaults and variables are no sentences.
fn sentences(text: &str) -> Vec<String> {
    let ends = [" [default: ", " [env: "];
    let end = ends.iter().filter_map(|end| text.find(end)).min();
    let parts = text[..end.unwrap_or(text.len())]
        .split("\n\n")
        .filter(|part| !part.starts_with("Example: "));
    let lines = parts.map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "));
    let all = lines.flat_map(|l| l.split(". ").map(str::to_owned).collect::<Vec<_>>());
    all.filter(|s| !s.is_empty()).collect()
}

/// Collects the faults of a command's help, and of its subcommands.
fn look(command: &Command, path: &str, faults: &mut Vec<String>) {
    let path = format!("{path} {}", command.get_name());
    let after = command.get_after_help().map(ToString::to_string);
    let about = command.get_about().map(ToString::to_string);
    let subcommands = command.get_subcommands().filter(|c| !c.is_hide_set());
    let needs_one = command.is_subcommand_required_set();
    if !needs_one
        && !after
            .as_ref()
            .is_some_and(|text| text.contains("Example: "))
    {
        faults.push(format!("{path}: no example"));
    }
    let args = command.get_arguments().filter(|a| !a.is_hide_set());
    let helps = args.map(|arg| {
        let help = arg.get_help().map(ToString::to_string);
        (format!("{path} {}", arg.get_id()), help)
    });
    let own = [
        (path.clone(), about),
        (path.clone(), after.or_else(|| Some(String::new()))),
    ];
    for (place, text) in own.into_iter().chain(helps) {
        let Some(text) = text else {
            faults.push(format!("{place}: no help"));
            continue;
        };
        for sentence in sentences(&text) {
            let words = sentence.split(' ').count();
            let first = sentence.split(' ').next().unwrap_or_default();
            let first = first.trim_end_matches('.');
            if words > WORDS || matches!(first, "What" | "Who" | "Which" | "Whose" | "Where") {
                faults.push(format!("{place}: {words} words: {sentence}"));
            }
        }
    }
    for subcommand in subcommands {
        look(subcommand, &path, faults);
    }
}

#[test]
fn help_texts_have_short_sentences_and_commands_an_example() {
    let mut faults = Vec::new();
    let all = [
        Betanet::command(),
        Gateway::command(),
        Mixnode::command(),
        Coordinator::command(),
        Worker::command(),
    ];
    for command in all {
        look(&command, "", &mut faults);
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
