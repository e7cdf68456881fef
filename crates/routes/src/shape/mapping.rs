//! `[[capabilities.NAME.tables]]` and `[[capabilities.NAME.references]]`

use super::{
    Kind, Shape,
    key::{default, optional, required},
};

pub(super) static TABLE: Shape = Shape {
    doc: "A table that moves.",
    keys: &[
        required("source", Kind::TableName, "In the monolith's database.")
            .restart("\"public.ticket\""),
        required("target", Kind::TableName, "In the service's database.")
            .restart("\"public.tickets\""),
        default(
            "columns",
            Kind::Columns,
            "{}",
            "Source column = target column; the rest keep their names.",
        )
        .restart("{ tn = \"number\" }"),
        default(
            "omit",
            Kind::List { of: &Kind::Text, min: 0 },
            "[]",
            "Source columns that have no counterpart.",
        )
        .restart("[\"archive_flag\"]"),
        optional("where", Kind::Text, "Rows that move: an SQL condition over the source row.")
            .restart("\"queue_id <> 0\""),
        default("set", Kind::Columns, "{}", "Target column = SQL expression over the source row.")
            .restart("{ created_at = \"create_time AT TIME ZONE 'UTC'\" }"),
        default(
            "reverse",
            Kind::Columns,
            "{}",
            "Source column = SQL expression over the target row, for the way back.",
        )
        .restart("{ create_time = \"created_at AT TIME ZONE 'UTC'\" }"),
    ],
};

pub(super) static REFERENCE: Shape = Shape {
    doc: "A table that is copied one way, for ever.",
    keys: &[
        required("source", Kind::TableName, "In the monolith's database.")
            .restart("\"public.queue\""),
        required("target", Kind::TableName, "In the service's database.")
            .restart("\"public.queues\""),
        default(
            "columns",
            Kind::Columns,
            "{}",
            "Source column = target column; the rest keep their names.",
        )
        .restart("{ qname = \"name\" }"),
        default(
            "omit",
            Kind::List { of: &Kind::Text, min: 0 },
            "[]",
            "Source columns that are not copied.",
        )
        .restart("[\"comments\"]"),
        optional("where", Kind::Text, "Rows to copy: an SQL condition over the source row.")
            .restart("\"valid_id = 1\""),
        default("set", Kind::Columns, "{}", "Target column = SQL expression over the source row.")
            .restart("{ label = \"upper(qname)\" }"),
    ],
};
