//! Who may do what: the monolith's permission rules over the replicated memberships.
//!
//! A queue belongs to one group; a membership grants one key on a group; `rw` implies all keys; a
//! member of the group `admin` may do everything. Only valid groups and queues count.

use axum::http::StatusCode;
use kit::auth::Role;
use kit::{ApiError, Caller};
use sqlx::PgConnection;

/// Group of a ticket whose queue is not there or not valid: only administrators get at it.
pub const NO_GROUP: i32 = 0;

/// What a request wants to do in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// See tickets and articles.
    Read,
    /// Create tickets.
    Create,
    /// Add articles.
    Note,
    /// Change tickets.
    Write,
}

/// The tickets a caller may list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readable {
    /// All of them: the caller is an administrator.
    All,
    /// Those in valid queues of these groups.
    Groups(Vec<i32>),
    /// Those of the customer with this address.
    OwnOf(String),
}

/// What a caller has been granted, as of now.
#[derive(Debug)]
pub struct Access<'a> {
    caller: &'a Caller,
    is_admin: bool,
    grants: Vec<Grant>,
}

#[derive(Debug, sqlx::FromRow)]
struct Grant {
    group_id: i32,
    is_admin: bool,
    permission_key: String,
}

impl Permission {
    fn is_granted_by(self, key: &str) -> bool {
        let own = match self {
            Self::Read => "ro",
            Self::Create => "create",
            Self::Note => "note",
            Self::Write => "rw",
        };
        key == own || key == "rw"
    }
}

impl<'a> Access<'a> {
    /// Looks up the grants of `caller`. Customers have none: their ids are not ids of agents.
    ///
    /// # Errors
    /// The database's failure.
    pub async fn load(connection: &mut PgConnection, caller: &'a Caller) -> Result<Self, ApiError> {
        if caller.role == Role::Customer {
            return Ok(Self { caller, is_admin: false, grants: Vec::new() });
        }
        let grants: Vec<Grant> = sqlx::query_as(
            "select m.group_id, lower(g.name) = 'admin' as is_admin, m.permission_key
             from memberships m join groups g on g.id = m.group_id
             where m.user_id = $1 and g.valid_id = 1",
        )
        .bind(caller.user_id)
        .fetch_all(connection)
        .await?;
        Ok(Self { caller, is_admin: grants.iter().any(|grant| grant.is_admin), grants })
    }

    /// What the caller may list.
    ///
    /// # Errors
    /// 403 when no group's queues are readable.
    pub fn readable(&self) -> Result<Readable, ApiError> {
        if self.caller.role == Role::Customer {
            return Ok(Readable::OwnOf(self.caller.email.clone()));
        }
        if self.is_admin {
            return Ok(Readable::All);
        }
        let readable = |grant: &&Grant| Permission::Read.is_granted_by(&grant.permission_key);
        let groups: Vec<i32> =
            self.grants.iter().filter(readable).map(|grant| grant.group_id).collect();
        if groups.is_empty() {
            return Err(forbidden("You do not have access to any queues"));
        }
        Ok(Readable::Groups(groups))
    }

    /// Refuses unless the caller has `permission` on the queues of this group.
    ///
    /// # Errors
    /// 403.
    pub fn require(&self, permission: Permission, group_id: i32) -> Result<(), ApiError> {
        if self.caller.role == Role::Customer {
            return Err(forbidden("Agent access required"));
        }
        let grants = |grant: &Grant| {
            grant.group_id == group_id && permission.is_granted_by(&grant.permission_key)
        };
        if self.is_admin || self.grants.iter().any(grants) {
            return Ok(());
        }
        Err(forbidden("You do not have permission to access this queue"))
    }

    /// Refuses unless the caller may read a ticket of this group and this customer. Customers may
    /// read their own tickets and do nothing else.
    ///
    /// # Errors
    /// 403.
    pub fn require_read(&self, group_id: i32, customer: Option<&str>) -> Result<(), ApiError> {
        let is_own =
            self.caller.role == Role::Customer && customer == Some(self.caller.email.as_str());
        if is_own {
            return Ok(());
        }
        self.require(Permission::Read, group_id)
    }
}

fn forbidden(message: &'static str) -> ApiError {
    ApiError::barred(StatusCode::FORBIDDEN, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(role: Role) -> Caller {
        Caller { user_id: 7, email: "anna".to_owned(), role }
    }

    fn access<'a>(caller: &'a Caller, grants: &[(i32, bool, &str)]) -> Access<'a> {
        let grant = |(group_id, is_admin, key): &(i32, bool, &str)| Grant {
            group_id: *group_id,
            is_admin: *is_admin,
            permission_key: (*key).to_owned(),
        };
        let grants: Vec<Grant> = grants.iter().map(grant).collect();
        Access { caller, is_admin: grants.iter().any(|grant| grant.is_admin), grants }
    }

    #[test]
    fn a_key_grants_itself_on_its_group_and_rw_grants_everything_there() {
        let agent = caller(Role::Agent);
        let access = access(&agent, &[(1, false, "note"), (2, false, "rw")]);
        assert!(access.require(Permission::Note, 1).is_ok());
        assert!(access.require(Permission::Read, 1).is_err());
        for permission in
            [Permission::Read, Permission::Create, Permission::Note, Permission::Write]
        {
            assert!(access.require(permission, 2).is_ok());
            assert!(access.require(permission, NO_GROUP).is_err());
        }
        assert_eq!(access.readable().unwrap(), Readable::Groups(vec![2]));
    }

    #[test]
    fn an_administrator_may_everything_even_without_a_queue() {
        let agent = caller(Role::Agent);
        let access = access(&agent, &[(9, true, "ro")]);
        assert!(access.require(Permission::Write, NO_GROUP).is_ok());
        assert_eq!(access.readable().unwrap(), Readable::All);
    }

    #[test]
    fn a_customer_reads_own_tickets_and_does_nothing_else() {
        let customer = caller(Role::Customer);
        let access = access(&customer, &[]);
        assert!(access.require_read(1, Some("anna")).is_ok());
        assert!(access.require_read(1, Some("ben")).is_err());
        assert!(access.require_read(1, None).is_err());
        assert!(access.require(Permission::Note, 1).is_err());
        assert_eq!(access.readable().unwrap(), Readable::OwnOf("anna".to_owned()));
    }
}
