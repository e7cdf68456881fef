//! Plans as operators read them.

use proptest::{prelude::prop_assert_eq, proptest, sample::select};

use super::*;
use crate::config::sample::parse;

const COMPLETE: &str = include_str!("../parse/complete.toml");

fn planned(edits: &[(&str, &str)]) -> String {
    let mut text = COMPLETE.to_owned();
    for (from, to) in edits {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    let (old, new) = (parse(COMPLETE).expect("valid"), parse(&text).expect("valid"));
    plan(&old, &new).iter().map(|change| format!("{change}\n")).collect()
}

#[test]
fn a_layout_change_is_no_change() {
    assert_eq!(
        planned(&[(
            "[[capabilities.tickets.routes]]\n",
            "\n# the list\n[[capabilities.tickets.routes]]\n\n\n"
        )]),
        ""
    );
}

#[test]
fn settings_say_whom_they_concern_and_what_they_take() {
    let edits = [
        ("\"127.0.0.1:8080\", ", ""),
        ("copy_workers = 4", "copy_workers = 8"),
        ("wal_budget = \"2GiB\"", "wal_budget = \"3GiB\""),
        ("wal_last_resort = \"keep\"", "wal_last_resort = \"drop_slot\""),
        ("\"jwt:sub\", ", ""),
        ("127.0.0.1:3000", "127.0.0.1:3001"),
        ("fall = 4", "fall = 9"),
        ("every = \"1h\"", "every = \"2h\""),
        ("hold = \"9s\"", "hold = \"8s\""),
        ("soak = \"0s\"", "soak = \"1d\""),
        ("upstream = \"users\"", "upstream = \"ticket\""),
    ];
    let expected = r#"proxy.listen: ["127.0.0.1:8080","[::1]:8080"] becomes ["[::1]:8080"] (all requests; needs a restart)
proxy.subject: ["jwt:sub","cookie:session_id","header:x-api-key","ip"] becomes ["cookie:session_id","header:x-api-key","ip"] (every client may fall into another share of the reads; live)
cdc.copy_workers: 4 becomes 8 (no requests; needs a restart)
cdc.wal_budget: 2147483648 becomes 3221225472 (no requests; needs a restart)
cdc.wal_last_resort: "keep" becomes "drop_slot" (no requests; needs a restart)
upstreams.monolith.health.fall: 4 becomes 9 (requests sent to monolith; live)
upstreams.monolith.peers: ["127.0.0.1:3000"] becomes ["127.0.0.1:3001"] (requests sent to monolith; live)
capabilities.tickets.fence.hold: "9s" becomes "8s" (writes of tickets during a transfer; live)
capabilities.tickets.reverse.soak: "0s" becomes "1d" (no requests; live)
capabilities.tickets.shift.every: "1h" becomes "2h" (reads of tickets; live)
capabilities.users.upstream: "users" becomes "ticket" (everything the service answers of users; refused while replicating)
"#;
    assert_eq!(planned(&edits), expected);
}

#[test]
fn routes_say_where_their_requests_come_from_and_go_to() {
    let edits = [
        ("match = \"PUT /api/v1/tickets/{id}\"", "match = \"PUT /api/v1/tickets/{id}/state\""),
        ("match = \"GET /api/v1/users\"", "match = \"GET /api/v1/people\""),
        ("effect = \"read\"", "effect = \"write\""),
        ("sample = 0.5", "sample = 0.1"),
    ];
    let expected = "\
capabilities.tickets.routes[GET /api/v1/tickets].shadow.sample: 0.5 becomes 0.1 (its requests; live)
capabilities.tickets.routes[POST /api/v1/tickets/search].effect: \"read\" becomes \"write\" (its requests; live)
capabilities.tickets.routes[PUT /api/v1/tickets/{id}]: is removed (its requests were with tickets (PUT /api/v1/tickets/{id}) and come to the monolith; live)
capabilities.tickets.routes[PUT /api/v1/tickets/{id}/state]: is new (its requests were with tickets (* /api/v1/tickets/{id}/{*rest}) and come to tickets (PUT /api/v1/tickets/{id}/state); live)
capabilities.users.routes[GET /api/v1/people]: is new (its requests were with the monolith and come to users (GET /api/v1/people); live)
capabilities.users.routes[GET /api/v1/users]: is removed (its requests were with users (GET /api/v1/users) and come to the monolith; live)
";
    assert_eq!(planned(&edits), expected);
}

#[test]
fn table_mappings_are_refused_while_replicating() {
    let edits = [
        ("tn = \"number\"", "tn = \"ticket_number\""),
        ("where = \"queue_id <> 0\"\n", ""),
        ("source = \"public.queue\"", "source = \"public.queue_view\""),
    ];
    let expected = "\
capabilities.tickets.tables[public.ticket].columns.tn: \"number\" becomes \"ticket_number\" (the data of tickets; refused while replicating)
capabilities.tickets.tables[public.ticket].where: \"queue_id <> 0\" is removed (the data of tickets; refused while replicating)
capabilities.tickets.references[public.queue]: is removed (the data of tickets; refused while replicating)
capabilities.tickets.references[public.queue_view]: is new and has to be copied (the data of tickets; refused while replicating)
";
    assert_eq!(planned(&edits), expected);
}

#[test]
fn secrets_change_without_being_shown() {
    let edits = [("postgres://c", "postgres://new"), ("postgres://t", "postgres://new")];
    let expected = "\
control.database: names another place or account (no requests; needs a restart)
upstreams.ticket.database: names another place or account (no requests; needs a restart)
";
    assert_eq!(planned(&edits), expected);
}

#[test]
fn a_capability_that_comes_or_goes_takes_its_routes_along() {
    let old = parse(COMPLETE).expect("valid");
    let mut new = old.clone();
    new.capabilities.remove("users");
    let removed: Vec<String> = plan(&old, &new).iter().map(ToString::to_string).collect();
    let added: Vec<String> = plan(&new, &old).iter().map(ToString::to_string).collect();
    assert_eq!(
        removed[0],
        "capabilities.users: is removed (everything it claims; refused while replicating)"
    );
    assert_eq!(
        added[0],
        "capabilities.users: is new, with 2 routes and 1 table (none yet: it begins with the monolith; live)"
    );
    assert_eq!(removed.len(), 3);
    assert_eq!(added.len(), 3);
}

proptest! {
    #[test]
    fn a_plan_back_has_as_many_changes(
        edit in select(vec![
            ("\"127.0.0.1:8080\", ", ""), ("tn = \"number\"", "tn = \"no\""),
            ("effect = \"read\"\n", ""), ("rise = 5", "rise = 6"), ("postgres://m", "postgres://x"),
        ]),
    ) {
        let old = parse(COMPLETE).expect("valid");
        let new = parse(&COMPLETE.replacen(edit.0, edit.1, 1)).expect("valid");
        prop_assert_eq!(plan(&old, &old), vec![]);
        prop_assert_eq!(plan(&old, &new).len(), 1);
        prop_assert_eq!(plan(&new, &old).len(), 1);
    }
}
