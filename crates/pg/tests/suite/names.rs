//! Log positions, table names and quoting.

use pg::{Lsn, ParseTableNameError, TableName, quote_ident, quote_literal};
use proptest::prelude::{any, proptest};

#[test]
fn a_position_reads_and_writes_the_form_of_postgresql() {
    let lsn: Lsn = "16/B374D848".parse().unwrap();
    assert_eq!(lsn, Lsn::new(0x16_B374_D848));
    assert_eq!(lsn.to_string(), "16/B374D848");
    assert_eq!(format!("{lsn:?}"), "16/B374D848");
    assert_eq!("0/0".parse(), Ok(Lsn::ZERO));
    assert_eq!("ffffffff/ffffffff".parse(), Ok(Lsn::MAX));
}

#[test]
fn a_text_that_postgresql_would_not_take_is_no_position() {
    for text in ["", "/", "1", "1/", "/1", "g/0", "+1/0", "0/-1", "0/100000000", "1/2/3", " 0/1"] {
        let error = text.parse::<Lsn>().unwrap_err().to_string();
        assert!(error.contains("write it like 16/B374D848"), "{text:?}: {error}");
    }
}

#[test]
fn positions_compare_by_bytes_of_log_and_not_by_text() {
    let (earlier, later): (Lsn, Lsn) = ("9/0".parse().unwrap(), "10/0".parse().unwrap());
    assert!(earlier < later);
    assert_eq!(later.checked_since(earlier), Some(7 << 32));
    assert_eq!(earlier.checked_since(later), None);
    assert_eq!(earlier.saturating_since(later), 0);
    assert_eq!(Lsn::MAX.checked_add(1), None);
    assert_eq!(Lsn::ZERO.checked_sub(1), None);
    assert_eq!(earlier.checked_add(7 << 32), Some(later));
    assert_eq!(later.checked_sub(7 << 32), Some(earlier));
    assert!(Lsn::ZERO.is_zero() && !later.is_zero());
}

#[test]
fn a_position_is_a_string_in_json_because_numbers_lose_bits_there() {
    let json = serde_json::to_string(&Lsn::MAX).unwrap();
    assert_eq!(json, "\"FFFFFFFF/FFFFFFFF\"");
    assert_eq!(serde_json::from_str::<Lsn>(&json).unwrap(), Lsn::MAX);
    assert!(serde_json::from_str::<Lsn>("12").is_err());
}

#[test]
fn a_table_name_folds_what_is_unquoted_and_keeps_what_is_quoted() {
    let cases = [
        ("public.ticket", "public", "ticket"),
        ("Public.Ticket", "public", "ticket"),
        ("public.\"Ticket\"", "public", "Ticket"),
        ("\"a.b\".\"c\"\"d\"", "a.b", "c\"d"),
        ("_s.t$1", "_s", "t$1"),
        ("größe.maß", "größe", "maß"),
    ];
    for (text, schema, name) in cases {
        assert_eq!(text.parse(), Ok(TableName::new(schema, name)), "{text}");
    }
}

#[test]
fn a_text_that_is_not_one_qualified_table_is_refused_with_advice() {
    use ParseTableNameError::{NeedsQuotes, NotAName, NotTwoParts};
    let error = |text: &str| text.parse::<TableName>().unwrap_err();
    for text in ["ticket", "a.b.c", "\"a\"b.c"] {
        assert_eq!(error(text), NotTwoParts { text: text.to_owned() });
    }
    for text in ["public.my table", "public.1st", "public.\"open", "a-b.c", "$a.b"] {
        assert_eq!(error(text), NeedsQuotes { text: text.to_owned() });
    }
    for (text, part) in [("", ""), ("public.", ""), (".ticket", ""), ("a.\"\"", "")] {
        assert_eq!(error(text), NotAName { part: part.to_owned() }, "{text}");
    }
    let long = "x".repeat(64);
    assert_eq!(error(&format!("public.{long}")), NotAName { part: long });
    assert_eq!(error("a.\"x\0\""), NotAName { part: "x\0".to_owned() });
}

#[test]
fn a_table_name_is_shown_with_quotes_only_where_sql_needs_them() {
    assert_eq!(TableName::new("public", "ticket").to_string(), "public.ticket");
    assert_eq!(TableName::new("public", "Ticket").to_string(), "public.\"Ticket\"");
    assert_eq!(TableName::new("public", "user").to_string(), "public.\"user\"");
    assert_eq!(TableName::new("a\"b", "t").quoted(), "\"a\"\"b\".\"t\"");
    let json = serde_json::to_string(&TableName::new("public", "a b")).unwrap();
    assert_eq!(json, r#""public.\"a b\"""#);
    assert_eq!(serde_json::from_str::<TableName>(&json).unwrap(), TableName::new("public", "a b"));
}

#[test]
fn quoting_doubles_what_would_end_the_string() {
    assert_eq!(quote_ident("a"), "\"a\"");
    assert_eq!(quote_ident("a\"; drop"), "\"a\"\"; drop\"");
    assert_eq!(quote_literal("it's"), "'it''s'");
    assert_eq!(quote_literal("a\\b'"), " E'a\\\\b'''");
}

proptest! {
    #[test]
    fn every_position_survives_its_text_form(byte in any::<u64>()) {
        let lsn = Lsn::new(byte);
        assert_eq!(lsn.to_string().parse(), Ok(lsn));
    }

    #[test]
    fn every_table_name_survives_its_text_form(
        schema in "[^\0]{1,15}",
        name in "[a-zA-Z_\"$. äÄ]{1,15}",
    ) {
        let table = TableName::new(schema, name);
        assert_eq!(table.to_string().parse(), Ok(table.clone()));
        assert_eq!(table.quoted().parse(), Ok(table));
    }

    #[test]
    fn no_text_makes_the_parsers_panic(text in any::<String>()) {
        let lsn = text.parse::<Lsn>();
        let table = text.parse::<TableName>();
        assert!(lsn.is_err() || table.is_err());
    }
}
