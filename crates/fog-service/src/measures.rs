//! Metrics and health of a coordinator.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use betanet_fog::{NodeState, TaskState};
use betanet_runtime::{Fault, Measure, MeasureKind};

use crate::Role;
use crate::api::Api;
use crate::handle::Handle;

pub(crate) fn measures(api: &Api) -> Vec<Measure> {
    let shared = &api.handle.shared;
    let counts = &shared.counts;
    let counter = |name, help, of: &AtomicU64| {
        Measure::one(name, help, MeasureKind::Counter, of.load(Ordering::Relaxed))
    };
    let gauge = |name, help, value| Measure::one(name, help, MeasureKind::Gauge, value);
    let epoch = match api.handle.role() {
        Role::Leads(epoch) => epoch,
        _ => 0,
    };
    let mut all = vec![
        gauge(
            "fog_epoch",
            "Epoch in which this coordinator leads, 0 if it does not",
            epoch,
        ),
        gauge(
            "fog_journal_index",
            "Index of the last committed record",
            *shared.committed.borrow(),
        ),
        gauge("fog_log_bytes", "Bytes of stored logs", api.logs.used()),
        gauge("fog_streams", "Open streams", api.streams.taken() as u64),
        counter("fog_requests", "Requests to the machine", &counts.requests),
        counter("fog_requests_refused", "Requests refused", &counts.refused),
        counter("fog_commits", "Commits of the journal", &counts.commits),
        counter("fog_records", "Committed records", &counts.records),
        counter(
            "fog_commit_microseconds",
            "Time spent in commits, in microseconds",
            &counts.commit_micros,
        ),
        counter("fog_terms", "Terms that began", &counts.terms),
        counter("fog_snapshots", "Snapshots saved", &counts.snapshots),
    ];
    let topology = shared
        .topology
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if let Some(topology) = &*topology {
        let value = |map: &betanet_fog::Map<betanet_fog::Word, u64>, word: &str| {
            map.iter()
                .find(|(w, _)| ***w == *word)
                .map_or(0, |(_, n)| *n)
        };
        let nodes = NodeState::ALL.iter().map(|s| s.as_str());
        let tasks = TaskState::ALL.iter().map(|s| s.as_str());
        all.push(Measure {
            name: "fog_nodes",
            help: "Nodes by state, counted each minute",
            kind: MeasureKind::Gauge,
            values: nodes
                .map(|s| (Some(("state", s)), value(&topology.nodes, s)))
                .collect(),
        });
        all.push(Measure {
            name: "fog_tasks",
            help: "Tasks by state, counted each minute",
            kind: MeasureKind::Gauge,
            values: tasks
                .map(|s| (Some(("state", s)), value(&topology.tasks, s)))
                .collect(),
        });
    }
    all
}

/// The faults of a coordinator. One that follows another has none.
pub(crate) fn faults(handle: &Handle) -> Vec<Fault> {
    let why = match handle.role() {
        Role::Failed(why) | Role::Full(why) => why.into_string(),
        Role::Starting => "the coordinator reads its journal".to_owned(),
        Role::Leads(_) | Role::Follows(_) | Role::Stopped => return Vec::new(),
    };
    vec![Fault::new("coordinator", why)]
}
