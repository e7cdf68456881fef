//! Listing the tickets a caller may read, one page at a time.

use chrono::{DateTime, Utc};
use kit::{ApiError, Caller};
use sqlx::{Postgres, QueryBuilder};

use super::Tickets;
use crate::access::{Access, Readable};

/// Tickets on a page unless asked otherwise.
pub const PER_PAGE_DEFAULT: i64 = 20;
/// Most tickets on a page.
pub const PER_PAGE_MAX: i64 = 100;

/// Names, joined after the page has been cut.
const JOINS: &str = " join queues q on q.id = t.queue_id join states s on s.id = t.state_id
     join priorities p on p.id = t.priority_id";

/// The newest article of each ticket.
const LAST_ARTICLE: &str = " left join lateral (
         select b.subject, a.created_at
         from articles a left join article_bodies b on b.article_id = a.id
         where a.ticket_id = t.id order by a.id desc limit 1) last on true";

/// Which tickets, in which order.
#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    /// Only tickets in this group of states.
    pub status: Option<Status>,
    /// Only tickets in this queue.
    pub queue_id: Option<i32>,
    /// Only tickets of this priority.
    pub priority_id: Option<i16>,
    /// Only tickets of this customer user.
    pub customer_user_id: Option<String>,
    /// Only tickets this agent is responsible for.
    pub assigned_user_id: Option<i32>,
    /// Only tickets whose title contains this, or whose number is this.
    pub search: Option<String>,
    /// Order of the list.
    pub sort: Sort,
    /// Smallest first; otherwise largest first.
    pub is_ascending: bool,
    /// Page and size.
    pub page: Page,
    /// Look up each ticket's last article and number of articles.
    pub with_articles: bool,
}

/// Groups of states the list filters by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// New and open.
    Open,
    /// Closed, successfully or not.
    Closed,
    /// Waiting for a reminder.
    Pending,
}

/// What the list is ordered by; tickets that are equal in it are ordered by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the variants are the columns of the same names")]
pub enum Sort {
    #[default]
    Created,
    Updated,
    Priority,
    Number,
    Title,
}

/// A page of a list: numbers from 1, and how many on each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    number: i64,
    size: i64,
}

/// One ticket of a list.
#[derive(Debug, Clone, sqlx::FromRow)]
#[expect(missing_docs, reason = "the fields are the columns of the same names")]
pub struct Listed {
    pub id: i64,
    pub number: String,
    pub title: Option<String>,
    pub queue_id: i32,
    pub queue: String,
    pub state_id: i16,
    pub state: String,
    pub priority_id: i16,
    pub priority: String,
    pub owner_id: i32,
    pub responsible_id: Option<i32>,
    pub type_id: Option<i16>,
    pub customer_id: Option<String>,
    pub customer_user_id: Option<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub article_count: i64,
    pub last_subject: Option<String>,
    pub last_at: Option<DateTime<Utc>>,
}

/// A page of tickets and how many there are on all pages.
#[derive(Debug, Clone)]
pub struct List {
    /// The tickets of the page. As in the monolith a ticket whose queue, state or priority does not
    /// exist is not shown.
    pub tickets: Vec<Listed>,
    /// Number of matching tickets, those not shown included.
    pub total: i64,
}

impl Tickets {
    /// The tickets `caller` may read, filtered and ordered.
    ///
    /// # Errors
    /// 403 when no queue is readable, or the database's failure.
    pub async fn list(&self, caller: &Caller, query: &ListQuery) -> Result<List, ApiError> {
        let mut connection = self.pool.acquire().await?;
        let readable = Access::load(&mut connection, caller).await?.readable()?;

        let mut count = QueryBuilder::new("select count(*) from tickets t");
        push_filter(&mut count, query, &readable);
        let total: i64 = count.build_query_scalar().fetch_one(&mut *connection).await?;

        let mut rows = QueryBuilder::new(select(query.with_articles));
        push_filter(&mut rows, query, &readable);
        let order = order(query.sort, query.is_ascending);
        rows.push(order);
        rows.push(" limit ").push_bind(query.page.size);
        rows.push(" offset ").push_bind(query.page.offset());
        rows.push(") t").push(JOINS);
        if query.with_articles {
            rows.push(LAST_ARTICLE);
        }
        rows.push(order);
        let tickets = rows.build_query_as().fetch_all(&mut *connection).await?;
        Ok(List { tickets, total })
    }
}

impl Page {
    /// A page, with values out of range taken as the nearest that makes sense.
    #[must_use]
    pub fn new(number: i64, size: i64) -> Self {
        let number = if number < 1 { 1 } else { number };
        let size = if size < 1 { PER_PAGE_DEFAULT } else { size.min(PER_PAGE_MAX) };
        Self { number, size }
    }

    /// From 1.
    #[must_use]
    pub fn number(self) -> i64 {
        self.number
    }

    /// Tickets on a full page.
    #[must_use]
    pub fn size(self) -> i64 {
        self.size
    }

    fn offset(self) -> i64 {
        (self.number - 1).saturating_mul(self.size)
    }
}

impl Default for Page {
    fn default() -> Self {
        Self { number: 1, size: PER_PAGE_DEFAULT }
    }
}

impl Status {
    /// The group with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "open" => Some(Self::Open),
            "closed" => Some(Self::Closed),
            "pending" => Some(Self::Pending),
            _ => None,
        }
    }

    fn state_ids(self) -> &'static [i16] {
        match self {
            Self::Open => &[1, 4],
            Self::Closed => &[2, 3],
            Self::Pending => &[6],
        }
    }
}

fn select(with_articles: bool) -> &'static str {
    if with_articles {
        "select t.*, q.name as queue, s.name as state, p.name as priority,
                (select count(*) from articles a where a.ticket_id = t.id) as article_count,
                last.subject as last_subject, last.created_at as last_at
         from (select id, number, title, queue_id, state_id, priority_id, owner_id, responsible_id,
                      type_id, customer_id, customer_user_id, created_at, updated_at from tickets t"
    } else {
        "select t.*, q.name as queue, s.name as state, p.name as priority,
                0::bigint as article_count, null::text as last_subject,
                null::timestamptz as last_at
         from (select id, number, title, queue_id, state_id, priority_id, owner_id, responsible_id,
                      type_id, customer_id, customer_user_id, created_at, updated_at from tickets t"
    }
}

fn push_filter(sql: &mut QueryBuilder<Postgres>, query: &ListQuery, readable: &Readable) {
    sql.push(" where true");
    match readable {
        Readable::All => {}
        Readable::Groups(ids) => {
            sql.push(" and t.queue_id in (select id from queues where valid_id = 1");
            sql.push(" and group_id = any(").push_bind(ids.clone()).push("))");
        }
        Readable::OwnOf(email) => {
            sql.push(" and t.customer_user_id = ").push_bind(email.clone());
        }
    }
    if let Some(status) = query.status {
        sql.push(" and t.state_id = any(").push_bind(status.state_ids()).push(")");
    }
    if let Some(id) = query.queue_id {
        sql.push(" and t.queue_id = ").push_bind(id);
    }
    if let Some(id) = query.priority_id {
        sql.push(" and t.priority_id = ").push_bind(id);
    }
    if let Some(customer) = &query.customer_user_id {
        sql.push(" and t.customer_user_id = ").push_bind(customer.clone());
    }
    if let Some(id) = query.assigned_user_id {
        sql.push(" and t.responsible_id = ").push_bind(id);
    }
    if let Some(search) = &query.search {
        sql.push(" and (t.title like ").push_bind(format!("%{search}%"));
        sql.push(" or t.number = ").push_bind(search.clone()).push(")");
    }
}

fn order(sort: Sort, is_ascending: bool) -> &'static str {
    match (sort, is_ascending) {
        (Sort::Created, false) => " order by t.created_at desc, t.id desc",
        (Sort::Created, true) => " order by t.created_at, t.id",
        (Sort::Updated, false) => " order by t.updated_at desc, t.id desc",
        (Sort::Updated, true) => " order by t.updated_at, t.id",
        (Sort::Priority, false) => " order by t.priority_id desc, t.id desc",
        (Sort::Priority, true) => " order by t.priority_id, t.id",
        (Sort::Number, false) => " order by t.number desc, t.id desc",
        (Sort::Number, true) => " order by t.number, t.id",
        (Sort::Title, false) => " order by t.title desc, t.id desc",
        (Sort::Title, true) => " order by t.title, t.id",
    }
}
