//! The command that each server gets.

use pg::Lsn;

use super::{StartOptions, WireError};

fn command(options: &StartOptions, server: &str) -> Result<String, WireError> {
    options.command("slot", Lsn::new(0x1_0000_00FF), server.parse()?)
}

#[test]
fn the_command_names_slot_position_and_publications_with_quotes() {
    let options = StartOptions::new(["plain", "it's", "a \"b\", c\\"]);
    let expected = "START_REPLICATION SLOT \"slot\" LOGICAL 1/FF (proto_version '1', \
        publication_names '\"plain\",\"it''s\",\"a \"\"b\"\", c\\\"', messages 'true')";
    assert_eq!(command(&options, "15.18 (Debian 15.18-0+deb12u1)").unwrap(), expected);
}

#[test]
fn origin_is_sent_only_to_servers_that_know_it() {
    let options = StartOptions { origin_none: true, ..StartOptions::new(["p"]) };
    assert!(!command(&options, "15.18").unwrap().contains("origin"));
    assert!(command(&options, "16beta1").unwrap().ends_with(", origin 'none')"));
}

#[test]
fn an_option_that_the_server_does_not_have_is_refused_and_not_left_out() {
    let plain = StartOptions { messages: false, ..StartOptions::new(["p"]) };
    assert!(command(&plain, "13.9").is_ok());
    let cases = [
        (StartOptions { messages: true, ..plain.clone() }, "13.9", 14),
        (StartOptions { binary: true, ..plain.clone() }, "13.9", 14),
        (StartOptions { proto_version: 2, ..plain.clone() }, "13.9", 14),
        (StartOptions { proto_version: 3, ..plain.clone() }, "14.1", 15),
        (StartOptions { proto_version: 4, ..plain }, "15.18", 16),
    ];
    for (options, server, expected) in cases {
        let error = command(&options, server).expect_err("an old server");
        assert!(
            matches!(error, WireError::Unsupported { needs, .. } if needs == expected),
            "{error:?}"
        );
        assert!(command(&options, "17.0").is_ok());
    }
}

#[test]
fn options_that_contradict_themselves_are_refused() {
    let good = StartOptions::new(["p"]);
    let zero = std::time::Duration::ZERO;
    let cases = [
        StartOptions { publications: Vec::new(), ..good.clone() },
        StartOptions { proto_version: 0, ..good.clone() },
        StartOptions { proto_version: 5, ..good.clone() },
        StartOptions { streaming: true, ..good.clone() },
        StartOptions { status_interval: zero, ..good.clone() },
        StartOptions { silence_max: zero, ..good },
    ];
    for options in cases {
        let error = command(&options, "17.0").expect_err("contradictory options");
        assert!(matches!(error, WireError::Settings { .. }), "{options:?}: {error:?}");
    }
}

#[test]
fn a_version_that_is_no_number_is_refused() {
    for text in ["", "devel", "-15"] {
        let error = command(&StartOptions::new(["p"]), text).expect_err("no version");
        assert!(matches!(error, WireError::Protocol { .. }), "{error:?}");
    }
}
