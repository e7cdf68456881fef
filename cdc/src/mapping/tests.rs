//! Mappings resolved against catalogs made by hand, both ways.

use std::collections::BTreeMap;

use pg::TableName;
use routes::TableMapping;

use super::{expression::identifiers, sql::OnExisting, *};
use crate::catalog::{Column, Identity, Table, TypeKind};

fn column(name: &str, type_sql: &str) -> Column {
    let type_oid = match type_sql {
        "bigint" => 20,
        "integer" => 23,
        "text" => 25,
        "timestamp without time zone" => 1114,
        "timestamp with time zone" => 1184,
        _ => 20_000,
    };
    Column {
        name: name.to_owned(),
        type_sql: type_sql.to_owned(),
        declared_sql: type_sql.to_owned(),
        type_oid,
        type_kind: if type_sql == "colour" { TypeKind::Enum } else { TypeKind::Other },
        type_modifier: -1,
        not_null: name == "id",
        has_default: false,
        always_identity: false,
        generated: false,
        collatable: type_sql == "text",
    }
}

fn table(name: &str, columns: &[(&str, &str)]) -> Table {
    Table {
        name: TableName::new("public", name),
        columns: columns.iter().map(|(name, type_sql)| column(name, type_sql)).collect(),
        identity: Identity::Columns(vec!["id".to_owned()]),
        unique: vec![vec!["id".to_owned()]],
        rows_estimated: 0,
        has_heirs: false,
    }
}

fn source() -> Table {
    table(
        "ticket",
        &[
            ("id", "bigint"),
            ("tn", "text"),
            ("created", "timestamp without time zone"),
            ("flag", "integer"),
        ],
    )
}

fn target() -> Table {
    table(
        "tickets",
        &[("id", "bigint"), ("number", "text"), ("created_at", "timestamp with time zone")],
    )
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect()
}

fn mapping() -> TableMapping {
    TableMapping {
        source: TableName::new("public", "ticket"),
        target: TableName::new("public", "tickets"),
        columns: map(&[("tn", "number")]),
        omit: vec!["flag".to_owned()],
        filter: None,
        set: map(&[("created_at", "created AT TIME ZONE 'UTC'")]),
        reverse: map(&[("created", "created_at AT TIME ZONE 'UTC'"), ("flag", "0")]),
        line: 1,
    }
}

fn forward(mapping: &TableMapping, source: &Table, target: &Table) -> Result<TablePlan, String> {
    resolve_forward(mapping, source, target, Strictness::EveryColumn).map_err(|e| e.to_string())
}

#[test]
fn a_mapping_resolves_in_both_directions() {
    let plan = forward(&mapping(), &source(), &target()).expect("it fits");
    let written: Vec<&str> = plan.assignments.iter().map(|each| each.column.as_str()).collect();
    assert_eq!(written, ["id", "number", "created_at"]);
    assert_eq!(plan.needed(), [0, 1, 2]);
    assert_eq!(plan.straight(), None);

    let back = resolve_reverse(&mapping(), &source(), &target()).expect("it fits");
    let written: Vec<(&str, bool)> =
        back.assignments.iter().map(|each| (each.column.as_str(), each.insert_only)).collect();
    // An omitted column has a value only for rows that the service adds.
    assert_eq!(written, [("id", false), ("tn", false), ("created", false), ("flag", true)]);
    assert_eq!(back.key.first().map(|key| key.write.as_str()), Some("id"));
}

#[test]
fn columns_named_only_in_reverse_are_omitted() {
    let mut mapping = mapping();
    mapping.omit.clear();
    forward(&mapping, &source(), &target()).expect("`reverse` accounts for `flag`");
    let back = resolve_reverse(&mapping, &source(), &target()).expect("it fits");
    assert!(back.assignments.iter().any(|each| each.column == "flag" && each.insert_only));
}

#[test]
fn every_problem_is_told_with_table_and_column() {
    let mut mapping = mapping();
    mapping.omit = vec!["flg".to_owned()];
    mapping.columns = map(&[("tn", "nummer")]);
    mapping.reverse = map(&[]);
    let mut target = target();
    target.columns.push(Column { not_null: true, ..column("owner", "integer") });
    let problems = forward(&mapping, &source(), &target).expect_err("it does not fit");
    for part in [
        "public.ticket.flg: the mapping names it",
        "public.tickets.nummer: the mapping names it",
        "public.ticket.flag: public.tickets has no such column",
        "public.tickets.owner: nothing gives it a value",
    ] {
        assert!(problems.contains(part), "{part} in {problems}");
    }
}

#[test]
fn an_expression_without_a_way_back_is_refused() {
    let mut mapping = mapping();
    mapping.reverse.remove("created");
    let error = resolve_reverse(&mapping, &source(), &target()).expect_err("it is lossy");
    assert!(error.to_string().contains("public.ticket.created"), "{error}");
}

#[test]
fn an_omitted_column_that_must_have_a_value_needs_one_on_the_way_back() {
    let mut mapping = mapping();
    mapping.reverse.remove("flag");
    let mut source = source();
    source.columns[3].not_null = true;
    let error = resolve_reverse(&mapping, &source, &target()).expect_err("it may not be null");
    assert!(error.to_string().contains("public.ticket.flag"), "{error}");
    source.columns[3].has_default = true;
    resolve_reverse(&mapping, &source, &target()).expect("the default will do");
}

#[test]
fn a_table_without_identity_or_unique_target_is_refused() {
    let mut nobody = source();
    nobody.identity = Identity::None;
    let error = forward(&mapping(), &nobody, &target()).expect_err("nothing identifies a row");
    assert!(error.contains("REPLICA IDENTITY"), "{error}");
    let mut target = target();
    target.unique.clear();
    let error = forward(&mapping(), &source(), &target).expect_err("rows can not be found");
    assert!(error.contains("public.tickets: no unique index over (id)"), "{error}");
}

#[test]
fn with_full_identity_the_unique_index_of_the_other_side_identifies_rows() {
    let mut full = source();
    full.identity = Identity::Full;
    let plan = forward(&mapping(), &full, &target()).expect("`id` is unique there");
    assert_eq!(plan.key.len(), 1);
}

#[test]
fn a_projection_leaves_out_what_the_service_does_not_have() {
    let mut mapping = mapping();
    mapping.omit.clear();
    mapping.reverse.clear();
    let plan = resolve_forward(&mapping, &source(), &target(), Strictness::Projection);
    plan.expect("a reference is read, not moved");
}

#[test]
fn equal_tables_are_copied_as_they_are() {
    let mut plain = mapping();
    (plain.columns, plain.set, plain.omit) = (map(&[]), map(&[]), Vec::new());
    let plan = forward(&plain, &source(), &source()).expect("it fits");
    assert_eq!(plan.straight(), Some(Format::Binary));
    plain.filter = Some("flag = 1".to_owned());
    assert_eq!(forward(&plain, &source(), &source()).expect("it fits").straight(), None);
}

#[test]
fn renamed_and_omitted_columns_are_copied_as_they_are_and_changed_types_are_not() {
    let mut renames = mapping();
    renames.set.clear();
    renames.omit.push("created".to_owned());
    let narrow = table("tickets", &[("number", "text"), ("id", "bigint")]);
    let plan = forward(&renames, &source(), &narrow).expect("it fits");
    assert_eq!(plan.straight(), Some(Format::Binary));
    let wider = table("tickets", &[("number", "text"), ("id", "integer")]);
    let plan = forward(&renames, &source(), &wider).expect("it fits");
    assert_eq!(plan.straight(), None, "an integer has not the bytes of a bigint");
}

#[test]
fn a_type_of_one_database_goes_as_text_unless_characters_are_all_it_has() {
    let mut plain = mapping();
    (plain.columns, plain.set, plain.omit) = (map(&[]), map(&[]), Vec::new());
    plain.reverse.clear();
    let straight = |read: &str, write: &str| {
        let of = |name: &str, kind: &str| table(name, &[("id", "bigint"), ("extra", kind)]);
        let plan = forward(&plain, &of("ticket", read), &of("tickets", write));
        plan.expect("it fits").straight()
    };
    assert_eq!(straight("colour", "colour"), Some(Format::Binary), "labels of an enum");
    assert_eq!(straight("colour", "text"), Some(Format::Binary));
    assert_eq!(straight("address", "address"), Some(Format::Text), "a composite type");
    assert_eq!(straight("integer", "address"), None);
}

#[test]
fn a_column_that_only_the_source_generates_needs_an_expression() {
    let mut plain = mapping();
    (plain.columns, plain.set, plain.omit) = (map(&[]), map(&[]), Vec::new());
    plain.reverse.clear();
    let mut generating = source();
    generating.columns.iter_mut().filter(|each| each.name == "flag").for_each(|column| {
        column.generated = true;
    });
    let error = forward(&plain, &generating, &source()).expect_err("its values would be lost");
    assert!(error.contains("public.ticket.flag: the source generates it"), "{error}");
    plain.set = map(&[("flag", "id::integer % 2")]);
    forward(&plain, &generating, &source()).expect("an expression gives it");
    plain.set.clear();
    forward(&plain, &generating, &generating).expect("both sides generate it");
}

#[test]
fn a_table_with_heirs_is_refused_on_either_side() {
    let mut plain = mapping();
    (plain.columns, plain.set, plain.omit) = (map(&[]), map(&[]), Vec::new());
    let mut parent = source();
    parent.has_heirs = true;
    let error = forward(&plain, &parent, &source()).expect_err("it has heirs");
    assert!(error.contains("inherit from it"), "{error}");
    forward(&plain, &source(), &parent).expect_err("it has heirs");
}

#[test]
fn an_update_sets_what_it_knows_and_never_what_belongs_to_new_rows() {
    let back = resolve_reverse(&mapping(), &source(), &target()).expect("it fits");
    let rows = back.row_type(Format::Binary, 0);
    let all = back.update(&rows, &[0, 1, 2]).expect("something changes");
    assert!(all.contains("\"tn\" = n.a0") && all.contains("\"created\" = n.a1"));
    assert!(!all.contains("\"flag\""), "{all}");
    let without_number = back.update(&rows, &[0, 2]).expect("something changes");
    assert!(!without_number.contains("\"tn\" ="), "{without_number}");
    assert_eq!(back.update(&rows, &[0]), None, "a key alone changes nothing");
    assert!(back.insert(&rows, OnExisting::Refuse).contains("\"flag\""));
}

#[test]
fn values_are_sent_in_binary_form_only_where_every_type_allows_it() {
    let plan = forward(&mapping(), &source(), &target()).expect("it fits");
    assert_eq!(plan.format(), Format::Binary);
    let types = |format| {
        let fields = plan.row_type(format, 3).fields.into_iter();
        fields.map(|field| field.type_sql).collect::<Vec<_>>()
    };
    let timestamp = "timestamp without time zone";
    assert_eq!(types(Format::Binary), ["bigint", "text", timestamp, "bigint"]);
    assert_eq!(types(Format::Text), ["text"; 4]);
    let mut strange = source();
    strange.columns[1].type_oid = 20_000;
    let strange = forward(&mapping(), &strange, &target()).expect("text is cast");
    assert_eq!(strange.format(), Format::Text);
    assert_eq!(Format::of(&[plan, strange]), Format::Text, "one table decides for the stream");
}

#[test]
fn an_enum_travels_as_its_label_and_a_domain_as_its_base_type() {
    let mut source = source();
    source.columns[1].type_oid = 20_000;
    source.columns[1].type_kind = TypeKind::Enum;
    source.columns[2].type_oid = 20_001;
    let base = TypeKind::Domain { base_sql: "date".to_owned(), base_oid: 1082 };
    source.columns[2].type_kind = base;
    let plan = forward(&mapping(), &source, &target()).expect("it fits");
    let rows = plan.row_type(Format::Binary, 0);
    assert_eq!(
        rows.create(),
        "CREATE TYPE pg_temp.ficus_row_0 AS (\"id\" bigint, \"tn\" text, \
         \"created\" date, \" old key 0\" bigint)"
    );
    assert!(plan.insert(&rows, OnExisting::Refuse).contains("(u.r).\"created\"::text"));
}

#[test]
fn aliases_of_object_numbers_have_no_binary_form_that_means_the_same_elsewhere() {
    for (oid, expected) in [(23, true), (1007, true), (2205, false), (2210, false), (1034, false)] {
        let column = Column { type_oid: oid, ..column("a", "integer") };
        assert_eq!(column.binary_type().is_some(), expected, "{oid}");
    }
}

#[test]
fn expressions_are_searched_for_names_and_not_for_words_in_literals() {
    let cases: [(&str, &[&str]); 7] = [
        ("lower(Title) || body", &["lower", "title", "body"]),
        ("'title' || \"Odd \"\"Name\"", &["Odd \"Name"]),
        ("E'it\\'s title' || b", &["b"]),
        ("$$title$$ || $t$ body $t$ || c", &["c"]),
        ("a -- title\n+ b", &["a", "b"]),
        ("x'ff' = d", &["d"]),
        ("it''s", &["it", "s"]),
    ];
    for (text, expected) in cases {
        assert_eq!(identifiers(text), expected, "{text}");
    }
}
