//! Control's own database: it must be reachable, and control must be able to lay down its tables.

use tokio_postgres::Client;

use super::{
    CheckFinding, Place,
    catalog::ident,
    login::{can_not_log_in, can_not_read, connect},
};

struct Store {
    database: String,
    user: String,
    may_create: bool,
}

/// Looks at the database behind `[control]`.
pub(super) async fn check(url: &str, findings: &mut Vec<CheckFinding>) {
    let place = Place { side: "control", at: "control", capability: None };
    let client = match connect(url).await {
        Ok(client) => client,
        Err(failed) => {
            findings.push(can_not_log_in(place, "database", &failed));
            return;
        }
    };
    match read(&client).await {
        Ok(store) => findings.extend(judge(place, &store)),
        Err(error) => findings.push(can_not_read(place, &error)),
    }
}

async fn read(client: &Client) -> Result<Store, tokio_postgres::Error> {
    let row = client
        .query_one(
            "SELECT current_database()::text, session_user::text,
                 to_regclass('public._sqlx_migrations') IS NOT NULL
                 OR has_database_privilege(current_database(), 'CREATE')
                     AND coalesce(has_schema_privilege(to_regnamespace('public')::oid, 'CREATE'), false)",
            &[],
        )
        .await?;
    Ok(Store { database: row.get(0), user: row.get(1), may_create: row.get(2) })
}

fn judge(place: Place<'_>, store: &Store) -> Option<CheckFinding> {
    (!store.may_create).then(|| {
        let Store { database, user, .. } = store;
        CheckFinding::error(
            place,
            "create_right",
            format!("{}: {user} may not create its tables in database {database}", place.at),
        )
        .remedy("give the database to it, or grant it the rights, as the database's owner")
        .sql(format!(
            "GRANT CREATE ON DATABASE {} TO {user};\nGRANT CREATE ON SCHEMA public TO {user};",
            ident(database),
            user = ident(user),
        ))
    })
}
