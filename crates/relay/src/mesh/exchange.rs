//! The task of one exchange of the mesh.

use betanet_mesh::{ExchangeId, Input};
use betanet_session::ops::RawStream;
use betanet_wire::Code;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::Message;

/// A command to an exchange's task.
pub(super) enum Out {
    Data(Bytes, bool),
    Abort(Code),
}

/// Tells the mesh's task that an exchange has ended.
pub(super) async fn ended(inbox: &mpsc::WeakSender<Message>, exchange: ExchangeId) {
    if let Some(inbox) = inbox.upgrade() {
        let _ = inbox.send(Message::Input(Input::Ended { exchange })).await;
    }
}

/// Passes an exchange's bytes between its stream and the state machine.
pub(super) async fn run_exchange(
    exchange: ExchangeId,
    stream: RawStream,
    mut out: mpsc::Receiver<Out>,
    inbox: mpsc::WeakSender<Message>,
    fin: bool,
) {
    let (mut body, mut sender) = stream.split();
    let mut sent_all = false;
    if fin {
        sent_all = sender.send(Bytes::new(), true).await.is_ok();
    }
    let mut heard_all = false;
    while !(sent_all && heard_all) {
        tokio::select! {
            told = out.recv(), if !sent_all => match told {
                Some(Out::Data(data, fin)) => {
                    if sender.send(data, fin).await.is_err() {
                        break;
                    }
                    sent_all = fin;
                }
                Some(Out::Abort(code)) => {
                    sender.abort(code).await;
                    return;
                }
                None => break,
            },
            read = body.chunk(), if !heard_all => {
                let (data, fin) = match read {
                    Ok(Some(data)) => (data, false),
                    Ok(None) => (Bytes::new(), true),
                    Err(_) => break,
                };
                heard_all = fin;
                let Some(inbox) = inbox.upgrade() else { return };
                let message = Message::Input(Input::Data { exchange, data, fin });
                if inbox.send(message).await.is_err() {
                    return;
                }
            }
        }
    }
    ended(&inbox, exchange).await;
}
