//! The machine under the contract checker: known answers, dangers, and a simulated fleet.
//!
//! Dangers that were found on paper, and the test of each:
//!
//! | danger | test |
//! |---|---|
//! | a deposed leader goes on answering beats | `dangers::a_deposed_leader_stops_answering_beats_before_the_next_one_counts` |
//! | the answer to a beat is lost | `dangers_more::an_answer_to_a_beat_that_is_lost_loses_no_copy` |
//! | a beat is in flight while a copy is assigned | `dangers::a_beat_in_flight_while_a_copy_is_assigned_does_not_lose_it` |
//! | a snapshot is restored | `dangers::a_restored_snapshot_goes_on_above_every_fence` |
//! | a node beats and never returns a copy | `dangers::a_node_that_beats_and_never_returns_a_copy_is_not_waited_for` |
//! | capacity is lowered below what is reserved | `dangers::capacity_lowered_below_what_is_reserved_ends_nothing_and_admits_nothing` |
//! | an operator's key changes | `dangers_more::an_operators_or_a_coordinators_key_change_ends_what_the_old_key_may` |
//! | a node with live copies leaves | `dangers::a_node_with_live_copies_stays_and_what_it_earned_survives_its_leaving` |
//! | a task is sent again after it was forgotten | `dangers::a_task_is_forgotten_once_it_cannot_be_sent_again` |
//! | one owner's nodes fill a quorum | `dangers::nodes_of_one_owner_cannot_fill_a_quorum` |
//! | a receipt has fuel above the limit | `receipts::receipts_are_refused_with_their_reason` |
//! | an assignment has the epoch 2^62 | `receipts::an_epoch_of_2_to_the_62_is_an_epoch` |
//! | three copies write one log | `receipts::each_copy_has_a_log_of_its_own` |
//! | `after` names another namespace | `dangers::tasks_of_other_namespaces_are_not_named_in_after` |
//! | paths have `..` | `dangers_more::paths_with_dots_cycles_and_impossible_numbers_cannot_be_signed` |
//! | junk tasks farm credits | `dangers_more::credits_are_not_farmed_by_junk_tasks` |
//! | a task on the only device makes everyone's price | `dangers::a_task_on_the_only_device_sets_the_price_of_devices_alone` |
//! | prices keep every node idle | `dangers::prices_that_keep_every_node_idle_are_the_price` |
//! | a big task starves behind small ones | `dangers_more::a_big_task_waits_ten_minutes_behind_small_ones_and_then_a_node_is_kept_for_it` |
//! | asks are withheld after others' were seen | `market::asks_withheld_after_others_were_seen_were_seen_by_nobody` |
//! | 64 full gold nodes stand before those that yield | `dangers_more::full_gold_nodes_hide_no_node_that_can_be_preempted` |
//!
//! Wrong inputs are tests of `dangers_more`, `receipts` and `fleet`. Bodies over their bound, unknown keys, negative numbers and long
//! polls do not reach the machine: its driver and `fog` refuse them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::missing_panics_doc,
    unreachable_pub,
    missing_docs,
    reason = "a test stops where it is surprised"
)]

#[path = "all/basics.rs"]
mod basics;
#[path = "all/bounds.rs"]
mod bounds;
#[path = "all/dangers.rs"]
mod dangers;
#[path = "all/dangers_more.rs"]
mod dangers_more;
#[path = "all/fleet.rs"]
mod fleet;
#[path = "all/levels.rs"]
mod levels;
#[path = "all/market.rs"]
mod market;
#[path = "all/market_rules.rs"]
mod market_rules;
#[path = "all/naive.rs"]
mod naive;
#[path = "all/ratings.rs"]
mod ratings;
#[path = "all/receipts.rs"]
mod receipts;
#[path = "all/storms.rs"]
mod storms;
#[path = "all/vectors.rs"]
mod vectors;
#[path = "all/views.rs"]
mod views;
#[path = "all/ways.rs"]
mod ways;

/// The world that the tests share with `cargo xtask sim`.
mod world {
    pub use betanet_sim::fog::*;
}
