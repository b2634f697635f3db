//! `betanet task verify`: a receipt, without a network.

use std::path::Path;

use betanet_fog::{List, Outcome, Output, OutputFile, Receipt, json};
use betanet_fog_client::Blob;
use betanet_keys::PublicKey;
use betanet_wire::text;
use serde_json::json as value;

use crate::Fail;
use crate::args::VerifyArgs;
use crate::fog::text::{name, node, task_id};

/// Most files of an output.
const FILES_MAX: usize = 64;

/// One check: what it is of, and why it failed.
type Check = (&'static str, Option<String>);

pub(super) fn run(args: &VerifyArgs) -> Result<(), Fail> {
    let receipt = crate::receipt::read(&args.receipt)?;
    let signer = PublicKey::from_bytes(&receipt.key).map_err(|e| Fail::Peer(e.to_string()))?;
    let id = signer.node_id();
    let mut checks: Vec<Check> = vec![("signature", None)];
    if let Some(named) = &args.node {
        let wanted = node(named)?;
        let other = (wanted != id).then(|| format!("{} signed", name(id)));
        checks.push(("node", other));
    }
    if let Some(named) = &args.task {
        let wanted = task_id(named)?;
        let other = (wanted != receipt.task).then(|| format!("it is of {}", receipt.task));
        checks.push(("task", other));
    }
    if let Some(module) = &args.module {
        let blob = Blob::file(module)?;
        let other = *blob.digest() != receipt.module;
        let why = format!(
            "{} has another digest than the module that ran",
            module.display()
        );
        checks.push(("module", other.then_some(why)));
    }
    if let Some(folder) = &args.output {
        checks.push(("output", output(&receipt, folder, args.exit)?));
    }
    if args.json {
        let fields = json::to_string(&*receipt);
        let fields = fields.map_err(|e| Fail::Peer(e.to_string()))?;
        let fields: serde_json::Value = serde_json::from_str(&fields).unwrap_or_default();
        let told = checks
            .iter()
            .map(|(what, why)| value!({ "what": what, "why": why }));
        say!(
            "{}",
            value!({ "node": name(id), "receipt": fields, "checks": told.collect::<Vec<_>>() })
        );
    } else {
        for line in lines(&receipt, &name(id)) {
            say!("{line}");
        }
        for (what, why) in &checks {
            match why {
                None => say!("right       {what}"),
                Some(why) => say!("WRONG       {what}: {why}"),
            }
        }
    }
    let wrong = checks
        .iter()
        .filter_map(|(what, why)| why.as_ref().map(|_| *what));
    let wrong: Vec<&str> = wrong.collect();
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Fail::Peer(format!(
        "the receipt is wrong: {}",
        wrong.join(", ")
    )))
}

/// Checks a receipt: its signature, its fields, and that it is of a module.
///
/// # Errors
///
/// It is not right.
pub(crate) fn receipt_of(file: &Path, module: &Path) -> Result<(), Fail> {
    let receipt = crate::receipt::read(file)?;
    if *Blob::file(module)?.digest() == receipt.module {
        return Ok(());
    }
    Err(Fail::Peer(format!(
        "{}: it is of another module",
        file.display()
    )))
}

/// Compares the output that the receipt names with a folder.
fn output(receipt: &Receipt, folder: &Path, exit: i64) -> Result<Option<String>, Fail> {
    let Some(named) = receipt.out else {
        return Ok(Some(format!(
            "a program that ended as {} has none",
            receipt.status.as_str()
        )));
    };
    let mut files = Vec::new();
    collect(folder, "", &mut files)?;
    files.sort_by(|a, b| a.path.as_str().cmp(b.path.as_str()));
    let files = List::try_from(files).map_err(|e| Fail::Usage(e.to_string()))?;
    let digest = Output { exit, files }.digest();
    if digest == named {
        return Ok(None);
    }
    let exits = match receipt.status {
        Outcome::Exit if exit == 0 => "; name its exit code with --exit CODE",
        _ => "",
    };
    Ok(Some(format!(
        "{} has another digest than the output{exits}",
        folder.display()
    )))
}

/// Lists the files below a folder.
fn collect(folder: &Path, prefix: &str, files: &mut Vec<OutputFile>) -> Result<(), Fail> {
    for entry in std::fs::read_dir(folder).map_err(Fail::file(folder))? {
        let entry = entry.map_err(Fail::file(folder))?;
        let place = entry.path();
        let own = entry.file_name();
        let wrong = || Fail::Usage(format!("{}: no output has such a file", place.display()));
        let own = own.to_str().ok_or_else(wrong)?;
        let path = match prefix {
            "" => own.to_owned(),
            _ => format!("{prefix}/{own}"),
        };
        let kind = entry.file_type().map_err(Fail::file(&place))?;
        if kind.is_dir() {
            collect(&place, &path, files)?;
            continue;
        }
        if !kind.is_file() || files.len() >= FILES_MAX {
            return Err(wrong());
        }
        let blob = Blob::file(&place)?;
        files.push(OutputFile {
            path: path.parse().map_err(|_| wrong())?,
            digest: *blob.digest(),
            size: blob.size(),
        });
    }
    Ok(())
}

fn lines(receipt: &Receipt, node: &str) -> Vec<String> {
    let out = match &receipt.out {
        Some(out) => text::hex(out),
        None => "none".to_owned(),
    };
    vec![
        format!("node        {node}"),
        format!("task        {}", receipt.task),
        format!(
            "copy        {}, fence {}, epoch {}",
            receipt.copy, receipt.fence, receipt.epoch
        ),
        format!("status      {}", receipt.status.as_str()),
        format!("fuel        {}", receipt.fuel),
        format!(
            "ran         {} ms",
            receipt.end.saturating_sub(receipt.start)
        ),
        format!("engine      {}", receipt.engine.as_str()),
        format!("module      {}", text::hex(&receipt.module)),
        format!("inputs      {}", text::hex(&receipt.inputs)),
        format!("output      {out}"),
    ]
}

#[cfg(test)]
mod tests {
    use betanet_fog::{Signed, TaskId, to_vec};
    use betanet_keys::{Identity, hash};

    use super::*;

    fn receipt(out: [u8; 32], module: &[u8]) -> Signed<Receipt> {
        let me = Identity::from_seed(&[4; 32]);
        let receipt = Receipt {
            inputs: [1; 32],
            end: 1_500,
            key: *me.public().as_bytes(),
            out: Some(out),
            copy: 0,
            fuel: 70,
            task: TaskId([5; 32]),
            epoch: 1,
            fence: 9,
            start: 1_000,
            engine: "wasmtime 48".parse().unwrap(),
            module: hash(&[module]),
            status: Outcome::Ok,
        };
        Signed::sign(receipt, &me).unwrap()
    }

    fn args(receipt: &Path) -> VerifyArgs {
        VerifyArgs {
            receipt: receipt.to_owned(),
            output: None,
            exit: 0,
            module: None,
            node: None,
            task: None,
            json: false,
        }
    }

    #[test]
    fn a_receipt_is_checked_against_module_and_output() {
        let home = tempfile::tempdir().unwrap();
        let (out, module) = (home.path().join("out"), home.path().join("m.wasm"));
        std::fs::create_dir_all(out.join("a")).unwrap();
        std::fs::write(out.join("stdout"), b"hello").unwrap();
        std::fs::write(out.join("a/b"), b"x").unwrap();
        std::fs::write(&module, b"module").unwrap();
        let file = |path: &str, bytes: &[u8]| OutputFile {
            path: path.parse().unwrap(),
            digest: hash(&[bytes]),
            size: bytes.len() as u64,
        };
        let files = vec![file("a/b", b"x"), file("stdout", b"hello")];
        let files = List::try_from(files).unwrap();
        let digest = Output { exit: 0, files }.digest();
        let signed = receipt(digest, b"module");
        let place = home.path().join("receipt");
        let forms = [
            signed.to_bytes(),
            text::hex(&signed.to_bytes()).into_bytes(),
            json::to_string(signed.envelope()).unwrap().into_bytes(),
        ];
        let right = VerifyArgs {
            output: Some(out.clone()),
            module: Some(module.clone()),
            task: Some(TaskId([5; 32]).to_string()),
            ..args(&place)
        };
        for form in forms {
            std::fs::write(&place, form).unwrap();
            run(&right).unwrap();
        }
        std::fs::write(out.join("stdout"), b"hellO").unwrap();
        let Err(Fail::Peer(why)) = run(&right) else {
            panic!("another output");
        };
        assert!(why.ends_with("wrong: output"), "{why}");
        std::fs::write(&module, b"other").unwrap();
        let Err(Fail::Peer(why)) = run(&right) else {
            panic!("another module");
        };
        assert!(why.ends_with("wrong: module, output"), "{why}");
    }

    #[test]
    fn a_forged_receipt_is_named() {
        let home = tempfile::tempdir().unwrap();
        let place = home.path().join("receipt");
        let mut envelope = receipt([7; 32], b"m").envelope().clone();
        envelope.sig[3] ^= 1;
        std::fs::write(&place, to_vec(&envelope)).unwrap();
        let Err(Fail::Peer(why)) = run(&args(&place)) else {
            panic!("a forged receipt");
        };
        assert!(why.contains("signature"), "{why}");
        std::fs::write(&place, b"hello").unwrap();
        assert!(matches!(run(&args(&place)), Err(Fail::Peer(_))));
    }
}
