//! What `ficus check --connect` finds in real databases, and that the SQL it names mends it.

use std::time::Duration;

use control::{CheckFinding, Severity, check_connect};
use routes::Config;
use testkit::{Cluster, wait_until};
use tokio::sync::OnceCell;

const WITHIN: Duration = Duration::from_secs(20);

/// A table that is as it should be, on both sides.
const SOURCE: &str = "CREATE TABLE item (id bigint PRIMARY KEY, name text NOT NULL)";
const TARGET: &str = "CREATE TABLE items (id bigint PRIMARY KEY, name text NOT NULL)";
const TABLES: &str =
    "[[capabilities.things.tables]]\nsource = \"public.item\"\ntarget = \"public.items\"\n";
const REFERENCES: &str =
    "[[capabilities.things.references]]\nsource = \"public.item\"\ntarget = \"public.items\"\n";

/// URLs of one migration.
struct World<'a> {
    cluster: &'a Cluster,
    source: String,
    target: String,
    /// Roles of `database` and `owner_database` of the monolith.
    applier: &'a str,
    owner: &'a str,
    tables: &'a str,
}

/// The shared cluster, with the role that an operator creates first.
async fn shared() -> &'static Cluster {
    static READY: OnceCell<()> = OnceCell::const_new();
    let cluster = Cluster::shared().await.expect("a cluster starts");
    READY
        .get_or_init(|| async {
            let sql = "CREATE ROLE ficus_applier LOGIN REPLICATION";
            cluster.execute("postgres", sql).await.expect("the role is new");
        })
        .await;
    cluster
}

impl<'a> World<'a> {
    async fn create(cluster: &'a Cluster, name: &str, source: &str, target: &str) -> Self {
        let world = World {
            cluster,
            source: format!("{name}_source"),
            target: format!("{name}_target"),
            applier: "ficus_applier",
            owner: "postgres",
            tables: TABLES,
        };
        for (database, sql) in [(&world.source, source), (&world.target, target)] {
            cluster.create_database(database).await.expect("the name is new");
            cluster.execute(database, sql).await.expect("the tables are valid");
        }
        world
    }

    fn config(&self) -> Config {
        let url = |role: &str, database: &str| self.cluster.url_as(role, database);
        parse(&format!(
            "version = 1\n\
             [control]\ndatabase = \"{}\"\n\
             [upstreams.monolith]\npeers = [\"127.0.0.1:3000\"]\n\
             database = \"{}\"\nowner_database = \"{}\"\n\
             [upstreams.service]\npeers = [\"127.0.0.1:7101\"]\n\
             database = \"{}\"\nowner_database = \"{}\"\n\
             [capabilities.things]\nupstream = \"service\"\nfence = {{ hold = \"1s\" }}\n\
             [[capabilities.things.routes]]\nmatch = \"GET /things\"\n{}",
            url("postgres", &self.target),
            url(self.applier, &self.source),
            url(self.owner, &self.source),
            url("ficus_applier", &self.target),
            url("postgres", &self.target),
            self.tables,
        ))
    }

    async fn find(&self, check: &str) -> Vec<CheckFinding> {
        let mut findings = check_connect(&self.config()).await;
        findings.retain(|finding| finding.check == check);
        findings
    }

    async fn find_one(&self, check: &str) -> CheckFinding {
        let mut found = self.find(check).await;
        assert_eq!(found.len(), 1, "{check}: {:?}", check_connect(&self.config()).await);
        found.pop().expect("there is one")
    }

    /// Runs the SQL of the one finding of this check where it belongs, and sees it gone.
    async fn mend(&self, check: &str) -> CheckFinding {
        let finding = self.find_one(check).await;
        let database = if finding.side == "source" { &self.source } else { &self.target };
        self.cluster.execute(database, &finding.sql).await.expect(&finding.sql);
        let left = self.find(check).await;
        assert!(left.is_empty(), "{} left {left:?}", finding.sql);
        finding
    }

    async fn errors(&self) -> Vec<CheckFinding> {
        let mut findings = check_connect(&self.config()).await;
        findings.retain(CheckFinding::is_error);
        findings
    }
}

fn parse(text: &str) -> Config {
    let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
    Config::parse("routes.toml", text, &|_| None, &read).expect("the configuration is valid")
}

fn shipped(path: &str) -> String {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../");
    std::fs::read_to_string(format!("{root}{path}")).expect(path)
}

#[tokio::test]
async fn databases_that_are_ready_have_no_error() {
    let world = World::create(shared().await, "ready", SOURCE, TARGET).await;
    assert_eq!(world.errors().await, []);
}

#[tokio::test]
async fn the_shipped_example_is_mended_by_the_sql_that_its_findings_name() {
    let cluster = shared().await;
    let source = shipped("examples/monolith/migrations/0001_schema.sql");
    let target = shipped("services/ticket/migrations/0001_tickets.sql")
        + &shipped("services/ticket/migrations/0002_reference_copies.sql");
    let world = World::create(cluster, "shipped", &source, &target).await;
    let env = |name: &str| match name {
        "MONOLITH_DATABASE_URL" => Some(cluster.url_as("ficus_applier", &world.source)),
        "MONOLITH_OWNER_DATABASE_URL" => Some(cluster.url(&world.source)),
        "TICKET_DATABASE_URL" => Some(cluster.url_as("ficus_applier", &world.target)),
        "TICKET_OWNER_DATABASE_URL" | "FICUS_CONTROL_URL" => Some(cluster.url(&world.target)),
        _ => None,
    };
    let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
    let config = Config::parse("routes.toml", &shipped("routes.toml"), &env, &read).unwrap();
    let errors = || async {
        let findings = check_connect(&config).await;
        findings.into_iter().filter(CheckFinding::is_error).collect::<Vec<_>>()
    };
    let found = errors().await;
    let sql: Vec<_> = found.iter().map(|finding| finding.sql.as_str()).collect();
    assert_eq!(
        sql,
        [
            "ALTER TABLE public.ticket_flag REPLICA IDENTITY USING INDEX ticket_flag_per_user;",
            "ALTER TABLE public.group_user ADD PRIMARY KEY (user_id, group_id, permission_key);",
        ]
    );
    for statement in sql {
        cluster.execute(&world.source, statement).await.unwrap();
    }
    assert_eq!(errors().await, []);
}

#[tokio::test]
async fn what_sql_can_mend_on_a_table_is_gone_after_it_ran() {
    let cluster = shared().await;
    let plain = "CREATE TABLE item (id bigint NOT NULL, name text NOT NULL)";
    // name, check, severity, side, SQL in the source, SQL in the target
    let cases = [
        ("bare", "replica_identity", "source", plain, TARGET),
        (
            "indexed",
            "replica_identity",
            "source",
            "CREATE TABLE item (id bigint NOT NULL UNIQUE, name text NOT NULL)",
            TARGET,
        ),
        (
            "nothing",
            "replica_identity",
            "source",
            "CREATE TABLE item (id bigint PRIMARY KEY, name text); ALTER TABLE item REPLICA IDENTITY NOTHING",
            "CREATE TABLE items (id bigint PRIMARY KEY, name text)",
        ),
        (
            "bare_target",
            "replica_identity",
            "target",
            SOURCE,
            "CREATE TABLE items (id bigint NOT NULL, name text NOT NULL)",
        ),
        (
            "other_key",
            "key_mapping",
            "target",
            "CREATE TABLE item (id bigint PRIMARY KEY, name text NOT NULL UNIQUE)",
            "CREATE TABLE items (id bigint NOT NULL, name text PRIMARY KEY)",
        ),
        (
            "unlogged",
            "unlogged",
            "source",
            "CREATE UNLOGGED TABLE item (id bigint PRIMARY KEY, name text NOT NULL)",
            TARGET,
        ),
        (
            "deferrable",
            "deferrable",
            "target",
            SOURCE,
            "CREATE TABLE items (id bigint PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, name text NOT NULL)",
        ),
        (
            "secured",
            "row_security",
            "source",
            "CREATE TABLE item (id bigint PRIMARY KEY, name text NOT NULL);
             ALTER TABLE item ENABLE ROW LEVEL SECURITY",
            TARGET,
        ),
        (
            "labels",
            "enum_labels",
            "target",
            "CREATE TYPE state AS ENUM ('new', 'it''s');
             CREATE TABLE item (id bigint PRIMARY KEY, name state NOT NULL)",
            "CREATE TYPE status AS ENUM ('new');
             CREATE TABLE items (id bigint PRIMARY KEY, name status NOT NULL)",
        ),
    ];
    for (name, check, side, source, target) in cases {
        let world = World::create(cluster, name, source, target).await;
        let finding = world.mend(check).await;
        assert_eq!((finding.side, finding.severity), (side, Severity::Error), "{name}");
        assert_eq!(world.errors().await, [], "{name}");
    }
}

#[tokio::test]
async fn what_sql_can_not_mend_on_a_table_is_explained() {
    let cluster = shared().await;
    let foreign = "CREATE FOREIGN DATA WRAPPER none; CREATE SERVER there FOREIGN DATA WRAPPER none;
        CREATE FOREIGN TABLE item (id bigint, name text) SERVER there";
    let cases = [
        ("absent", "table", "target", SOURCE, "SELECT 1"),
        ("foreign", "table_kind", "source", foreign, TARGET),
        ("view", "table_kind", "target", SOURCE, "CREATE VIEW items AS SELECT 1 AS id, '' AS name"),
        (
            "inherited",
            "inheritance",
            "source",
            "CREATE TABLE item (id bigint PRIMARY KEY, name text NOT NULL);
             CREATE TABLE old_item () INHERITS (item)",
            TARGET,
        ),
        (
            "odd_partition",
            "partitions",
            "source",
            "CREATE TABLE item (id bigint PRIMARY KEY, name text NOT NULL) PARTITION BY RANGE (id);
             CREATE UNLOGGED TABLE item_1 PARTITION OF item FOR VALUES FROM (0) TO (9)",
            TARGET,
        ),
        (
            "lost_column",
            "column",
            "source",
            "CREATE TABLE item (id bigint PRIMARY KEY, name text NOT NULL, tn text)",
            TARGET,
        ),
        (
            "duplicates",
            "replica_identity",
            "source",
            "CREATE TABLE item (id bigint NOT NULL, name text NOT NULL);
             INSERT INTO item VALUES (1, 'a'), (1, 'b')",
            TARGET,
        ),
        (
            "nulls",
            "replica_identity",
            "source",
            "CREATE TABLE item (id bigint, name text NOT NULL); INSERT INTO item VALUES (NULL, 'a')",
            TARGET,
        ),
    ];
    for (name, check, side, source, target) in cases {
        let finding = World::create(cluster, name, source, target).await.find_one(check).await;
        assert_eq!((finding.side, finding.severity), (side, Severity::Error), "{name}");
        assert!(finding.sql.is_empty() && !finding.remedy.is_empty(), "{finding:?}");
    }
}

#[tokio::test]
async fn a_reference_needs_an_identity_on_the_source_only_and_a_key_on_the_target() {
    let cluster = shared().await;
    let bare = "CREATE TABLE items (id bigint NOT NULL, name text NOT NULL)";
    let mut world = World::create(cluster, "reference", SOURCE, bare).await;
    world.tables = REFERENCES;
    let finding = world.mend("key_mapping").await;
    assert_eq!(finding.sql, "ALTER TABLE public.items ADD PRIMARY KEY (id);");
    assert_eq!(world.errors().await, []);
}

#[tokio::test]
async fn triggers_and_foreign_keys_across_the_border_are_warnings() {
    let source = "CREATE TABLE shelf (id bigint PRIMARY KEY);
        CREATE TABLE item (id bigint PRIMARY KEY REFERENCES shelf ON DELETE CASCADE, name text NOT NULL)";
    let target = format!(
        "{TARGET}; CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TRIGGER audit BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION noted()"
    );
    let world = World::create(shared().await, "border", source, &target).await;
    let trigger = world.find_one("trigger").await;
    assert!(!trigger.is_error() && trigger.evidence.contains("audit of public.items"));
    let key = world.find_one("foreign_keys").await;
    assert!(!key.is_error() && key.evidence.contains("CASCADE"), "{key}");
    assert_eq!(world.errors().await, []);
}

#[tokio::test]
async fn transactions_that_a_fence_would_wait_for_are_warnings() {
    let world = World::create(shared().await, "waiting", SOURCE, TARGET).await;
    let mut writer = world.cluster.connect(&world.source).await.unwrap();
    let tx = writer.transaction().await.unwrap();
    tx.execute("INSERT INTO item VALUES (1, 'a')", &[]).await.unwrap();
    let open = wait_until(WITHIN, || async { Ok(world.find("long_transactions").await.pop()) });
    assert!(!open.await.unwrap().is_error());
    tx.batch_execute("PREPARE TRANSACTION 'left behind'").await.unwrap();
    drop(tx);
    let prepared = world.find("prepared_transactions").await;
    assert!(prepared.iter().any(|f| !f.is_error() && f.evidence.contains("left behind")));
    let end = "ROLLBACK PREPARED 'left behind'";
    world.cluster.execute(&world.source, end).await.unwrap();
}

#[tokio::test]
async fn sessions_that_could_switch_the_fence_off_are_warnings() {
    let cluster = shared().await;
    cluster.create_role("shop_owner").await.unwrap();
    let source = format!("{SOURCE}; ALTER TABLE item OWNER TO shop_owner");
    let world = World::create(cluster, "sessions", &source, TARGET).await;
    let superuser = cluster.connect(&world.source).await.unwrap();
    let owner = cluster.connect_as("shop_owner", &world.source).await.unwrap();
    for (check, role) in [("superuser_sessions", "postgres"), ("owner_sessions", "shop_owner")] {
        let found = world.find(check).await;
        let named = |f: &CheckFinding| f.side == "source" && f.evidence.contains(role);
        assert!(found.iter().any(|f| !f.is_error() && named(f)), "{found:?}");
    }
    drop((superuser, owner));
    // a session of the server ends a moment after its client
    let gone = || async { Ok(world.find("owner_sessions").await.is_empty().then_some(())) };
    wait_until(WITHIN, gone).await.unwrap();
}

#[tokio::test]
async fn an_owner_with_few_rights_is_told_what_to_be_granted() {
    let cluster = shared().await;
    cluster.create_role("shop_few").await.unwrap();
    cluster.create_role("shop_real").await.unwrap();
    let source = format!("{SOURCE}; ALTER TABLE item OWNER TO shop_real");
    let mut world = World::create(cluster, "rights", &source, TARGET).await;
    world.owner = "shop_few";
    world.applier = "shop_few";
    assert!(world.find_one("applier_session").await.is_error());
    world.applier = "ficus_applier";
    assert_eq!(world.mend("owner").await.sql, "GRANT shop_real TO shop_few;");
    world.mend("create_right").await;
    for check in ["replication_origin", "session_replication_role", "read_all_stats"] {
        assert!(!world.mend(check).await.is_error());
    }
    assert_eq!(world.errors().await, []);
}

#[tokio::test]
async fn a_server_that_is_not_set_up_for_streams_is_mended_by_a_restart() {
    let cluster = Cluster::builder()
        .wal_level("replica")
        .setting("max_replication_slots = 1")
        .setting("max_wal_senders = 1")
        .start()
        .await
        .unwrap();
    cluster.execute("postgres", "CREATE ROLE ficus_applier LOGIN REPLICATION").await.unwrap();
    let world = World::create(&cluster, "settings", SOURCE, TARGET).await;
    let found = world.errors().await;
    let checks: Vec<_> = found.iter().map(|finding| finding.check).collect();
    // both sides are on this server: its settings are judged once, for the streams of both
    assert_eq!(checks, ["wal_level", "max_replication_slots", "max_wal_senders"]);
    for finding in &found {
        cluster.execute("postgres", &finding.sql).await.unwrap();
    }
    let keep = world.find_one("max_slot_wal_keep_size").await;
    assert!(!keep.is_error());
    cluster.execute("postgres", &keep.sql).await.unwrap();
    cluster.restart().await.unwrap();
    assert_eq!(world.errors().await, []);
    assert_eq!(world.find("max_slot_wal_keep_size").await, []);
}

#[tokio::test]
async fn a_replicator_that_can_not_log_in_or_stream_is_an_error() {
    let cluster = Cluster::start().await.unwrap();
    let world = World::create(&cluster, "roles", SOURCE, TARGET).await;
    let missing = world.find("applier_role").await;
    assert_eq!(missing.len(), 2, "one for each database: {missing:?}");
    assert_eq!(world.find("login").await, [], "the missing role explains the login");
    cluster.execute("postgres", &missing[0].sql).await.unwrap();
    assert_eq!(world.errors().await, []);

    for (harm, check) in [("NOREPLICATION", "replication"), ("NOLOGIN", "login")] {
        let sql = format!("ALTER ROLE ficus_applier {harm}");
        cluster.execute("postgres", &sql).await.unwrap();
        let found = world.find(check).await;
        assert!(found.iter().all(CheckFinding::is_error) && found.len() == 2, "{found:?}");
        cluster.execute("postgres", &found[0].sql).await.unwrap();
        assert_eq!(world.errors().await, [], "{harm}");
    }
}

#[tokio::test]
async fn a_control_database_without_rights_is_mended() {
    let cluster = shared().await;
    cluster.create_role("ficus_control").await.unwrap();
    cluster.create_database("control_rights").await.unwrap();
    let url = cluster.url_as("ficus_control", "control_rights");
    let config = parse(&format!(
        "version = 1\n[control]\ndatabase = \"{url}\"\n\
         [upstreams.monolith]\npeers = [\"127.0.0.1:3000\"]\n"
    ));
    let found = check_connect(&config).await;
    assert_eq!((found[0].side, found[0].check), ("control", "create_right"), "{found:?}");
    cluster.execute("control_rights", &found[0].sql).await.unwrap();
    assert_eq!(check_connect(&config).await, []);
}

#[tokio::test]
async fn what_can_not_be_reached_is_an_error_that_names_no_password() {
    let nobody = testkit::free_port().unwrap();
    for (control, monolith) in [
        (format!("postgres://me:hunter2@127.0.0.1:{nobody}/x"), "postgres://me:hunter2@"),
        (
            "no url hunter2".to_owned(),
            "host=hunter2.invalid password=hunter2 user=me connect_timeout=1",
        ),
        (
            shared().await.url("absent").replace("postgres@", "postgres:absent@"),
            "postgres://a:hunter2@[::/x",
        ),
    ] {
        let found = check_connect(&parse(&format!(
            "version = 1\n[control]\ndatabase = \"{control}\"\n\
             [upstreams.monolith]\npeers = [\"127.0.0.1:3000\"]\ndatabase = \"{monolith}\"\n"
        )))
        .await;
        let checks: Vec<_> = found.iter().map(|finding| (finding.side, finding.check)).collect();
        assert_eq!(checks, [("source", "login"), ("control", "login")], "{found:?}");
        let text: String = found.iter().map(ToString::to_string).collect();
        assert!(!text.contains("hunter2") && !text.contains("\"absent\""), "{text}");
    }
}
