//! Peers that may have the blobs of public tasks.

use std::fmt;
use std::sync::Arc;

use betanet_fog_client::{Connect, FogClient, Sources};
use betanet_keys::Name;

/// Nodes that are asked for a blob of a public task which the coordinator does not give. They learn that this node wants it.
#[derive(Clone, Default)]
pub struct Peers(Option<Arc<dyn Connect>>);

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Peers").field(&self.names()).finish()
    }
}

impl Peers {
    /// The nodes that this names, in place of coordinators. Those beyond [`betanet_fog_client::PEERS_MAX`] are left out.
    #[must_use]
    pub fn new(connect: Arc<dyn Connect>) -> Self {
        Self(Some(connect))
    }

    fn names(&self) -> Vec<Name> {
        self.0.as_ref().map_or_else(Vec::new, |c| c.coordinators())
    }

    /// The coordinator, and these peers but for oneself.
    pub(crate) fn sources(&self, client: &FogClient) -> Sources {
        let sources = Sources::new(client.clone());
        let Some(connect) = &self.0 else {
            return sources;
        };
        let me = Name::from(client.me().public().node_id());
        let others = self.names().into_iter().filter(|name| *name != me);
        others.fold(sources, |sources, name| {
            sources.and(Arc::clone(connect), name)
        })
    }
}
