//! Where vouchers of paid requests are redeemed: here, or at another node.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use betanet_keys::{Peer, PublicKey};
use betanet_vouchers::message::Answer;
use betanet_wire::NodeId;
use zeroize::Zeroizing;

use crate::client::VoucherClient;
use crate::desk::{Asker, Desk};

/// The redemption service does not answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("vouchers cannot be redeemed now")]
pub struct RedeemFailed;

/// The future of [`Redeem::redeem`].
pub type Redeeming<'a> = Pin<Box<dyn Future<Output = Result<Answer, RedeemFailed>> + Send + 'a>>;

/// Redeems vouchers to a node's balance.
pub trait Redeem: Send + Sync + 'static {
    /// The node whose balance grows.
    fn payee(&self) -> NodeId;

    /// Sends an encoded [`betanet_vouchers::message::RedeemRequest`], and returns its answer once it is committed.
    fn redeem(&self, request: Zeroizing<Vec<u8>>) -> Redeeming<'_>;
}

/// Redeems at this node's own service. The payers' allowances are those of [`crate::Paid`].
pub struct LocalRedeem(Arc<Desk>);

impl std::fmt::Debug for LocalRedeem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LocalRedeem")
    }
}

impl LocalRedeem {
    pub(crate) const fn new(desk: Arc<Desk>) -> Self {
        Self(desk)
    }
}

impl Redeem for LocalRedeem {
    fn payee(&self) -> NodeId {
        self.0.identity.public().node_id()
    }

    fn redeem(&self, request: Zeroizing<Vec<u8>>) -> Redeeming<'_> {
        let by = Asker {
            node: Some(self.payee()),
            charge: None,
        };
        Box::pin(async move {
            let answered = self.0.redeemed(by, request, false).await;
            answered.map_err(|_| RedeemFailed)
        })
    }
}

/// Redeems at the node that keeps the spent set.
#[derive(Debug)]
pub struct RemoteRedeem {
    client: VoucherClient,
    at: Peer,
    spender: PublicKey,
    payee: NodeId,
}

impl RemoteRedeem {
    /// Redeems at this node, whose key is the keyset's `spend`, to the balance of `payee`: the node as which the client dials.
    #[must_use]
    pub const fn new(client: VoucherClient, at: Peer, payee: NodeId) -> Self {
        Self {
            spender: at.key,
            client,
            at,
            payee,
        }
    }
}

impl Redeem for RemoteRedeem {
    fn payee(&self) -> NodeId {
        self.payee
    }

    fn redeem(&self, request: Zeroizing<Vec<u8>>) -> Redeeming<'_> {
        Box::pin(async move {
            let answer = self.client.redeem(&self.at, &self.spender, &request).await;
            answer.map_err(|error| {
                tracing::warn!(%error, "vouchers of a paid request were not redeemed");
                RedeemFailed
            })
        })
    }
}
