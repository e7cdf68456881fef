//! The types of columns, and values of each that are hard to carry. `#` stands for an integer expression, `¤`
//! for the case's schema.

/// A type and expressions for its values.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) sql: &'static str,
    pub(crate) values: &'static [&'static str],
    /// A type that takes every value of this one.
    pub(crate) wider: Option<&'static str>,
}

/// The columns that identify a row: their types, and values that differ when `#` does.
pub(crate) type KeyKind = &'static [(&'static str, &'static str)];

const fn kind(sql: &'static str, values: &'static [&'static str]) -> Kind {
    Kind { sql, values, wider: None }
}

const fn wider(sql: &'static str, values: &'static [&'static str], target: &'static str) -> Kind {
    Kind { sql, values, wider: Some(target) }
}

/// Types that a case makes in its schema, on both sides.
pub(crate) const TYPES: &str = r#"
CREATE TYPE ¤.mood AS ENUM ('sad', 'ok', 'very "happy"', 'it''s');
CREATE DOMAIN ¤.percent AS integer CHECK (VALUE BETWEEN 0 AND 100);
CREATE DOMAIN ¤.label AS text CHECK (length(VALUE) > 0);
CREATE TYPE ¤.place AS (street text, "No" integer, at point, mood ¤.mood);
CREATE TYPE ¤.float_range AS RANGE (subtype = float8);
"#;

/// Values long enough to be stored out of line stand last in their lists.
pub(crate) const BIG: &[Kind] = &[
    kind("text", &["'small'", "repeat(md5((#)::text), 100 + (#) % 7)"]),
    kind("bytea", &["'\\x00'", "decode(repeat(md5((#)::text), 150), 'hex')"]),
    kind("jsonb", &["'{}'", "jsonb_build_object('k', repeat(md5((#)::text), 120), 'n', #)"]),
    kind("character varying", &["''", "repeat('ü' || md5((#)::text), 90)"]),
    kind("text[]", &["'{}'", "array_fill(md5((#)::text), ARRAY[120])"]),
    kind("numeric", &["0", "('1' || repeat('123456789', 900))::numeric + #"]),
];

pub(crate) const KINDS: &[Kind] = &[
    wider("smallint", &["(#) % 30000", "-32768", "32767"], "integer"),
    wider("integer", &["#", "-2147483648", "2147483647"], "bigint"),
    wider("bigint", &["(#) * 4294967297", "-9223372036854775808", "0"], "numeric"),
    wider("real", &["(#) / 7.0", "'NaN'", "'-0'", "'Infinity'", "'1e-40'"], "double precision"),
    kind(
        "double precision",
        &[
            "(#) / 3.0",
            "'NaN'",
            "'-0'",
            "'-Infinity'",
            "'5e-324'",
            "0.1 + 0.2",
            "1.7976931348623157e308",
        ],
    ),
    kind(
        "numeric",
        &[
            "(#) / 7.0",
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "'0.000'",
            "repeat('1234567890', 100)::numeric",
            "('0.' || repeat('0', 300) || '1')::numeric",
        ],
    ),
    wider("numeric(12,3)", &["#", "-0.001", "'NaN'"], "numeric"),
    kind("money", &["(#)::numeric::money", "'-92233720368547758.08'"]),
    kind(
        "text",
        &[
            "'t' || #",
            "''",
            "E'tab\\t line\\n cr\\r back\\\\slash \\\\N \\b\\f\\v'",
            "'NULL'",
            "'ünï ☃ 𝄞 ' || #",
            "'{\"a\",b}'",
            "'(x,\"y\")'",
        ],
    ),
    wider("character varying(40)", &["'v' || #", "''", "'  two  '", "E'\\\\.'"], "text"),
    wider("character(10)", &["'c' || (#) % 1000", "' '", "''"], "text"),
    kind("\"char\"", &["'x'", "''"]),
    kind("name", &["'n' || #"]),
    kind("bytea", &["decode(md5((#)::text), 'hex')", "'\\x'", "'\\x00ff5c27'"]),
    kind("boolean", &["true", "false"]),
    wider(
        "date",
        &["date '2024-01-01' + (#) % 9999", "'infinity'", "'-infinity'", "'4713-01-01 BC'"],
        "timestamp",
    ),
    kind("date", &["'5874897-12-31'", "'0001-01-01'"]),
    kind("time", &["time '00:00' + (#) * interval '1 second'", "'24:00:00'", "'00:00:00.000001'"]),
    kind("time with time zone", &["'23:59:59.999999-15:59'", "'12:00+05:30'", "'24:00:00-00'"]),
    kind(
        "timestamp",
        &[
            "timestamp '2024-01-01' + (#) * interval '1 hour 1 microsecond'",
            "'infinity'",
            "'-infinity'",
            "'0044-03-15 12:00 BC'",
            "'294276-12-31 23:59:59.999999'",
        ],
    ),
    kind("timestamp(0)", &["timestamp '2024-01-01' + (#) * interval '1 minute'"]),
    kind(
        "timestamp with time zone",
        &[
            "timestamptz '2024-01-01 00:00+00' + (#) * interval '1 hour 1 microsecond'",
            "'infinity'",
            "'-infinity'",
            "'4713-01-01 00:00+00 BC'",
        ],
    ),
    kind(
        "interval",
        &[
            "(#) * interval '1 day 1 second'",
            "'-1 year 2 days -03:04:05.000006'",
            "'178000000 years'",
            "'0'",
            "'1 mon -1 day'",
        ],
    ),
    kind("interval(3)", &["'1.2345 seconds'"]),
    kind("json", &["'{\"a\": 1,   \"a\": \"\\u00e9\"}'", "to_json(#)", "'null'", "' [1 , 2]'"]),
    kind(
        "jsonb",
        &[
            "jsonb_build_object('n', #, 'deep', '[1.50, null, {\"x\": \"ü\"}]'::jsonb)",
            "'null'",
            "'\"\"'",
        ],
    ),
    kind("jsonpath", &["'$.a[*] ? (@.b > 1)'", "'strict $'"]),
    kind(
        "xml",
        &["'<a b=\"1\">é &amp; x</a>'", "xmlelement(name x, #)", "'text only'", "'<a/><b/>'"],
    ),
    kind("tsvector", &["to_tsvector('simple', 'a b c' || #)", "'''quo ted'':1A,2 b:3'", "''"]),
    kind("tsquery", &["'a & (b | !c:*)'", "'''x y'' <-> z'"]),
    kind("inet", &["('192.168.' || (#) % 256 || '.1/24')::inet", "'::1'", "'2001:db8::5/32'"]),
    kind("cidr", &["'10.0.0.0/8'", "'2001:db8::/32'", "'0.0.0.0/0'"]),
    kind("macaddr", &["'08:00:2b:01:02:03'"]),
    kind("macaddr8", &["'08:00:2b:01:02:03:04:05'"]),
    kind("bit(8)", &["((#) % 256)::bit(8)", "B'00000000'"]),
    kind("bit varying(20)", &["B'101'", "B''", "((#) % 9999)::bit(20)"]),
    kind("point", &["point(#, 1.5)", "'(NaN,-0)'", "'(1e300,Infinity)'"]),
    kind("line", &["'{1,-1,0.5}'"]),
    kind("lseg", &["'[(0,0),(1,0.1)]'"]),
    kind("box", &["box(point(0, 0), point(#, 2))"]),
    kind("path", &["'[(0,0),(1,1)]'", "'((0,0),(1,1),(2,0.3))'"]),
    kind("polygon", &["'((0,0),(1,1),(2,0))'"]),
    kind("circle", &["circle(point(1, 2), (#) % 10 + 1)"]),
    kind("uuid", &["md5((#)::text)::uuid"]),
    kind("pg_lsn", &["'16/B374D848'"]),
    kind("pg_snapshot", &["'10:20:10,14,15'"]),
    kind("oid", &["(#) % 1000000"]),
    kind("regtype", &["'integer'", "'text'"]),
    kind("int4range", &["int4range(#, (#) + 10)", "'empty'", "'(,)'"]),
    kind("int8range", &["int8range(NULL, #)"]),
    kind("numrange", &["'[1.5,2.50)'", "'(,1.0]'"]),
    kind("tsrange", &["'(-infinity,\"2024-01-01 00:00:00\"]'"]),
    kind("tstzrange", &["'[2024-01-01 00:00+00,infinity)'"]),
    kind("daterange", &["'[2024-01-01,2024-02-01)'"]),
    kind("int4multirange", &["'{[1,5),[10,20)}'", "'{}'"]),
    kind("tstzmultirange", &["'{[2024-01-01 00:00+00,2024-02-01 00:00+00)}'"]),
    kind("integer[]", &["ARRAY[#, NULL, -1]", "'{}'", "'{{1,2},{3,NULL}}'", "'[2:3]={7,8}'"]),
    kind("text[]", &["ARRAY['a,b', 'q\"u\\o', NULL, 'NULL', '', '{x}', 'ü' || #]", "'{}'"]),
    kind("numeric[]", &["ARRAY['NaN', 1.50, NULL]::numeric[]"]),
    kind(
        "timestamp with time zone[]",
        &["ARRAY['infinity', '2024-01-01 00:00+00']::timestamptz[]"],
    ),
    kind("bytea[]", &["ARRAY['\\x00ff'::bytea, NULL]"]),
    kind("jsonb[]", &["ARRAY['{\"a\": [1]}'::jsonb, NULL, 'null']"]),
    kind("boolean[]", &["'{t,f,NULL}'"]),
    kind("double precision[]", &["'{NaN,-0,Infinity,0.1}'", "'{{{1}},{{2}}}'"]),
    kind("interval[]", &["ARRAY['1 mon', '-1 day']::interval[]"]),
    kind("character varying(10)[]", &["'{a,b}'"]),
    kind("¤.mood", &["'sad'", "'very \"happy\"'", "'it''s'"]),
    kind("¤.mood[]", &["'{sad,NULL,\"very \\\"happy\\\"\"}'", "'{}'"]),
    kind("¤.percent", &["(#) % 101", "0"]),
    kind("¤.label", &["'l' || #"]),
    kind(
        "¤.place",
        &[
            "ROW('O''Brien \"St\", (1)', #, point(1, 2), 'sad')",
            "ROW(NULL, NULL, NULL, NULL)",
            "ROW('', 1, NULL, 'very \"happy\"')",
        ],
    ),
    kind("¤.place[]", &["ARRAY[ROW('a b', 1, NULL, 'ok')::¤.place, NULL]"]),
    kind("¤.float_range", &["¤.float_range(0.1, #)", "'empty'"]),
];

impl Kind {
    /// Whether the log can carry its values in binary form: one other column makes all come as text.
    pub(crate) fn is_portable(&self) -> bool {
        match self.sql.strip_prefix('¤') {
            Some(own) => matches!(own, ".mood" | ".percent" | ".label"),
            None => self.sql != "regtype",
        }
    }
}

/// The same for a key.
pub(crate) fn is_portable_key(key: KeyKind) -> bool {
    let types = ["integer", "bigint", "smallint", "uuid", "text"];
    key.iter().all(|(sql, _)| types.contains(sql) || sql.starts_with("character"))
}

/// Only where the extension is installed.
pub(crate) const OF_EXTENSIONS: &[(&str, Kind)] = &[
    ("hstore", kind("public.hstore", &["'a=>1, \"b c\"=>NULL, \"q\\\"\"=>\"\"'", "''"])),
    ("citext", kind("public.citext", &["'MiXed' || #", "''"])),
];

pub(crate) const KEYS: &[KeyKind] = &[
    &[("integer", "#")],
    &[("bigint", "(#) * 4294967297")],
    &[("uuid", "md5((#)::text)::uuid")],
    &[(
        "text",
        "CASE (#) % 3 WHEN 0 THEN 'k' || # WHEN 1 THEN 'K-' || # || 'é' ELSE '\"q'' \\' || # END",
    )],
    &[("character varying(30)", "'v ' || #")],
    &[("character(12)", "'c' || #")],
    &[("numeric", "(#) / 10.0")],
    &[("numeric(20,4)", "(#) * 1.5")],
    &[(
        "timestamp with time zone",
        "timestamptz '2024-01-01 00:00+00' + (#) * interval '7 hours 1 microsecond'",
    )],
    &[("date", "date '2024-01-01' + (#)")],
    &[("double precision", "(#) / 3.0")],
    &[("bytea", "decode(md5((#)::text), 'hex')")],
    &[("inet", "'10.0.0.0'::inet + (#)")],
    &[("¤.label", "'l' || #")],
    &[("integer", "(#) / 7"), ("text", "'b' || (#) % 7")],
    &[
        ("text", "'a' || (#) / 5"),
        (
            "timestamp with time zone",
            "timestamptz '2024-01-01 00:00+00' + (#) % 5 * interval '1 day'",
        ),
    ],
    &[
        ("uuid", "md5(((#) / 3)::text)::uuid"),
        ("smallint", "((#) % 3)::smallint"),
        ("¤.mood", "'ok'::¤.mood"),
    ],
];
