//! The keys of `routes.toml`: one table that the reader, its defaults and the JSON Schema are made
//! from, so that they cannot drift apart.

mod answers;
mod attack_rules;
mod capability;
mod cdc;
mod control;
mod edge;
mod key;
mod keys;
mod mapping;
mod operations;
mod policies;
mod proxy;
mod resilience;
mod route;
mod upstream_tls;
mod upstreams;
mod versions;

pub(crate) use keys::FILE;

/// A table of the file.
#[derive(Debug)]
pub(crate) struct Shape {
    /// What it is, for the schema.
    pub(crate) doc: &'static str,
    pub(crate) keys: &'static [Key],
}

/// A key of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) presence: Presence,
    /// Meaning, for the schema and the page.
    pub(crate) doc: &'static str,
    /// When a new value is in force.
    pub(crate) reload: Reload,
    /// A value, as TOML.
    pub(crate) example: &'static str,
    /// What a bare number counts.
    pub(crate) unit: Option<&'static str>,
}

/// When a new value of a key is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reload {
    /// As soon as a running proxy has read the file again (SIGHUP, or a change of the file).
    Live,
    /// When the processes that use it start again.
    Restart,
}

/// Whether a key must be written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Presence {
    Required,
    Optional,
    /// The value used when the key is not written, as TOML.
    Default(&'static str),
}

impl Reload {
    /// As it is written in the schema and on the page.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Restart => "restart",
        }
    }
}

/// What a value must be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// Any text but the empty one.
    Text,
    /// A text that is never printed; `file:PATH` stands for the content of a file.
    Secret,
    /// `127.0.0.1:8080`
    Address,
    /// `10.0.0.0/8`
    Network,
    /// The name of an upstream or a capability.
    Name,
    /// `public.ticket`
    TableName,
    /// `"10m"`; zero only where nothing waits in a loop for it.
    Duration { zero: bool },
    /// `"8MiB"`
    Size,
    /// `true` or `false`
    Switch,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `"0.1%"`
    Percent,
    /// A number from 0 to 1.
    Fraction,
    /// A number from 1.
    Ratio,
    /// An integer between two bounds.
    Count { min: u32, max: u32 },
    /// `"read"` or `"write"`
    Effect,
    /// `"GET /api/v1/tickets/{id}"`
    Match,
    /// `"jwt:sub"`
    Subject,
    /// `"header:x-user"`
    Balance,
    /// `/health`
    UrlPath,
    /// `/data/*/change_time`
    Pointer,
    /// `/data by /id`
    Unordered,
    /// A list of such values, at least so many.
    List { of: &'static Self, min: usize },
    /// Column = text.
    Columns,
    /// Name = text.
    Pairs,
    /// `"2"` or `"2026-11"`
    Version,
    /// `https://id.example/jwks.json`
    Url,
    /// One table.
    Table(&'static Shape),
    /// `[[key]]`
    Tables(&'static Shape),
    /// `[key.NAME]`
    Named(&'static Shape),
}

/// Every shape, each once.
pub(crate) fn all() -> Vec<&'static Shape> {
    let mut shapes = vec![&FILE];
    let mut next = 0;
    while let Some(shape) = shapes.get(next).copied() {
        next += 1;
        for key in shape.keys {
            if let Kind::Table(inner) | Kind::Tables(inner) | Kind::Named(inner) = key.kind {
                shapes.push(inner);
            }
        }
    }
    shapes
}

impl Kind {
    /// How messages call such a value.
    pub(crate) const fn noun(&self) -> &'static str {
        match self {
            Self::Text | Self::Secret => "a text",
            Self::Address => "an IP address with port",
            Self::Network => "a network of IP addresses",
            Self::Name => "a name of lower-case letters, digits and _, at most 30, a letter first",
            Self::TableName => "a table name with its schema",
            Self::Duration { .. } => "a duration",
            Self::Size => "a size",
            Self::Switch => "true or false",
            Self::Choice(_) => "one of its words",
            Self::Percent => "a percentage from 0% to 100%",
            Self::Fraction => "a number from 0 to 1",
            Self::Ratio => "a number from 1 to 1000",
            Self::Count { .. } => "an integer in range",
            Self::Effect => "an effect",
            Self::Match => "a method and a path",
            Self::Subject => "a source of the subject",
            Self::Balance => "a way to choose a peer",
            Self::UrlPath => "a path",
            Self::Pointer => "a JSON pointer",
            Self::Unordered => "an array and the key of its elements",
            Self::List { .. } => "a list",
            Self::Columns => "a table of columns",
            Self::Pairs => "a table of texts",
            Self::Version => "a version of letters, digits, ., - and _, at most 32",
            Self::Url => "an http or https address",
            Self::Table(_) | Self::Named(_) => "a table",
            Self::Tables(_) => "a list of tables",
        }
    }

    /// What to write instead, given the default of the key.
    pub(crate) fn remedy(&self, default: Option<&str>) -> String {
        if let (
            Self::Duration { .. } | Self::List { .. } | Self::Percent | Self::Size,
            Some(default),
        ) = (self, default)
        {
            return format!("write for example {default}");
        }
        match self {
            Self::Count { min, max } if min == max => format!("write {min}"),
            Self::Count { min, max } => format!("write an integer from {min} to {max}"),
            Self::Tables(_) => "write the table under [[double brackets]]".to_owned(),
            Self::Effect => "write \"read\" or \"write\"".to_owned(),
            Self::Switch => "write true or false".to_owned(),
            Self::Choice(words) => {
                let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
                format!("write {}", words.join(" or "))
            }
            Self::Subject => {
                "write \"jwt:CLAIM\", \"cookie:NAME\", \"header:NAME\" or \"ip\"".to_owned()
            }
            Self::Balance => {
                "write \"least_loaded\", \"subject\", \"header:NAME\" or \"cookie:NAME\"".to_owned()
            }
            Self::Text => "write something, or remove the key".to_owned(),
            Self::Secret
            | Self::Url
            | Self::Address
            | Self::Network
            | Self::Name
            | Self::TableName
            | Self::Duration { .. }
            | Self::Size
            | Self::Percent
            | Self::Fraction
            | Self::Ratio
            | Self::Match
            | Self::UrlPath
            | Self::Pointer
            | Self::Unordered
            | Self::List { .. }
            | Self::Columns
            | Self::Pairs
            | Self::Version
            | Self::Table(_)
            | Self::Named(_) => format!("write for example {}", self.full_example()),
        }
    }

    /// A value of this kind, as TOML; a list with one element.
    pub(crate) fn full_example(&self) -> String {
        match self {
            Self::List { of, .. } => format!("[{}]", of.example()),
            Self::Count { min, .. } => min.to_string(),
            Self::Choice(words) => format!("{:?}", words.first().copied().unwrap_or_default()),
            Self::Text
            | Self::Secret
            | Self::Url
            | Self::Address
            | Self::Network
            | Self::Name
            | Self::TableName
            | Self::Duration { .. }
            | Self::Size
            | Self::Switch
            | Self::Percent
            | Self::Fraction
            | Self::Ratio
            | Self::Effect
            | Self::Match
            | Self::Subject
            | Self::Balance
            | Self::UrlPath
            | Self::Pointer
            | Self::Unordered
            | Self::Columns
            | Self::Pairs
            | Self::Version
            | Self::Table(_)
            | Self::Tables(_)
            | Self::Named(_) => self.example().to_owned(),
        }
    }

    /// A value of this kind, as TOML.
    const fn example(&self) -> &'static str {
        match self {
            Self::Text => "\"text\"",
            Self::Secret => "\"${DATABASE_URL}\" or \"file:/run/secrets/database\"",
            Self::Address => "\"127.0.0.1:3000\"",
            Self::Network => "\"10.0.0.0/8\"",
            Self::Name => "\"tickets\"",
            Self::TableName => "\"public.ticket\"",
            Self::Duration { .. } => "\"10m\"",
            Self::Size => "\"8MiB\"",
            Self::Switch => "true",
            Self::Choice(_) => "\"word\"",
            Self::Percent => "\"1%\"",
            Self::Fraction => "0.2",
            Self::Ratio => "1.5",
            Self::Count { .. } => "3",
            Self::Effect => "\"read\"",
            Self::Match => "\"GET /api/v1/tickets/{id}\"",
            Self::Subject => "\"jwt:sub\"",
            Self::Balance => "\"least_loaded\"",
            Self::UrlPath => "\"/health\"",
            Self::Pointer => "\"/data/change_time\"",
            Self::Unordered => "\"/data by /id\"",
            Self::List { .. } => "[]",
            Self::Columns => "{ column = \"text\" }",
            Self::Pairs => "{ name = \"text\" }",
            Self::Version => "\"2\"",
            Self::Url => "\"https://id.example/jwks.json\"",
            Self::Table(_) | Self::Named(_) => "{ key = value }",
            Self::Tables(_) => "[{ key = value }]",
        }
    }
}
