//! The parser against serde_json.

use proptest::{
    collection::vec,
    prelude::{BoxedStrategy, Just, Strategy, any, prop_assert_eq, prop_oneof, proptest},
    sample::{Index, select},
};
use serde_json::{Map, Value};

use super::{Node, parse};

/// What serde_json sees. Of repeated members the last stays.
fn to_value(node: &Node<'_>) -> Value {
    match node {
        Node::Null => Value::Null,
        Node::Bool(value) => Value::Bool(*value),
        Node::Number(text) => serde_json::from_str(text).expect("a number"),
        Node::String(text) => Value::String(text.clone().into_owned()),
        Node::Array(elements) => Value::Array(elements.iter().map(to_value).collect()),
        Node::Object(members) => {
            let members =
                members.iter().map(|(key, value)| (key.clone().into_owned(), to_value(value)));
            Value::Object(members.collect::<Map<_, _>>())
        }
    }
}

/// Any document of moderate size.
pub(crate) fn document() -> BoxedStrategy<Value> {
    let key = prop_oneof![
        select(vec!["id", "a", "b", "data", "", "a/b", "~"]).prop_map(str::to_owned),
        ".{0,3}"
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        (0..4_i64).prop_map(Value::from),
        any::<f64>()
            .prop_filter_map("finite", |f| serde_json::Number::from_f64(f).map(Value::Number)),
        ".{0,6}".prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::Array),
            vec((key.clone(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
    .boxed()
}

#[test]
fn numbers_keep_their_text() {
    for text in ["0", "-0", "1.0", "1e5", "12345678901234567890123", "1E+2", "-0.5e-7"] {
        assert_eq!(parse(text.as_bytes()), Some(Node::Number(text)));
    }
    for text in ["", "-", "01", "1.", ".5", "1e", "+1", "0x1", "1 2", "NaN"] {
        assert_eq!(parse(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn escapes_and_surrogates_are_read() {
    let text = r#""\" \\ \/ \b\f\n\r\t \u00e9 \ud83d\ude00""#;
    let expected = Node::String("\" \\ / \u{8}\u{c}\n\r\t é 😀".into());
    assert_eq!(parse(text.as_bytes()), Some(expected));
    for text in
        [r#""\ud83d""#, r#""\ud83d\u0041""#, r#""\ude00""#, r#""\u12""#, r#""\x""#, "\"\n\""]
    {
        assert_eq!(parse(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn documents_nested_too_deep_are_not_json() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert!(parse(nested(128).as_bytes()).is_some());
    assert!(parse(nested(129).as_bytes()).is_none());
    assert!(parse("[".repeat(1_000_000).as_bytes()).is_none());
}

proptest! {
    #[test]
    fn documents_are_read_as_serde_json_reads_them(value in document(), pretty in any::<bool>()) {
        let text = if pretty { format!("{value:#}") } else { value.to_string() };
        let node = parse(text.as_bytes());
        // Not the value itself: serde_json reads some floats one bit off what it wrote.
        let expected: Value = serde_json::from_str(&text).expect("it was written as JSON");
        prop_assert_eq!(node.as_ref().map(to_value), Some(expected));
    }

    #[test]
    fn damaged_documents_are_accepted_exactly_when_serde_json_accepts_them(
        value in document(),
        at in any::<Index>(),
        piece in select(vec!["", "\"", "\\", "{", "}", "[", "]", ",", ":", "0", "-", ".", "e", "t", " ", "\n", "\u{1}", "\\u12", "\\ud800", "null"]),
        removes in any::<bool>(),
    ) {
        let mut text: Vec<char> = value.to_string().chars().collect();
        let from = at.index(text.len() + 1);
        let until = (from + usize::from(removes)).min(text.len());
        text.splice(from..until, piece.chars());
        let text: String = text.into_iter().collect();
        let accepted = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok()
            // Numbers beyond f64 are numbers all the same.
            && serde_json::from_str::<Value>(&text).map_or_else(|error| error.to_string().contains("number out of range"), |_| true);
        prop_assert_eq!(parse(text.as_bytes()).is_some(), accepted, "{}", text);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in any::<Vec<u8>>()) {
        let accepted = serde_json::from_slice::<Value>(&bytes).is_ok();
        prop_assert_eq!(parse(&bytes).is_some(), accepted);
    }
}
