//! One libp2p node over betanet: identify, ping, kad, gossipsub and request-response.
//!
//! `nodes LISTEN-IP:PORT COVER-DIR [ADDRESS/p2p/ID]`: listens, dials the address if there is one, and takes lines from standard
//! input: `publish TEXT`, `find ID`, `ask ID TEXT`. Everything that happens is a line on standard output.
#![allow(clippy::print_stdout, reason = "that is what an example is for")]

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use betanet_keys::Identity;
use betanet_libp2p_htx::{Options, Transport, keypair};
use betanet_runtime::seed;
use libp2p::futures::StreamExt as _;
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder, gossipsub, identify, kad, ping,
};
use tokio::io::{AsyncBufReadExt as _, BufReader};

#[derive(NetworkBehaviour)]
struct Behaviour {
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    kad: kad::Behaviour<kad::store::MemoryStore>,
    gossipsub: gossipsub::Behaviour,
    asking: request_response::json::Behaviour<String, String>,
}

fn behaviour(key: &libp2p::identity::Keypair) -> Result<Behaviour, Box<dyn Error + Send + Sync>> {
    let id = key.public().to_peer_id();
    let mut kad = kad::Behaviour::new(id, kad::store::MemoryStore::new(id));
    kad.set_mode(Some(kad::Mode::Server));
    let gossip = gossipsub::ConfigBuilder::default()
        .heartbeat_interval(Duration::from_millis(200))
        .build()?;
    let signed = gossipsub::MessageAuthenticity::Signed(key.clone());
    let ask = (
        StreamProtocol::new("/betanet-example/ask/1"),
        ProtocolSupport::Full,
    );
    Ok(Behaviour {
        identify: identify::Behaviour::new(identify::Config::new(
            "/betanet-example/1".into(),
            key.public(),
        )),
        ping: ping::Behaviour::new(ping::Config::new().with_interval(Duration::from_secs(1))),
        kad,
        gossipsub: gossipsub::Behaviour::new(signed, gossip)?,
        asking: request_response::json::Behaviour::new([ask], request_response::Config::default()),
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(listen), Some(cover)) = (args.next(), args.next()) else {
        return Err("usage: nodes LISTEN-IP:PORT COVER-DIR [ADDRESS/p2p/ID]".into());
    };
    let (ip, port) = listen.rsplit_once(':').ok_or("LISTEN-IP:PORT")?;
    let identity = Identity::from_seed(&betanet_machine::Rng::new(&seed()?).array());
    let options = Options::new(PathBuf::from(cover));
    let mut swarm = SwarmBuilder::with_existing_identity(keypair(&identity)?)
        .with_tokio()
        .with_other_transport(|_| Ok(Transport::new(identity, options)?))?
        .with_behaviour(behaviour)?
        .with_swarm_config(|c| c.with_idle_connection_timeout(Duration::from_secs(60)))
        .build();
    let topic = gossipsub::IdentTopic::new("news");
    swarm.behaviour_mut().gossipsub.subscribe(&topic)?;
    swarm.listen_on(format!("/ip4/{ip}/tcp/{port}/tls").parse()?)?;
    if let Some(address) = args.next() {
        swarm.dial(address.parse::<Multiaddr>()?)?;
    }
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            line = lines.next_line() => match line? {
                Some(line) => order(&mut swarm, &topic, &line),
                None => return Ok(()),
            },
            event = swarm.select_next_some() => tell(&mut swarm, event),
        }
    }
}

fn order(swarm: &mut Swarm<Behaviour>, topic: &gossipsub::IdentTopic, line: &str) {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let behaviour = swarm.behaviour_mut();
    match word {
        "publish" => match behaviour.gossipsub.publish(topic.clone(), rest) {
            Ok(_) => println!("published {rest}"),
            Err(e) => println!("not published: {e}"),
        },
        "find" => {
            if let Ok(peer) = rest.parse::<PeerId>() {
                behaviour.kad.get_closest_peers(peer);
            }
        }
        "ask" => {
            let (peer, text) = rest.split_once(' ').unwrap_or((rest, ""));
            if let Ok(peer) = peer.parse::<PeerId>() {
                behaviour.asking.send_request(&peer, text.to_owned());
            }
        }
        _ => println!("publish TEXT, find ID or ask ID TEXT"),
    }
}

fn tell(swarm: &mut Swarm<Behaviour>, event: SwarmEvent<BehaviourEvent>) {
    use BehaviourEvent as Of;
    match event {
        SwarmEvent::NewListenAddr { address, .. } => {
            println!("listening {address}/p2p/{}", swarm.local_peer_id());
        }
        SwarmEvent::ConnectionEstablished { peer_id, .. } => println!("connected {peer_id}"),
        SwarmEvent::ConnectionClosed { peer_id, .. } => println!("closed {peer_id}"),
        SwarmEvent::OutgoingConnectionError { error, .. } => println!("not connected: {error}"),
        SwarmEvent::Behaviour(Of::Identify(identify::Event::Received {
            peer_id, info, ..
        })) => {
            println!("identified {peer_id} {}", info.protocol_version);
            for address in info.listen_addrs {
                swarm.behaviour_mut().kad.add_address(&peer_id, address);
            }
        }
        SwarmEvent::Behaviour(Of::Ping(ping::Event {
            peer,
            result: Ok(rtt),
            ..
        })) => {
            println!("ping {peer} {} us", rtt.as_micros());
        }
        SwarmEvent::Behaviour(Of::Kad(kad::Event::OutboundQueryProgressed {
            result: kad::QueryResult::GetClosestPeers(Ok(found)),
            ..
        })) => {
            for peer in found.peers {
                println!("found {}", peer.peer_id);
            }
        }
        SwarmEvent::Behaviour(Of::Gossipsub(gossipsub::Event::Subscribed { peer_id, .. })) => {
            println!("subscribed {peer_id}");
        }
        SwarmEvent::Behaviour(Of::Gossipsub(gossipsub::Event::Message { message, .. })) => {
            println!("message {}", String::from_utf8_lossy(&message.data));
        }
        SwarmEvent::Behaviour(Of::Asking(request_response::Event::Message { message, .. })) => {
            match message {
                request_response::Message::Request {
                    request, channel, ..
                } => {
                    // A requester that has gone away needs no answer.
                    let _ = swarm
                        .behaviour_mut()
                        .asking
                        .send_response(channel, request.to_uppercase());
                }
                request_response::Message::Response { response, .. } => {
                    println!("answer {response}");
                }
            }
        }
        _ => {}
    }
}
