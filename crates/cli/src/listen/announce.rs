//! The output of a node after its start.

use std::net::SocketAddr;
use std::path::Path;

use betanet_runtime::{GatewayConfig, Listening};
use betanet_wire::text::hex;
use serde_json::json;

/// Placeholder for a file in a command, if the folder has none.
const ANY_FILE: &str = "FILE";

/// Prints the node's addresses and keys, and a command that fetches from it.
pub(crate) fn announce(
    l: &Listening,
    config: &GatewayConfig,
    admin: Option<SocketAddr>,
    as_json: bool,
) {
    announce_with(l, config, admin, &[], as_json);
}

/// Prints what [`announce`] prints, and further facts.
pub(crate) fn announce_with(
    l: &Listening,
    config: &GatewayConfig,
    admin: Option<SocketAddr>,
    more: &[(&str, String)],
    as_json: bool,
) {
    if let Some(note) = &l.note {
        note!("note: {note}");
    }
    let pin = hex(&l.pin);
    let get = config
        .folder
        .serve
        .as_deref()
        .map(|folder| command(l, folder));
    if as_json {
        let mut facts = json!({
            "name": l.name.to_string(),
            "peer_id": l.key.peer_id().to_string(),
            "public_key": l.key.to_string(),
            "addresses": l.addresses,
            "pin": pin,
            "pinned": l.pinned,
            "peer": l.peer().to_string(),
            "get": get,
            "admin": admin.map(|a| a.to_string()),
        });
        for (name, value) in more {
            facts[*name] = json!(value);
        }
        if let Some((key, id)) = &l.tickets11 {
            facts["tickets11"] = json!({"key": hex(key), "id": hex(id)});
        }
        say!("{facts}");
        return;
    }
    say!("name        {}", l.name);
    say!("PeerID      {}", l.key.peer_id());
    say!("public key  {}", l.key);
    say!("addresses   {}", l.addresses.join(" "));
    if l.pinned {
        say!("pin         {pin}");
    } else {
        say!("certificate checked by web PKI: a renewal with another key cuts nobody off");
    }
    say!("peer        {}", l.peer());
    if let Some((key, id)) = &l.tickets11 {
        say!("1.1 tickets key={},id={}", hex(key), hex(id));
    }
    if let Some(admin) = admin {
        say!("admin       {admin}: betanet status --admin {admin}");
    }
    for (name, value) in more {
        say!("{:<12}{value}", name.replace('_', " "));
    }
    if let Some(get) = get {
        say!("try         {get}");
    }
}

/// Returns the command that fetches a file of this folder. All its words are plain, so no shell changes them.
fn command(l: &Listening, folder: &Path) -> String {
    let file = plain_file(folder).unwrap_or_else(|| ANY_FILE.to_owned());
    format!("betanet get bar://{}/{file} --peer {}", l.name, l.peer())
}

/// Returns the first file of a folder whose name needs no quoting in shells and URLs.
fn plain_file(folder: &Path) -> Option<String> {
    let plain = |name: &String| {
        let mut bytes = name.bytes();
        !name.starts_with('.')
            && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
    };
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    let files = entries.filter(|e| e.file_type().is_ok_and(|t| t.is_file()));
    let names = files.filter_map(|e| e.file_name().into_string().ok());
    names.filter(plain).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_a_plain_name_is_shown_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(plain_file(dir.path()), None);
        for name in [".hidden", "a b", "$(x)", "é"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        std::fs::create_dir(dir.path().join("0")).unwrap();
        assert_eq!(plain_file(dir.path()), None);
        for name in ["z.txt", "hello.txt"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(plain_file(dir.path()).as_deref(), Some("hello.txt"));
    }
}
