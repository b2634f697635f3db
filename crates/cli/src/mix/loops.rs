//! Loops: packets that the sender sends through the mix to itself.

use std::time::Duration;

use betanet_runtime::{Cover, MixClient, MixOptions, Node};
use serde_json::json;

use super::network;
use crate::Fail;
use crate::args::LoopArgs;
use crate::fail::interruptible;
use crate::state;

/// Time after which a loop that has not returned counts as lost.
const LAST: Duration = Duration::from_secs(11);

pub(super) async fn run(args: LoopArgs) -> Result<(), Fail> {
    let (net, _) = network(&args.network)?;
    let options = MixOptions {
        relays: args.relays.into(),
        cover: Cover {
            loops: Some(Duration::from_millis(args.every)),
            packets: None,
        },
        state: Some(state::folder(args.state.as_deref())),
        loops_file: args.loops.clone(),
        ..MixOptions::default()
    };
    interruptible(async {
        let client = MixClient::join(Node::client()?, &net, &options).await?;
        tokio::time::sleep(Duration::from_secs(args.seconds)).await;
        let sent = client.stats().loops;
        // Wait for the loops that were sent last. Others are sent meanwhile, and are not counted.
        let mut back = client.stats().loops_back;
        let began = tokio::time::Instant::now();
        while back < sent && began.elapsed() < LAST {
            tokio::time::sleep(Duration::from_millis(50)).await;
            back = client.stats().loops_back;
        }
        let back = back.min(sent);
        if args.json {
            let facts = json!({
                "guard": client.guard().to_string(),
                "sent": sent,
                "back": back,
                "lost": sent - back,
            });
            say!("{facts}");
        } else {
            say!("guard {}", client.guard());
            say!("{sent} loops, {back} came back, {} were lost", sent - back);
        }
        client.close().await;
        Ok(())
    })
    .await
}
