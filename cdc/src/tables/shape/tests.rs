//! How shapes differ, and what is said about it.

use super::{Shape, ShapeChange};

fn shape(columns: &[(&str, &str)], identity: &[&str]) -> Shape {
    let text = |text: &&str| (*text).to_owned();
    Shape {
        columns: columns.iter().map(|(name, sql)| (text(name), text(sql))).collect(),
        identity: identity.iter().map(text).collect(),
    }
}

#[test]
fn every_kind_of_change_is_found_and_nothing_else() {
    let before = shape(&[("id", "bigint"), ("title", "text"), ("old", "date")], &["id"]);
    assert!(before.changes_to(&before).is_empty());
    let now = shape(&[("id", "bigint"), ("title", "character varying(50)"), ("new", "jsonb")], &[]);
    let changes: Vec<String> = before.changes_to(&now).iter().map(ShapeChange::to_string).collect();
    assert_eq!(
        changes,
        [
            "column title was text and is character varying(50)",
            "column new jsonb was added",
            "column old was dropped",
            "rows were identified by id, and are by nothing",
        ]
    );
}

#[test]
fn the_order_of_columns_is_no_change() {
    let one = shape(&[("a", "text"), ("b", "text")], &["a"]);
    let other = shape(&[("b", "text"), ("a", "text")], &["a"]);
    assert!(one.changes_to(&other).is_empty());
}

#[test]
fn a_remedy_names_the_column_as_the_written_table_has_it() {
    let written =
        |column: &str| if column == "tn" { "Number".to_owned() } else { column.to_owned() };
    let retyped = ShapeChange::Retyped {
        column: "tn".to_owned(),
        from: "integer".to_owned(),
        to: "bigint".to_owned(),
    };
    assert_eq!(
        retyped.remedy("public.tickets", written),
        [
            "ALTER TABLE public.tickets ALTER COLUMN \"Number\" TYPE bigint USING \"Number\"::bigint;"
        ]
    );
    let added = ShapeChange::Added { column: "color".to_owned(), declared: "text".to_owned() };
    let remedies = added.remedy("public.tickets", written);
    assert_eq!(remedies[0], "ALTER TABLE public.tickets ADD COLUMN \"color\" text;");
    assert!(remedies[1].contains("omit = [\"color\"]"), "{remedies:?}");
}

#[test]
fn a_shape_is_read_as_it_is_written_and_nothing_else_is_a_shape() {
    let shape = shape(&[("id", "bigint"), ("we\"ird", "numeric(10,2)")], &["id", "we\"ird"]);
    assert_eq!(Shape::parse(&shape.to_text()), Some(shape));
    for text in ["", "{}", "[]", "{\"columns\": [[1, 2]], \"identity\": []}"] {
        assert_eq!(Shape::parse(text), None, "{text}");
    }
}
