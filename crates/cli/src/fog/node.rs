//! `betanet node`.

use betanet_fog::bodies::{StateRequest, TokenRequest};
use betanet_fog::{Kind, NodeState};
use betanet_fog_client::Lists;
use betanet_runtime::{Clock, NodeId};
use betanet_wire::text::{hex, unhex_array};
use serde_json::json;

use super::lists;
use super::spec::flag_time;
use super::task::nonces;
use super::text::{ago, name, node, word};
use super::view::amounts;
use super::{print_json, with};
use crate::Fail;
use crate::args::{FogArgs, NodeCommand, NodeNameArgs, TokenArgs};

pub(super) async fn run(command: NodeCommand) -> Result<(), Fail> {
    match command {
        NodeCommand::Ls(args) => lists::nodes(args).await,
        NodeCommand::Show(args) => show(args).await,
        NodeCommand::Drain(args) => {
            let within = time("--within", &args.within)?;
            let until = Clock::start().now().unix_ms.saturating_add(within);
            state(&args.node, &args.fog, (NodeState::Draining, until)).await
        }
        NodeCommand::Undrain(args) => state(&args.node, &args.fog, (NodeState::Active, 0)).await,
        NodeCommand::Maintain(args) => {
            state(&args.node, &args.fog, (NodeState::Maintenance, 0)).await
        }
        NodeCommand::Token(args) => token(args).await,
    }
}

fn time(flag: &str, given: &str) -> Result<u64, Fail> {
    let wrong = || {
        Fail::Usage(format!(
            "{flag} {given}: a time such as \"1 h\": ms, s, min, h, d"
        ))
    };
    flag_time(given).ok_or_else(wrong)
}

/// The node of a name, a NodeID in hex, or an alias.
async fn found(given: &str, args: &FogArgs) -> Result<NodeId, Fail> {
    let mut text = given.to_owned();
    if unhex_array::<20>(given).is_none() {
        crate::name::named([&mut text], &args.dial).await?;
    }
    node(&text)
}

async fn state(given: &str, args: &FogArgs, (to, until): (NodeState, u64)) -> Result<(), Fail> {
    let id = found(given, args).await?;
    with(args, async |fog| {
        fog.set_node_state(&id, &StateRequest { to, until }).await?;
        if args.json {
            say!(
                "{}",
                json!({ "node": name(id), "to": to.as_str(), "until": until })
            );
        } else {
            note!("{}: {}", name(id), to.as_str());
        }
        Ok(())
    })
    .await
}

async fn show(args: NodeNameArgs) -> Result<(), Fail> {
    let id = found(&args.node, &args.fog).await?;
    with(&args.fog, async |fog| {
        // The list is ascending by ID, so the node is the first after the ID below its own.
        let mut lists = Lists {
            n: 1,
            ..Lists::default()
        };
        if let Some(before) = before(id) {
            lists.turn(&before.0);
        }
        let found = fog.nodes(&lists).await?;
        let Some(item) = found.items.first().filter(|item| item.id == id) else {
            return Err(Fail::Peer(format!(
                "the coordinator knows no node {}",
                name(id)
            )));
        };
        if args.fog.json {
            return print_json(item);
        }
        let seen = match item.seen {
            0 => "never".to_owned(),
            at => format!("{} ago", ago(Clock::start().now().unix_ms, at)),
        };
        let or_none = |word: &str| {
            if word.is_empty() {
                "none".to_owned()
            } else {
                word.to_owned()
            }
        };
        say!("node        {}", name(item.id));
        say!("NodeID      {}", hex(&item.id.0));
        say!("state       {}", item.state);
        say!("kind        {}", item.kind);
        say!("level       {}", item.level);
        say!("org         {}", item.org);
        say!("region      {}", or_none(&item.region));
        say!("zone        {}", or_none(&item.zone));
        say!("copies      {}", item.live);
        say!("reputation  {} of 1000000", item.rep);
        say!("price       {} millionths", item.price);
        say!("last beat   {seen}");
        for line in amounts(&item.cap, &item.free) {
            say!("  {line}");
        }
        Ok(())
    })
    .await
}

/// The ID before this one; `None` before the first.
fn before(id: NodeId) -> Option<NodeId> {
    let mut bytes = id.0;
    for byte in bytes.iter_mut().rev() {
        let (less, borrowed) = byte.overflowing_sub(1);
        *byte = less;
        if !borrowed {
            return Some(NodeId(bytes));
        }
    }
    None
}

async fn token(args: TokenArgs) -> Result<(), Fail> {
    if let Some(id) = &args.revoke {
        let wrong = || Fail::Usage(format!("--revoke {id}: 32 hex digits"));
        let id = unhex_array(id).ok_or_else(wrong)?;
        return with(&args.fog, async |fog| {
            fog.revoke_token(&id).await?;
            if args.fog.json {
                say!("{}", json!({ "id": hex(&id), "revoked": true }));
            } else {
                note!("token {}: revoked", hex(&id));
            }
            Ok(())
        })
        .await;
    }
    let named = match &args.node {
        Some(text) => Some(found(text, &args.fog).await?),
        None => None,
    };
    let kind = |text: &String| {
        let words = Kind::WORDS.join(", ");
        let wrong = || Fail::Usage(format!("--kind {text}: {words}"));
        Kind::from_word(text).ok_or_else(wrong)
    };
    let kinds = args.kind.iter().map(kind).collect::<Result<Vec<_>, _>>()?;
    let valid = time("--valid", &args.valid)?;
    let exp = Clock::start().now().unix_ms.saturating_add(valid);
    let request = TokenRequest {
        id: nonces()?.array(),
        exp,
        org: word("--org", args.org.as_deref())?,
        node: named,
        kinds: kinds
            .try_into()
            .map_err(|_| Fail::Usage("--kind: at most 64 kinds".into()))?,
    };
    with(&args.fog, async |fog| {
        let token = fog.token(&request).await?;
        let id = hex(&request.id);
        if args.fog.json {
            say!(
                "{}",
                json!({ "token": token.expose(), "id": id, "exp": exp })
            );
        } else {
            say!("{}", token.expose());
            note!(
                "the token has the coordinator's key and addresses, and is valid for {}",
                args.valid
            );
            note!("betanet node token --revoke {id} revokes it");
        }
        Ok(())
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_before_another_borrows_from_the_left() {
        let mut one = [0; 20];
        one[18] = 1;
        let mut wanted = [0; 20];
        wanted[19] = 255;
        assert_eq!(before(NodeId(one)), Some(NodeId(wanted)));
        assert_eq!(before(NodeId([0; 20])), None);
    }
}
