//! The monolith's JSON shapes. Its keys are in alphabetical order, and so are the fields here.

use kit::time::{rfc3339, rfc3339_micros};
use serde::Serialize;

use crate::tickets::create;
use crate::tickets::get::TicketDetail;
use crate::tickets::list::{List, Listed, Page};
use crate::tickets::update::Ticket;

/// A page of tickets.
#[derive(Debug, Serialize)]
pub(crate) struct Listing {
    data: Vec<Row>,
    pagination: Pagination,
    success: bool,
}

#[derive(Debug, Serialize)]
struct Pagination {
    has_next: bool,
    has_prev: bool,
    page: i64,
    per_page: i64,
    total: i64,
    total_pages: i64,
}

#[derive(Debug, Serialize)]
struct Row {
    #[serde(skip_serializing_if = "Option::is_none")]
    article_count: Option<i64>,
    create_time: String,
    created_at: String,
    customer_id: String,
    customer_user_id: String,
    id: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_article: Option<Option<LastArticle>>,
    priority_id: i16,
    priority_name: String,
    queue_id: i32,
    queue_name: String,
    responsible_user_id: Option<i32>,
    state_id: i16,
    state_name: String,
    ticket_number: String,
    title: String,
    tn: String,
    update_time: String,
    updated_at: String,
    user_id: i32,
}

#[derive(Debug, Serialize)]
struct LastArticle {
    created_at: String,
    subject: String,
}

/// One ticket.
#[derive(Debug, Serialize)]
pub(crate) struct Detail {
    article_count: i64,
    change_time: String,
    create_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_user_id: Option<String>,
    id: i64,
    owner_user_id: i32,
    priority: String,
    priority_id: i16,
    queue: String,
    queue_id: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    responsible_user_id: Option<i32>,
    state: String,
    state_id: i16,
    ticket_number: String,
    title: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    type_id: Option<i16>,
}

/// A ticket that was created.
#[derive(Debug, Serialize)]
pub(crate) struct Created {
    id: i64,
    queue_id: i32,
    ticket_priority_id: i16,
    ticket_state_id: i16,
    title: String,
    tn: String,
}

/// A ticket that was changed.
#[derive(Debug, Serialize)]
pub(crate) struct Updated {
    change_by: i32,
    change_time: String,
    create_by: i32,
    create_time: String,
    customer_id: String,
    customer_user_id: String,
    id: i64,
    priority_id: i16,
    queue_id: i32,
    responsible_user_id: i32,
    state_id: i16,
    ticket_lock_id: i16,
    title: Option<String>,
    tn: String,
    type_id: Option<i16>,
    user_id: i32,
}

/// A ticket that was changed and has no type.
#[derive(Debug, Serialize)]
pub(crate) struct UpdatedUnread {
    data: Id,
    message: &'static str,
    success: bool,
}

#[derive(Debug, Serialize)]
struct Id {
    id: i64,
}

impl UpdatedUnread {
    pub(super) fn new(id: i64) -> Self {
        Self { data: Id { id }, message: "Ticket updated successfully", success: true }
    }
}

impl Listing {
    pub(super) fn new(list: List, page: Page, with_count: bool, with_last: bool) -> Self {
        let List { tickets, total } = list;
        let (number, size) = (page.number(), page.size());
        let total_pages = (total + size - 1) / size;
        let pagination = Pagination {
            has_next: number < total_pages,
            has_prev: number > 1,
            page: number,
            per_page: size,
            total,
            total_pages,
        };
        let data = tickets.into_iter().map(|ticket| Row::new(ticket, with_count, with_last));
        Self { data: data.collect(), pagination, success: true }
    }
}

impl Row {
    fn new(ticket: Listed, with_count: bool, with_last: bool) -> Self {
        let created_at = rfc3339_micros(ticket.created_at);
        let updated_at = rfc3339_micros(ticket.updated_at);
        let last = ticket.last_at.map(|at| LastArticle {
            created_at: rfc3339_micros(at),
            subject: ticket.last_subject.unwrap_or_default(),
        });
        Self {
            article_count: with_count.then_some(ticket.article_count),
            create_time: created_at.clone(),
            created_at,
            customer_id: ticket.customer_id.unwrap_or_default(),
            customer_user_id: ticket.customer_user_id.unwrap_or_default(),
            id: ticket.id,
            last_article: with_last.then_some(last),
            priority_id: ticket.priority_id,
            priority_name: ticket.priority,
            queue_id: ticket.queue_id,
            queue_name: ticket.queue,
            responsible_user_id: ticket.responsible_id,
            state_id: ticket.state_id,
            state_name: ticket.state,
            ticket_number: ticket.number.clone(),
            title: ticket.title.unwrap_or_default(),
            tn: ticket.number,
            update_time: updated_at.clone(),
            updated_at,
            user_id: ticket.owner_id,
        }
    }
}

impl From<TicketDetail> for Detail {
    fn from(ticket: TicketDetail) -> Self {
        Self {
            article_count: ticket.article_count,
            change_time: rfc3339(ticket.updated_at),
            create_time: rfc3339(ticket.created_at),
            customer_id: ticket.customer_id,
            customer_user_id: ticket.customer_user_id,
            id: ticket.id,
            owner_user_id: ticket.owner_id,
            priority: ticket.priority.unwrap_or_default(),
            priority_id: ticket.priority_id,
            queue: ticket.queue.unwrap_or_default(),
            queue_id: ticket.queue_id,
            responsible_user_id: ticket.responsible_id,
            state: ticket.state.unwrap_or_default(),
            state_id: ticket.state_id,
            ticket_number: ticket.number,
            title: ticket.title.unwrap_or_default(),
            type_id: ticket.type_id,
        }
    }
}

impl From<create::Created> for Created {
    fn from(created: create::Created) -> Self {
        Self {
            id: created.id,
            queue_id: created.queue_id,
            ticket_priority_id: created.priority_id,
            ticket_state_id: created.state_id,
            title: created.title,
            tn: created.number,
        }
    }
}

impl From<Ticket> for Updated {
    fn from(ticket: Ticket) -> Self {
        Self {
            change_by: ticket.updated_by,
            change_time: rfc3339_micros(ticket.updated_at),
            create_by: ticket.created_by,
            create_time: rfc3339_micros(ticket.created_at),
            customer_id: ticket.customer_id.unwrap_or_default(),
            customer_user_id: ticket.customer_user_id.unwrap_or_default(),
            id: ticket.id,
            priority_id: ticket.priority_id,
            queue_id: ticket.queue_id,
            responsible_user_id: ticket.responsible_id,
            state_id: ticket.state_id,
            ticket_lock_id: ticket.lock_id,
            title: ticket.title,
            tn: ticket.number,
            type_id: ticket.type_id,
            user_id: ticket.owner_id,
        }
    }
}
