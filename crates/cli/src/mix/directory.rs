//! Steps to create a directory: build, sign, join, publish.

use std::path::Path;
use std::time::Duration;

use betanet_carrier::disk::write_shared;
use betanet_keys::{Envelope, Maintainers};
use betanet_mix::{Directory, epoch_at};
use betanet_runtime::{
    Clock, DirectoryPlan, Name, build_directory, check_directory, load_identity, publish_directory,
};
use betanet_wire::text::{hex, unhex_array};
use serde_json::json;

use super::{Standing, beacon, network, read, wrong};
use crate::Fail;
use crate::args::{BuildArgs, DirectoryCommand};
use crate::fail::interruptible;
use crate::on_runtime;

pub(super) fn run(command: DirectoryCommand) -> Result<(), Fail> {
    match command {
        DirectoryCommand::Build(args) => on_runtime(interruptible(build(args))),
        DirectoryCommand::Sign { file, key, output } => sign(&file, &key, &output),
        DirectoryCommand::Join {
            files,
            network,
            output,
        } => join(&files, &network, &output),
        DirectoryCommand::Publish { file, network } => {
            on_runtime(interruptible(publish(file, network)))
        }
        DirectoryCommand::Show {
            file,
            network,
            json,
        } => show(&file, &network, json),
    }
}

async fn build(args: BuildArgs) -> Result<(), Fail> {
    let (net, mix) = network(&args.network)?;
    let now = Clock::start().now().unix_ms;
    let epoch = args.epoch.unwrap_or_else(|| epoch_at(now));
    let beacon_sig = match (&args.beacon_key, &args.beacon) {
        (Some(path), _) => beacon::secret(path)?.sign(epoch),
        (None, Some(text)) => unhex_array(text)
            .ok_or_else(|| Fail::Usage("--beacon: a signature is 96 hex digits".into()))?,
        (None, None) => return Err(Fail::Usage("--beacon-key FILE or --beacon HEX".into())),
    };
    let standing = args.standing.as_deref().map(Standing::read).transpose()?;
    let standing = standing.unwrap_or_default();
    let plan = DirectoryPlan {
        epoch,
        seq: now,
        beacon_sig,
        wait: Duration::from_secs(args.wait),
        enough: args.relays,
        standing: standing.relays,
        others: standing.others,
    };
    let (directory, left_out) = build_directory(&net, &plan).await?;
    for (name, why) in &left_out {
        note!("left out: {name}: {why}");
    }
    if directory.relays.is_empty() {
        return Err(Fail::Peer("no relay proved where it stands".into()));
    }
    for layer in 0..mix.layers {
        if !directory.relays.iter().any(|r| r.layer == layer) {
            note!("warning: no relay stands in layer {layer}: paths that need it cannot be drawn");
        }
    }
    write_shared(&args.output, directory.to_record()).map_err(Fail::file(&args.output))?;
    say!(
        "{}: epoch {epoch}, {} relays",
        args.output.display(),
        directory.relays.len()
    );
    Ok(())
}

/// Reads an envelope, or the record for a new one.
fn envelope(path: &Path) -> Result<Envelope, Fail> {
    let bytes = read(path)?;
    if let Ok(envelope) = Envelope::from_bytes(&bytes) {
        return Ok(envelope);
    }
    Directory::from_record(&bytes).map_err(|e| wrong(path, e))?;
    Envelope::new(bytes).map_err(|e| wrong(path, e))
}

fn sign(file: &Path, key: &Path, output: &Path) -> Result<(), Fail> {
    let mut envelope = envelope(file)?;
    let identity = load_identity(key)?;
    envelope.sign(&identity);
    write_shared(output, envelope.to_bytes()).map_err(Fail::file(output))?;
    say!("{}: signed by {}", output.display(), identity.public());
    Ok(())
}

fn join(files: &[std::path::PathBuf], file: &Path, output: &Path) -> Result<(), Fail> {
    let (net, mix) = network(file)?;
    let mut joined: Option<Envelope> = None;
    for path in files {
        let one = envelope(path)?;
        match &mut joined {
            Some(all) => all.join(&one).map_err(|e| wrong(path, e))?,
            None => joined = Some(one),
        }
    }
    let joined = joined.ok_or_else(|| Fail::Usage("name the files to join".into()))?;
    let maintainers = Maintainers::new(&net.maintainers);
    let bytes = joined.to_bytes();
    check_directory(&bytes, &maintainers, &mix.beacon_key)
        .map_err(|e| Fail::Local(e.to_string()))?;
    write_shared(output, bytes).map_err(Fail::file(output))?;
    say!(
        "{}: {} signatures, {} needed",
        output.display(),
        joined.signatures(),
        maintainers.threshold()
    );
    Ok(())
}

async fn publish(file: std::path::PathBuf, network_file: std::path::PathBuf) -> Result<(), Fail> {
    let (net, mix) = network(&network_file)?;
    let bytes = read(&file)?;
    let maintainers = Maintainers::new(&net.maintainers);
    let (_, directory) =
        check_directory(&bytes, &maintainers, &mix.beacon_key).map_err(|e| wrong(&file, e))?;
    let said = publish_directory(&net, directory.epoch, &bytes).await?;
    let mut taken = 0;
    for (seed, outcome) in &said {
        match outcome {
            Ok(code) => {
                taken += 1;
                say!("{seed} {code}");
            }
            Err(why) => say!("{seed} {why}"),
        }
    }
    if taken == 0 {
        return Err(Fail::Peer("no seed took the directory".into()));
    }
    Ok(())
}

fn show(file: &Path, network_file: &Path, as_json: bool) -> Result<(), Fail> {
    let (net, mix) = network(network_file)?;
    let maintainers = Maintainers::new(&net.maintainers);
    let (envelope, directory) =
        check_directory(&read(file)?, &maintainers, &mix.beacon_key).map_err(|e| wrong(file, e))?;
    if as_json {
        let relays = directory.relays.iter().map(|r| {
            json!({
                "name": Name::from(r.node).to_string(),
                "layer": r.layer,
                "weight": r.weight,
                "org": r.org,
                "net": r.net.to_string(),
                "key": hex(&r.key),
                "vrf": hex(&r.vrf),
            })
        });
        let facts = json!({
            "epoch": directory.epoch,
            "seq": directory.seq,
            "layers": directory.layers,
            "poisson": directory.poisson,
            "signatures": envelope.signatures(),
            "relays": relays.collect::<Vec<_>>(),
        });
        say!("{facts}");
        return Ok(());
    }
    let delays = if directory.poisson {
        "the clients"
    } else {
        "the relays"
    };
    say!(
        "epoch {}, {} layers, {} relays, {} signatures, delays drawn by {delays}",
        directory.epoch,
        directory.layers,
        directory.relays.len(),
        envelope.signatures()
    );
    for r in &directory.relays {
        let name = Name::from(r.node);
        say!(
            "{name} layer {} weight {} {} {}",
            r.layer,
            r.weight,
            r.net,
            r.org
        );
    }
    Ok(())
}
