//! What nodes, users and operators of the world ask.

use alloc::boxed::Box;
use alloc::string::{String, ToString as _};
use alloc::vec;
use alloc::vec::Vec;

use betanet_coordinator::placer::Placer;
use betanet_coordinator::{Caller, Command, Item, Reply, Request};
use betanet_fog::bodies::{Beat, Held, TokenRequest};
use betanet_fog::{
    Kind, List, Node, Receipt, Received, RefusalCode, Signed, Task, TaskId, TaskState,
};
use betanet_keys::Identity;
use betanet_machine::Machine as _;
use betanet_wire::NodeId;

use super::records::{caller, identity};
use super::world::{Answer, World};

impl<P: Placer + Default> World<P> {
    /// Asks a member. Returns the number of the call.
    pub fn send_to(&mut self, at: usize, caller: Caller, request: Request) -> u64 {
        self.calls += 1;
        let call = self.calls;
        let now = self.clock();
        let before = self.members[at].machine.get().last();
        let command = Command {
            call,
            caller,
            request,
        };
        if let Err(refusal) = self.members[at].machine.handle_command(now, command) {
            assert_eq!(before, self.members[at].machine.get().last());
            self.answers.insert(call, Err(refusal));
        }
        self.settle(at);
        call
    }

    /// Asks the leader and returns the answer.
    pub fn ask(&mut self, caller: Caller, request: Request) -> Answer {
        let at = self.leader();
        let call = self.send_to(at, caller, request);
        self.answers.remove(&call).expect("an answer")
    }

    /// Asks the leader for what it refuses, and returns the code.
    pub fn refused(&mut self, caller: Caller, request: Request) -> RefusalCode {
        self.ask(caller, request).expect_err("refused").code
    }

    /// Lets a node join with a token of its own, and beat once.
    pub fn join(&mut self, id: &Identity, node: Node) {
        self.join_as(id, node, true);
    }

    /// Lets a node join, with a token that names its organisation or none, and beat once.
    pub fn join_as(&mut self, id: &Identity, node: Node, vouched: bool) {
        let answer = self.try_join(
            id,
            node,
            vouched,
            id.public().node_id().0[..16].try_into().unwrap(),
        );
        assert!(matches!(answer, Ok(Reply::Joined(_, true))), "{answer:?}");
        self.beat(id, 1, &[]).unwrap();
    }

    /// A join token.
    pub fn token(&mut self, id: [u8; 16], org: &str, exp: u64) -> Signed<betanet_fog::Token> {
        let asked = TokenRequest {
            id,
            exp,
            org: org.parse().unwrap(),
            node: None,
            kinds: List::try_from(vec![Kind::Compute]).unwrap(),
        };
        let operator = caller(&self.operator, true);
        let Ok(Reply::Token(token)) = self.ask(operator, Request::IssueToken(asked)) else {
            panic!("no token");
        };
        Signed::sign(*token, &self.coordinator).unwrap()
    }

    /// Lets a node join with the token of this ID.
    pub fn try_join(
        &mut self,
        id: &Identity,
        node: Node,
        vouched: bool,
        token: [u8; 16],
    ) -> Answer {
        let org = if vouched {
            node.org.to_string()
        } else {
            String::new()
        };
        let exp = self.unix() + 3_600_000;
        let token = self.token(token, &org, exp).to_text().unwrap();
        self.join_with(id, node, token)
    }

    /// Lets a node join with a token.
    pub fn join_with(&mut self, id: &Identity, node: Node, token: betanet_fog::Text) -> Answer {
        let signed = Signed::sign(node, id).unwrap();
        let node = Received::new(signed.envelope().clone()).unwrap();
        let request = Request::Join {
            node: Box::new(node),
            token: token.into(),
        };
        self.ask(caller(id, false), request)
    }

    /// Sends a beat to the leader.
    pub fn beat(&mut self, id: &Identity, seq: u64, have: &[(TaskId, u64)]) -> Answer {
        self.beat_to(self.leader(), id, seq, have)
    }

    /// Sends a beat to a member.
    pub fn beat_to(
        &mut self,
        at: usize,
        id: &Identity,
        seq: u64,
        have: &[(TaskId, u64)],
    ) -> Answer {
        let have: Vec<Held> = have
            .iter()
            .map(|(task, fence)| Held {
                task: *task,
                fence: *fence,
            })
            .collect();
        let beat = Beat {
            rtt: List::new(),
            seq,
            gone: List::new(),
            have: List::try_from(have).unwrap(),
            work: true,
        };
        let request = Request::Beat(id.public().node_id(), Box::new(beat));
        let call = self.send_to(at, caller(id, false), request);
        self.answers.remove(&call).expect("an answer")
    }

    /// Submits a task.
    pub fn submit(&mut self, owner: &Identity, task: Task) -> (TaskId, Answer) {
        let task = Signed::sign(task, owner).unwrap();
        let id = task.id();
        let request = Request::Submit {
            task: Box::new(task),
            missing: None,
        };
        let answer = self.ask(caller(owner, false), request);
        (id, answer)
    }

    /// Submits a task that is accepted.
    pub fn put(&mut self, owner: &Identity, task: Task) -> TaskId {
        let (id, answer) = self.submit(owner, task);
        assert_eq!(answer, Ok(Reply::Created));
        id
    }

    /// Status of a task.
    pub fn status(&mut self, id: TaskId) -> Box<betanet_fog::bodies::Status> {
        let anyone = caller(&identity(99), false);
        match self.ask(anyone, Request::Status(id)) {
            Ok(Reply::Status(status)) => status,
            other => panic!("{other:?}"),
        }
    }

    /// State of a task.
    pub fn state(&mut self, id: TaskId) -> TaskState {
        self.status(id).state
    }

    /// State and reason of a task.
    pub fn end(&mut self, id: TaskId) -> (TaskState, String) {
        let status = self.status(id);
        (status.state, status.reason.to_string())
    }

    /// The items that came for a node since this was asked last.
    pub fn take_items(&mut self, id: &Identity) -> Vec<Item> {
        let node = id.public().node_id();
        let (own, rest) = core::mem::take(&mut self.items)
            .into_iter()
            .partition(|(n, _)| *n == node);
        self.items = rest;
        let own: Vec<(NodeId, Item)> = own;
        own.into_iter().map(|(_, item)| item).collect()
    }

    /// The assignment of the only copy that a node was given since this was asked last.
    pub fn take_run(&mut self, id: &Identity) -> Box<betanet_fog::Assignment> {
        let runs = self.take_items(id).into_iter().filter_map(|i| match i {
            Item::Run { work, .. } => Some(work),
            Item::Drop { .. } => None,
        });
        let runs: Vec<_> = runs.collect();
        assert_eq!(runs.len(), 1, "one copy to run");
        runs.into_iter().next().unwrap()
    }

    /// Reports that a copy runs.
    pub fn start(&mut self, id: &Identity, work: &betanet_fog::Assignment) -> Answer {
        self.ask(caller(id, false), Request::Start(work.task, work.fence))
    }

    /// Gives a copy back.
    pub fn nack(&mut self, id: &Identity, work: &betanet_fog::Assignment) -> Answer {
        self.ask(caller(id, false), Request::Nack(work.task, work.fence))
    }

    /// Sends a receipt.
    pub fn done(&mut self, id: &Identity, receipt: Receipt) -> Answer {
        let task = receipt.task;
        let receipt = Signed::sign(receipt, id).unwrap();
        self.ask(caller(id, false), Request::Done(task, Box::new(receipt)))
    }
}
