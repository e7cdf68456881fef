//! `GET /api/v1/tickets`: one page of the tickets a caller may read.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use sqlx::{FromRow, PgPool, Postgres, QueryBuilder};

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::request::{Page, Pagination, Parameters};
use crate::timestamp::Micros;

/// A ticket in a list.
#[derive(Debug, Serialize, FromRow)]
pub(crate) struct Summary {
    #[sqlx(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    article_count: Option<i64>,
    create_time: Micros,
    created_at: Micros,
    customer_id: String,
    customer_user_id: String,
    pub(crate) id: i64,
    /// `{"created_at", "subject"}`, or null for a ticket without articles.
    #[sqlx(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    last_article: Option<Value>,
    priority_id: i16,
    pub(crate) priority_name: String,
    queue_id: i32,
    pub(crate) queue_name: String,
    responsible_user_id: Option<i32>,
    state_id: i16,
    pub(crate) state_name: String,
    ticket_number: String,
    pub(crate) title: String,
    pub(crate) tn: String,
    update_time: Micros,
    pub(crate) updated_at: Micros,
    user_id: i32,
}

#[derive(Debug, Serialize)]
pub(crate) struct Tickets {
    data: Vec<Summary>,
    pagination: Pagination,
    success: bool,
}

/// Which tickets, in which order, with what.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    states: Option<&'static [i16]>,
    queue_id: Option<i32>,
    priority_id: Option<i16>,
    customer_user_id: Option<String>,
    responsible_user_id: Option<i32>,
    search: Option<String>,
    sort: Sort,
    ascending: bool,
    with_article_count: bool,
    with_last_article: bool,
}

#[derive(Debug, Clone, Copy, Default)]
enum Sort {
    #[default]
    Created,
    Updated,
    Priority,
    Number,
    Title,
}

impl Sort {
    fn column(self) -> &'static str {
        match self {
            Self::Created => "create_time",
            Self::Updated => "change_time",
            Self::Priority => "ticket_priority_id",
            Self::Number => "tn",
            Self::Title => "title",
        }
    }
}

impl Filter {
    fn from_parameters(parameters: &Parameters) -> Self {
        let includes = |what| {
            parameters.text("include").is_some_and(|list| list.split(',').any(|part| part == what))
        };
        Self {
            states: match parameters.text("status") {
                Some("open") => Some(&[1, 4]),
                Some("closed") => Some(&[2, 3]),
                Some("pending") => Some(&[6]),
                _ => None,
            },
            queue_id: parameters.number("queue_id"),
            priority_id: parameters.number("priority_id"),
            customer_user_id: parameters.text("customer_user_id").map(str::to_owned),
            responsible_user_id: parameters.number("assigned_user_id"),
            search: parameters.text("search").map(str::to_owned),
            sort: match parameters.text("sort") {
                Some("updated") => Sort::Updated,
                Some("priority") => Sort::Priority,
                Some("tn") => Sort::Number,
                Some("title") => Sort::Title,
                _ => Sort::Created,
            },
            ascending: parameters.text("order") == Some("asc"),
            with_article_count: includes("article_count"),
            with_last_article: includes("last_article"),
        }
    }

    fn push_where(&self, query: &mut QueryBuilder<Postgres>, groups: Option<&[i32]>) {
        query.push(" WHERE true");
        if let Some(groups) = groups {
            query.push(
                " AND queue_id IN (SELECT id FROM queue WHERE valid_id = 1 AND group_id = ANY(",
            );
            query.push_bind(groups.to_vec()).push("))");
        }
        if let Some(states) = self.states {
            query.push(" AND ticket_state_id = ANY(").push_bind(states).push(")");
        }
        if let Some(id) = self.queue_id {
            query.push(" AND queue_id = ").push_bind(id);
        }
        if let Some(id) = self.priority_id {
            query.push(" AND ticket_priority_id = ").push_bind(id);
        }
        if let Some(customer) = &self.customer_user_id {
            query.push(" AND customer_user_id = ").push_bind(customer.clone());
        }
        if let Some(id) = self.responsible_user_id {
            query.push(" AND responsible_user_id = ").push_bind(id);
        }
        if let Some(search) = &self.search {
            query.push(" AND (title LIKE ").push_bind(format!("%{search}%"));
            query.push(" OR tn = ").push_bind(search.clone()).push(")");
        }
    }

    /// Ties are broken by id, so that pages neither repeat nor omit a ticket.
    fn push_order(&self, query: &mut QueryBuilder<Postgres>, table: &str) {
        let direction = if self.ascending { "ASC" } else { "DESC" };
        let column = self.sort.column();
        query.push(format_args!(" ORDER BY {table}{column} {direction}, {table}id {direction}"));
    }

    fn page_query(&self, groups: Option<&[i32]>, page: Page) -> QueryBuilder<Postgres> {
        let mut query = QueryBuilder::new(
            "SELECT t.id, t.tn, t.tn AS ticket_number, COALESCE(t.title, '') AS title,
                    t.queue_id, q.name AS queue_name, t.ticket_state_id AS state_id, s.name AS state_name,
                    t.ticket_priority_id AS priority_id, p.name AS priority_name,
                    COALESCE(t.customer_user_id, '') AS customer_user_id,
                    COALESCE(t.customer_id, '') AS customer_id, t.user_id, t.responsible_user_id,
                    t.create_time, t.create_time AS created_at,
                    t.change_time AS update_time, t.change_time AS updated_at",
        );
        if self.with_article_count {
            query.push(
                ", (SELECT count(*) FROM article a WHERE a.ticket_id = t.id) AS article_count",
            );
        }
        if self.with_last_article {
            query.push(
                ", COALESCE((SELECT json_build_object(
                        'created_at', to_char(a.create_time, 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'),
                        'subject', COALESCE(m.a_subject, ''))
                    FROM article a LEFT JOIN article_data_mime m ON m.article_id = a.id
                    WHERE a.ticket_id = t.id ORDER BY a.id DESC LIMIT 1), 'null') AS last_article",
            );
        }
        query.push(" FROM (SELECT * FROM ticket");
        self.push_where(&mut query, groups);
        self.push_order(&mut query, "");
        query.push(" LIMIT ").push_bind(page.per_page).push(" OFFSET ").push_bind(page.offset());
        // A ticket whose queue, state or priority is gone is not shown, but counted.
        query.push(
            ") t JOIN queue q ON q.id = t.queue_id JOIN ticket_state s ON s.id = t.ticket_state_id
             JOIN ticket_priority p ON p.id = t.ticket_priority_id",
        );
        self.push_order(&mut query, "t.");
        query
    }
}

/// `GET /api/v1/tickets`.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    parameters: Parameters,
) -> Result<Json<Tickets>, ApiError> {
    let filter = Filter::from_parameters(&parameters);
    let (data, pagination) = fetch_page(&app.pool, &caller, &filter, parameters.page()).await?;
    Ok(Json(Tickets { data, pagination, success: true }))
}

/// One page of the tickets that `caller` may read and `filter` lets through.
pub(crate) async fn fetch_page(
    pool: &PgPool,
    caller: &Caller,
    filter: &Filter,
    page: Page,
) -> Result<(Vec<Summary>, Pagination), ApiError> {
    let groups = caller.readable_groups()?;
    let mut count = QueryBuilder::new("SELECT count(*) FROM ticket");
    filter.push_where(&mut count, groups.as_deref());
    let total: i64 = count.build_query_scalar().fetch_one(pool).await?;
    let mut query = filter.page_query(groups.as_deref(), page);
    let rows = query.build_query_as().fetch_all(pool).await?;
    Ok((rows, page.of(total)))
}
