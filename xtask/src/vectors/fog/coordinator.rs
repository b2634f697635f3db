//! The life of a task. The tests of `betanet-coordinator` run this file too.

use betanet_coordinator::life::{Copy, CopyState, End, Fence, Life, Returned, Rules};
use betanet_fog::{Outcome as Status, Reason, Refusal, RefusalCode, TaskState, Tier, Verify};
use betanet_wire::{NodeId, text as form};
use serde_json::{Value, json};

type Outcome = Result<(), String>;
type Case = fn(&Value) -> Outcome;

/// The sections, and what runs a case of each.
pub(crate) const SECTIONS: &[(&str, Case)] = &[("life", life)];

fn items<'a>(v: &'a Value, key: &str) -> Result<&'a Vec<Value>, String> {
    v[key]
        .as_array()
        .ok_or_else(|| format!("{key}: not a list"))
}

fn number(v: &Value) -> Result<u64, String> {
    v.as_u64().ok_or_else(|| format!("{v}: not a number"))
}

fn array<const N: usize>(v: &Value) -> Result<[u8; N], String> {
    let bytes = v.as_str().and_then(form::unhex);
    bytes
        .and_then(|b| b.try_into().ok())
        .ok_or_else(|| format!("{v}: not {N} bytes in hex"))
}

fn word<T>(v: &Value, read: fn(&str) -> Option<T>) -> Result<T, String> {
    v.as_str()
        .and_then(read)
        .ok_or_else(|| format!("{v}: not a known word"))
}

fn same(what: &str, got: Value, want: &Value) -> Outcome {
    if got == *want {
        Ok(())
    } else {
        Err(format!("{what}: got {got}, want {want}"))
    }
}

/// A life and the rules that it follows, driven by the events of a case.
struct Driven {
    rules: Rules,
    life: Life,
    records: Vec<&'static str>,
}

impl Driven {
    fn new(case: &Value) -> Result<Self, String> {
        let small = |v: &Value| u8::try_from(number(v)?).map_err(|e| e.to_string());
        let verify = &case["verify"];
        let rules = Rules {
            tier: word(&case["tier"], Tier::from_word)?,
            verify: word(&verify[0], Verify::from_word)?,
            k: small(&verify[1])?,
            n: small(&verify[2])?,
            retry_max: small(&case["retry_max"])?,
            grants: case["grants"].as_bool().ok_or("grants")?,
        };
        Ok(Self {
            rules,
            life: Life::new(),
            records: Vec::new(),
        })
    }

    fn end(&mut self, end: &End) {
        self.life.ended(end.state, end.reason);
        self.records.push("ended");
    }

    fn conclude(&mut self, fence: u64) {
        if let Some(end) = self.life.verdict(&self.rules, fence) {
            self.end(&end);
        }
    }

    fn check_going(&self) -> Result<(), Refusal> {
        if self.life.state.ended() {
            Err(RefusalCode::Ended.bare())
        } else {
            Ok(())
        }
    }

    fn lose(&mut self, fence: u64, why: Reason) -> Result<(), Refusal> {
        self.life.check_fence(fence)?;
        self.life.lost(fence, why);
        self.records.push("lost");
        self.conclude(fence);
        Ok(())
    }

    fn done(&mut self, event: &Value, fence: u64) -> Result<Result<(), Refusal>, String> {
        let status = word(&event[2], Status::from_word)?;
        let out = match event[3].as_str() {
            Some(_) => Some(array(&event[3])?),
            None => None,
        };
        // A receipt is what it says.
        let hash = betanet_keys::hash(&[event.to_string().as_bytes()]);
        let live = match self.life.check_receipt(fence, &hash) {
            Err(refusal) => return Ok(Err(refusal)),
            Ok(Fence::Again) => return Ok(Ok(())),
            Ok(Fence::Live) => true,
            Ok(Fence::Evidence | Fence::Stale) => false,
        };
        if !live {
            return Ok(Err(RefusalCode::FenceStale.bare()));
        }
        let returned = Returned {
            hash,
            out,
            fuel: 0,
            alone: event[4] == json!(false),
        };
        self.life.returned(&self.rules, fence, status, returned);
        self.records.push("returned");
        self.conclude(fence);
        Ok(Ok(()))
    }

    fn step(&mut self, event: &Value) -> Result<Result<(), Refusal>, String> {
        let fence = || number(&event[1]);
        Ok(match event[0].as_str().unwrap_or_default() {
            "ready" => self.check_going().map(|()| {
                self.life.ready();
                self.records.push("ready");
            }),
            "broken" => self.check_going().map(|()| {
                self.end(&End::without(TaskState::Cancelled, Reason::Dependency));
            }),
            "cancel" => self.check_going().map(|()| {
                self.end(&End::without(TaskState::Cancelled, Reason::Cancel));
            }),
            "deadline" => self.check_going().map(|()| {
                self.end(&End::without(TaskState::Expired, Reason::Deadline));
            }),
            "place" => {
                for fence in event[1].as_array().ok_or("fences: not a list")? {
                    self.place(number(fence)?);
                }
                Ok(())
            }
            "start" => {
                let fence = fence()?;
                self.life.check_fence(fence).map(|_| ()).map(|()| {
                    if self.life.started(fence) {
                        self.records.push("started");
                    }
                })
            }
            "done" => self.done(event, fence()?)?,
            "down" => self.lose(fence()?, Reason::Down),
            "nack" => self.lose(fence()?, Reason::Nack),
            "preempt" => self.lose(fence()?, Reason::Preempted),
            "drain" => self.lose(fence()?, Reason::Drained),
            other => return Err(format!("{other}: no known event")),
        })
    }

    fn place(&mut self, fence: u64) {
        self.life.assigned(Copy {
            fence,
            no: self.life.placed,
            node: NodeId([0; 20]),
            placed: 0,
            end: 0,
            devices: 0,
            state: CopyState::Assigned,
            returned: None,
        });
        self.records.push("assigned");
    }
}

fn life(case: &Value) -> Outcome {
    let mut driven = Driven::new(&case["in"])?;
    let wanted = items(&case["out"], "steps")?;
    for (event, want) in items(&case["in"], "events")?.iter().zip(wanted) {
        driven.records.clear();
        let got = match driven.step(event)? {
            Err(refusal) => json!({
                "status": refusal.code.status(),
                "code": refusal.code.as_str(),
                "key": refusal.key,
            }),
            Ok(()) => {
                let mut got = json!({
                    "state": driven.life.state.as_str(),
                    "records": driven.records,
                    "wanted": driven.life.wanted(&driven.rules),
                });
                if let Some(reason) = driven.life.reason
                    && driven.life.state != TaskState::Succeeded
                {
                    got["reason"] = json!(reason.as_str());
                }
                got
            }
        };
        same(&event.to_string(), got, want)?;
    }
    Ok(())
}
