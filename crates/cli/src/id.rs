use std::path::PathBuf;

use betanet_runtime::{Identity, Name, load_identity, new_identity, state_dir};
use serde_json::json;

use crate::Fail;
use crate::args::{IdArgs, IdCommand, KeyFile};

/// The key file that is used when none is named.
pub(crate) fn default_key() -> PathBuf {
    state_dir().join("id.pem")
}

pub(crate) fn run(args: &IdArgs) -> Result<(), Fail> {
    let (file, make) = match &args.command {
        IdCommand::New(file) => (file, true),
        IdCommand::Show(file) => (file, false),
    };
    let path = file.key.clone().unwrap_or_else(default_key);
    let identity = if make {
        if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(Fail::file(folder))?;
        }
        new_identity(&path)?
    } else {
        load_identity(&path)?
    };
    show(file, &identity, &path.display().to_string());
    Ok(())
}

fn show(file: &KeyFile, identity: &Identity, path: &str) {
    let key = identity.public();
    let name = Name::from(key.node_id());
    if file.json {
        let facts = json!({
            "name": name.to_string(),
            "peer_id": key.peer_id().to_string(),
            "public_key": key.to_string(),
            "key_file": path,
        });
        say!("{facts}");
    } else {
        say!("name        {name}");
        say!("PeerID      {}", key.peer_id());
        say!("public key  {key}");
        say!("key file    {path}");
    }
}
