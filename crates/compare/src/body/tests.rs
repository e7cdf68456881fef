//! Differences by example, and the laws every comparison obeys.

use proptest::{
    collection::vec,
    prelude::{any, prop_assert, prop_assert_eq, proptest},
    sample::Index,
};
use serde_json::{Value, json};

use super::*;
use crate::json::tests::document;

const KEY: HashKey = HashKey([1; 16]);

fn rules(ignore: &[&str], unordered: &[(&str, &str)]) -> Rules {
    let ignore: Vec<String> = ignore.iter().map(ToString::to_string).collect();
    let unordered: Vec<(String, String)> =
        unordered.iter().map(|(array, key)| ((*array).to_owned(), (*key).to_owned())).collect();
    Rules::new(&ignore, &unordered).expect("the pointers are valid")
}

/// The differences, one a line.
fn explain(expected: &str, actual: &str, rules: &Rules) -> String {
    match compare(expected.as_bytes(), actual.as_bytes(), None, rules, KEY) {
        Outcome::Equal => "equal".to_owned(),
        Outcome::Bytes => "other bytes".to_owned(),
        Outcome::Different { differences, .. } => {
            differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        }
    }
}

#[test]
fn every_kind_of_difference_has_its_pointer() {
    let none = Rules::default();
    let cases = [
        (r#"{"a":1,"b":2}"#, r#"{ "b":2, "a":1 }"#, "equal"),
        (r#"{"a":1}"#, "{}", "/a: missing"),
        ("{}", r#"{"a":1}"#, "/a: extra"),
        (r#"{"a":1}"#, r#"{"a":"1"}"#, "/a: type"),
        (r#"{"a":null}"#, r#"{"a":false}"#, "/a: type"),
        (r#"{"a":1}"#, r#"{"a":2}"#, "/a: value"),
        (r#"{"a":1}"#, r#"{"a":1.0}"#, "/a: value"),
        ("[9007199254740993]", "[9007199254740992]", "/0: value"),
        (r#""\u00e9""#, "\"é\"", "equal"),
        ("[1,2]", "[1,2,3]", "the document: length"),
        ("[1,2]", "[2,1]", "/0: value\n/1: value"),
        (r#"{"a/b":{"~":[0]}}"#, r#"{"a/b":{"~":[1]}}"#, "/a~1b/~0/0: value"),
        (r#"{"a":1,"a":2}"#, r#"{"a":1}"#, "/a: missing"),
        ("1", "2", "the document: value"),
        ("x", "x", "equal"),
        ("{}", "{}{}", "the document: value"),
        ("", "", "equal"),
        ("a,b\r\nc,d\r\n", "a,b\nc,d", "equal"),
        ("a\nb\nc", "a\nB\nc", "/line 2: value"),
        ("a\nb", "a\nc\nd", "the document: length\n/line 2: value"),
        ("a\0b", "a\0c", "other bytes"),
    ];
    for (expected, actual, differences) in cases {
        assert_eq!(explain(expected, actual, &none), differences, "{expected} {actual}");
    }
}

#[test]
fn ignored_values_are_not_compared_whether_they_are_there_or_not() {
    let rules = rules(&["/time", "/data/*/seen", "/any/*"], &[]);
    let expected = r#"{"time":1,"data":[{"id":1,"seen":true},{"id":2}],"any":{"x":1}}"#;
    let actual = r#"{"data":[{"id":1},{"id":2,"seen":null}],"any":{"y":2}}"#;
    assert_eq!(explain(expected, actual, &rules), "equal");
    let other = r#"{"data":[{"id":1},{"id":3}],"any":{}}"#;
    assert_eq!(explain(expected, other, &rules), "/data/1/id: value");
    assert_eq!(explain(expected, r#"{"data":[],"any":1}"#, &rules), "/any: type\n/data: length");
}

#[test]
fn arrays_without_order_are_compared_by_their_key() {
    let by_id = rules(&[], &[("/data", "/id")]);
    let expected = r#"{"data":[{"id":1,"v":"a"},{"id":2,"v":"b"},{"id":3}]}"#;
    let turned = r#"{"data":[{"id":3},{"id":2,"v":"b"},{"id":1,"v":"a"}]}"#;
    assert_eq!(explain(expected, turned, &by_id), "equal");
    let changed = r#"{"data":[{"id":2,"v":"c"},{"id":4},{"id":1,"v":"a"}]}"#;
    let differences = "/data/1/v: value\n/data/2: missing\n/data/1: extra";
    assert_eq!(explain(expected, changed, &by_id), differences);

    let by_value = rules(&[], &[("/tags", ""), ("", "")]);
    assert_eq!(explain(r#"{"tags":[1,2,2]}"#, r#"{"tags":[2,1,2]}"#, &by_value), "equal");
    assert_eq!(
        explain(r#"{"tags":[1,2]}"#, r#"{"tags":[2,2]}"#, &by_value),
        "/tags/0: missing\n/tags/1: extra"
    );
    assert_eq!(explain("[1,2]", "[2,1]", &by_value), "equal");
}

/// The differences of two pages, one a line.
fn explain_page(expected: &str, actual: &str, rules: &Rules) -> String {
    let kind = Some("Text/HTML; charset=utf-8");
    match compare(expected.as_bytes(), actual.as_bytes(), kind, rules, KEY) {
        Outcome::Equal => "equal".to_owned(),
        Outcome::Bytes => "other bytes".to_owned(),
        Outcome::Different { differences, .. } => {
            differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        }
    }
}

#[test]
fn a_page_is_compared_element_by_element() {
    let cases = [
        ("<p class=a id=b>x  y</p>", "<P id=\"b\"\n class='a'> x y</P>", "equal"),
        ("<p>a<!-- 1 --></p>", "<p>a<!-- 2 --></p>", "equal"),
        ("<p>a</p>", "<p>b</p>", "/0/p/0: value"),
        ("<p>a</p>", "<p><b>a</b></p>", "/0/p/0: type"),
        ("<p>a</p>", "<div>a</div>", "/0: type"),
        ("<p class=a>", "<p class=b>", "/0/p/@class: value"),
        ("<p class=a>", "<p id=a>", "/0/p/@class: missing\n/0/p/@id: extra"),
        ("<b>a</b><i>b</i>", "<i>b</i><b>a</b>", "/0: type\n/1: type"),
        ("<ul><li>a<li>b</ul>", "<ul><li>a</ul>", "/0/ul/0/li: length"),
        ("<input name=csrf value=1>", "<input name=csrf value=2>", "/0/input[csrf]/@value: value"),
        ("<tr id=row-1><td>a", "<tr id=row-22><td>a", "/0/tr#row-*/@id: value"),
        ("<script>a\n b</script>", "<script>a\nb</script>", "/0/script/0/line 2: value"),
        (r#"{"a":1}"#, r#"{"a":2}"#, "/a: value"),
    ];
    for (expected, actual, differences) in cases {
        let found = explain_page(expected, actual, &Rules::default());
        assert_eq!(found, differences, "{expected} {actual}");
    }
}

#[test]
fn a_rule_leaves_out_an_element_wherever_it_stands() {
    let rules = rules(&["/**/div#footer", "/**/@nonce"], &[]);
    let page = |body: &str, footer: &str, nonce: u8| {
        format!("<html><body>{body}<script nonce={nonce}></script><div id=footer>{footer}</div>")
    };
    let expected = page("<p>a", "0.1 s", 1);
    assert_eq!(explain_page(&expected, &page("<p>a", "<b>0.2</b> s", 2), &rules), "equal");
    let found = explain_page(&expected, &page("<p>b", "0.1 s", 1), &rules);
    assert_eq!(found, "/0/html/0/body/0/p/0: value");
    let deep = self::rules(&["/a/**/x/**/z"], &[]);
    let nested = |z: u8| format!(r#"{{"a":{{"x":{{"b":{{"x":{{"c":{{"z":{z}}}}}}}}}}}}}"#);
    assert_eq!(explain(&nested(1), &nested(2), &deep), "equal");
    assert_eq!(explain(r#"{"a":{"z":1}}"#, r#"{"a":{"z":2}}"#, &deep), "/a/z: value");
}

#[test]
fn only_the_first_differences_are_kept_and_all_are_counted() {
    let (zeros, ones) = (json!(vec![0; 300]).to_string(), json!(vec![1; 300]).to_string());
    let outcome = compare(zeros.as_bytes(), ones.as_bytes(), None, &Rules::default(), KEY);
    let Outcome::Different { differences, count } = outcome else { panic!("{outcome:?}") };
    assert_eq!((differences.len(), count), (100, 300));
}

#[test]
fn an_outcome_holds_hashes_and_no_values() {
    let outcome =
        compare(br#"{"a":"hunter2"}"#, br#"{"a":"hunter3"}"#, None, &Rules::default(), KEY);
    let text = format!("{outcome:?} {}", serde_json::to_string(&outcome).expect("it is JSON"));
    assert!(!text.contains("hunter"), "{text}");
    let hashes = |outcome: &Outcome| match outcome {
        Outcome::Different { differences, .. } => (differences[0].expected, differences[0].actual),
        Outcome::Equal | Outcome::Bytes => panic!("{outcome:?}"),
    };
    let other_key = compare(
        br#"{"a":"hunter2"}"#,
        br#"{"a":"hunter3"}"#,
        None,
        &Rules::default(),
        HashKey([2; 16]),
    );
    let (expected, actual) = hashes(&outcome);
    assert_ne!(expected, actual);
    assert_ne!(hashes(&other_key), (expected, actual));
}

#[test]
fn a_text_that_is_no_pointer_is_refused() {
    let error = Rules::new(&["data".to_owned()], &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "\"data\" is not a JSON pointer, write for example \"/data/*/id\""
    );
}

/// The same outcome with both sides exchanged, without what depends on the side's order.
fn mirrored(outcome: &Outcome) -> Option<usize> {
    match outcome {
        Outcome::Equal => Some(0),
        Outcome::Different { count, .. } => Some(*count),
        Outcome::Bytes => None,
    }
}

fn shuffled(value: &Value, order: &[Index]) -> Value {
    let mut elements = value.as_array().cloned().unwrap_or_default();
    for (from, to) in order.iter().zip(order.iter().skip(1)) {
        if !elements.is_empty() {
            let (from, to) = (from.index(elements.len()), to.index(elements.len()));
            elements.swap(from, to);
        }
    }
    Value::Array(elements)
}

proptest! {
    #[test]
    fn a_document_equals_itself_in_any_layout(value in document()) {
        let (dense, pretty) = (value.to_string(), format!("{value:#}"));
        let outcome = compare(dense.as_bytes(), pretty.as_bytes(), None, &Rules::default(), KEY);
        prop_assert_eq!(outcome, Outcome::Equal);
    }

    #[test]
    fn any_bytes_equal_themselves(bytes in any::<Vec<u8>>()) {
        let rules = rules(&["/a"], &[("", "/id")]);
        prop_assert!(compare(&bytes, &bytes, None, &rules, KEY).is_equal());
    }

    #[test]
    fn pages_that_differ_do_so_in_both_directions(
        a in "(<[pb]( id=[ab])?>|</[pb]>|[ab ]){0,12}",
        b in "(<[pb]( id=[ab])?>|</[pb]>|[ab ]){0,12}",
    ) {
        let compared = |a: &str, b: &str| {
            compare(a.as_bytes(), b.as_bytes(), Some("text/html"), &Rules::default(), KEY)
        };
        prop_assert_eq!(mirrored(&compared(&a, &b)), mirrored(&compared(&b, &a)));
    }

    #[test]
    fn a_comparison_is_symmetric(a in document(), b in document()) {
        let rules = rules(&["/*/a"], &[("", "/id"), ("/*", "")]);
        let (a, b) = (a.to_string(), b.to_string());
        let there = compare(a.as_bytes(), b.as_bytes(), None, &rules, KEY);
        let back = compare(b.as_bytes(), a.as_bytes(), None, &rules, KEY);
        prop_assert_eq!(mirrored(&there), mirrored(&back));
        if let (Outcome::Different { differences: there, count }, Outcome::Different { differences: back, .. }) = (there, back)
            && count <= 100
        {
            let mut there: Vec<_> = there.iter().map(|d| (d.expected, d.actual)).collect();
            let mut back: Vec<_> = back.iter().map(|d| (d.actual, d.expected)).collect();
            there.sort();
            back.sort();
            prop_assert_eq!(there, back);
        }
    }

    #[test]
    fn without_rules_documents_are_equal_exactly_when_serde_json_says_so(
        a in document(),
        b in document(),
    ) {
        let outcome = compare(a.to_string().as_bytes(), b.to_string().as_bytes(), None, &Rules::default(), KEY);
        prop_assert_eq!(outcome.is_equal(), same(&a, &b));
    }

    #[test]
    fn the_order_of_an_unordered_array_does_not_matter(
        elements in vec(document(), 0..8),
        order in vec(any::<Index>(), 0..8),
    ) {
        let value = Value::Array(elements);
        let turned = shuffled(&value, &order);
        let by_value = rules(&[], &[("", "")]);
        let outcome = compare(value.to_string().as_bytes(), turned.to_string().as_bytes(), None, &by_value, KEY);
        prop_assert_eq!(outcome, Outcome::Equal);
    }
}

/// Equality of values with numbers as they are written.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.to_string() == b.to_string(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}
