use std::path::{Path, PathBuf};

use betanet_runtime::{Error, FileError, Identity, Name, load_identity, new_identity, state_dir};
use serde_json::json;

use crate::Fail;
use crate::args::{IdArgs, IdCommand, KeyFile};

/// Returns the default key file.
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
        new_identity(&path).map_err(Error::from)
    } else {
        load_identity(&path).map_err(Error::from)
    };
    let named = file.key.is_some();
    let identity = identity.map_err(|e| fault(e, &path, named))?;
    show(file, &identity, &path.display().to_string());
    Ok(())
}

/// Adds the remedy for a key that is missing, or already exists.
fn fault(error: Error, path: &Path, named: bool) -> Fail {
    let Error::File(FileError::Io { source, .. }) = &error else {
        return error.into();
    };
    let place = path.display();
    let flag = if named {
        format!(" --key {place}")
    } else {
        String::new()
    };
    match source.kind() {
        std::io::ErrorKind::AlreadyExists => Fail::Local(format!(
            "{place}: a key is there already, and is left as it is: betanet id show{flag} shows it, another --key FILE makes another one"
        )),
        std::io::ErrorKind::NotFound => Fail::Local(format!(
            "{place}: no key is there: betanet id new{flag} makes one, --key FILE names another place"
        )),
        _ => error.into(),
    }
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
