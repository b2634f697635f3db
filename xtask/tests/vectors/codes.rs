//! Where each wire code is provoked: by a test over real sockets that sees the connection live on, or, where the code ends a session,
//! another session of the node.

use std::fs;

use betanet_wire::Code;

const NET: &str = "crates/runtime/tests/net/codes.rs";
const NAMES: &str = "crates/naming-service/tests/all/codes.rs";
const REDEEM: &str = "crates/voucher-service/tests/all/redeem.rs";
const BOUNDS: &str = "crates/voucher-service/tests/all/bounds.rs";

/// Each code with the file and the name of its test.
const TESTS: &[(Code, &str, &str)] = &[
    (
        Code::OK,
        REDEEM,
        "damaged_and_doubled_vouchers_and_garbage_see_their_codes",
    ),
    (
        Code::VERSION_NEGOTIATION_FAILED,
        NET,
        "no_common_version_is_told_in_epoch_0",
    ),
    (
        Code::AUTH_FAILED,
        NAMES,
        "each_refusal_has_its_code_and_the_connection_lives_on",
    ),
    (
        Code::PATH_INVALID,
        NET,
        "invalid_paths_end_the_session_and_no_other",
    ),
    (
        Code::REPLAY,
        NAMES,
        "each_refusal_has_its_code_and_the_connection_lives_on",
    ),
    (
        Code::FLOW_CONTROL_VIOLATION,
        NET,
        "bytes_past_the_credit_and_credit_past_its_bound_end_the_session",
    ),
    (
        Code::OLD_KEY_FRAME,
        NET,
        "a_frame_under_the_old_key_is_told_apart_from_a_forged_one",
    ),
    (
        Code::MALFORMED_FRAME,
        NAMES,
        "each_refusal_has_its_code_and_the_connection_lives_on",
    ),
    (
        Code::INTERNAL_ERROR,
        BOUNDS,
        "a_state_that_does_not_lead_answers_503",
    ),
    (
        Code::POLICY_REJECTED,
        NET,
        "streams_of_no_known_type_or_path_are_refused_alone",
    ),
    (
        Code::UNSUPPORTED_FEATURE,
        NET,
        "streams_of_no_known_type_or_path_are_refused_alone",
    ),
    (
        Code::L2_TICKET_INVALID,
        NET,
        "an_invalid_ticket_is_counted_and_its_connection_is_served",
    ),
    (
        Code::L2_ORIGIN_MISMATCH,
        NET,
        "a_template_that_is_not_listed_is_told_so_by_the_gateway",
    ),
    (
        Code::ALIAS_SIG_INVALID,
        NAMES,
        "each_refusal_has_its_code_and_the_connection_lives_on",
    ),
    (
        Code::ALIAS_SEQ_REPLAY,
        NAMES,
        "each_refusal_has_its_code_and_the_connection_lives_on",
    ),
    (
        Code::ALIAS_ROTATION_CONFLICT,
        NAMES,
        "each_refusal_has_its_code_and_the_connection_lives_on",
    ),
    (
        Code::VOUCHER_INVALID,
        REDEEM,
        "damaged_and_doubled_vouchers_and_garbage_see_their_codes",
    ),
    (
        Code::VOUCHER_SPENT,
        REDEEM,
        "damaged_and_doubled_vouchers_and_garbage_see_their_codes",
    ),
    (
        Code::STALLED,
        NET,
        "an_exchange_that_says_nothing_is_ended_alone",
    ),
];

/// The text of a test function, if the file has it.
fn body<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (before, rest) = text.split_once(&format!("fn {name}()"))?;
    let mut nearest = before.lines().rev().take(2);
    let is_test =
        nearest.any(|line| line.starts_with("#[test") || line.starts_with("#[tokio::test"));
    rest.split("\n}\n").next().filter(|_| is_test)
}

#[test]
fn every_wire_code_is_provoked_by_a_test_that_is_there() {
    let named = (0..=u16::MAX).map(Code).filter(|c| c.name().is_some());
    for code in named {
        let rows = TESTS.iter().filter(|(of, ..)| *of == code);
        assert_eq!(rows.count(), 1, "{code}: one row is needed");
    }
    for (code, file, name) in TESTS {
        let text = fs::read_to_string(xtask::root().join(file));
        let text = text.unwrap_or_else(|e| panic!("{file}: {e}"));
        let body = body(&text, name).unwrap_or_else(|| panic!("{file}: no test {name}"));
        let code = code.to_string();
        assert!(
            body.contains(&code),
            "{file}: {name} does not expect {code}"
        );
    }
}
