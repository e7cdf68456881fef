//! The gRPC face: translation only, everything is done by [`Tickets`].

use chrono::{DateTime, Utc};
use kit::{Caller, Mode, Verifier};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::tickets::Tickets;
use crate::tickets::articles::channel;
use crate::tickets::create::NewTicket;
use crate::tickets::draft::Draft;
use crate::tickets::get::TicketDetail;
use crate::tickets::list::{ListQuery, Listed, Page, Status as StateGroup};

/// The generated interface.
pub mod proto {
    #![allow(
        clippy::allow_attributes_without_reason,
        clippy::clone_on_ref_ptr,
        clippy::too_many_lines,
        reason = "generated code"
    )]
    tonic::include_proto!("ficus.ticket.v1");
}

use proto::tickets_server::{Tickets as TicketsRpc, TicketsServer};

struct TicketsGrpc {
    tickets: Tickets,
    verifier: Verifier,
}

/// The services of this process.
#[must_use]
pub fn services(tickets: Tickets, verifier: Verifier) -> Routes {
    Routes::new(TicketsServer::new(TicketsGrpc { tickets, verifier }))
}

impl TicketsGrpc {
    /// Who asks, what, and whether it is to last.
    fn open<T>(&self, request: Request<T>) -> Result<(Caller, Mode, T), Status> {
        let (metadata, _, message) = request.into_parts();
        let headers = metadata.into_headers();
        let caller = self.verifier.caller(&headers)?;
        Ok((caller, Mode::from_headers(&headers)?, message))
    }
}

#[tonic::async_trait]
impl TicketsRpc for TicketsGrpc {
    async fn get_ticket(
        &self,
        request: Request<proto::GetTicketRequest>,
    ) -> Result<Response<proto::Ticket>, Status> {
        let (caller, _, message) = self.open(request)?;
        let ticket = self.tickets.get(&caller, message.id).await?;
        Ok(Response::new(ticket.into()))
    }

    async fn list_tickets(
        &self,
        request: Request<proto::ListTicketsRequest>,
    ) -> Result<Response<proto::ListTicketsResponse>, Status> {
        let (caller, _, message) = self.open(request)?;
        let list = self.tickets.list(&caller, &message.try_into()?).await?;
        let tickets = list.tickets.into_iter().map(Into::into).collect();
        Ok(Response::new(proto::ListTicketsResponse { tickets, total: list.total }))
    }

    async fn create_ticket(
        &self,
        request: Request<proto::CreateTicketRequest>,
    ) -> Result<Response<proto::CreateTicketResponse>, Status> {
        let (caller, mode, message) = self.open(request)?;
        if message.title.is_empty() {
            return Err(Status::invalid_argument("missing title"));
        }
        let ticket = NewTicket {
            title: message.title,
            queue_id: message.queue_id,
            priority_id: small("priority_id", message.priority_id)?,
            state_id: small("state_id", message.state_id)?,
            type_id: small("type_id", message.type_id)?,
            body: message.body,
            customer_id: message.customer_id,
            customer_user_id: message.customer_user_id,
        };
        let created = self.tickets.create(&caller, &ticket, mode).await?;
        Ok(Response::new(proto::CreateTicketResponse { id: created.id, number: created.number }))
    }

    async fn add_article(
        &self,
        request: Request<proto::AddArticleRequest>,
    ) -> Result<Response<proto::AddArticleResponse>, Status> {
        let (caller, mode, message) = self.open(request)?;
        let draft = Draft {
            subject: message.subject,
            body: message.body,
            content_type: Some(message.content_type).filter(|given| !given.is_empty()),
            communication_channel_id: Some(channel::NOTE),
            is_visible_for_customer: Some(message.visible_to_customer),
            ..Draft::default()
        };
        let (_, written) =
            self.tickets.add_article(&caller, message.ticket_id, draft, mode).await?;
        Ok(Response::new(proto::AddArticleResponse { id: written.id }))
    }
}

impl TryFrom<proto::ListTicketsRequest> for ListQuery {
    type Error = Status;

    fn try_from(request: proto::ListTicketsRequest) -> Result<Self, Status> {
        Ok(Self {
            status: StateGroup::from_name(&request.status),
            queue_id: request.queue_id,
            priority_id: small("priority_id", request.priority_id)?,
            customer_user_id: request.customer_user_id,
            assigned_user_id: request.assigned_user_id,
            search: Some(request.search).filter(|search| !search.is_empty()),
            page: Page::new(request.page.into(), request.per_page.into()),
            ..Self::default()
        })
    }
}

impl From<TicketDetail> for proto::Ticket {
    fn from(ticket: TicketDetail) -> Self {
        Self {
            id: ticket.id,
            number: ticket.number,
            title: ticket.title.unwrap_or_default(),
            queue_id: ticket.queue_id,
            queue: ticket.queue.unwrap_or_default(),
            state_id: ticket.state_id.into(),
            state: ticket.state.unwrap_or_default(),
            priority_id: ticket.priority_id.into(),
            priority: ticket.priority.unwrap_or_default(),
            owner_id: ticket.owner_id,
            responsible_id: ticket.responsible_id,
            type_id: ticket.type_id.map(Into::into),
            customer_id: ticket.customer_id,
            customer_user_id: ticket.customer_user_id,
            created_at_us: micros(ticket.created_at),
            updated_at_us: micros(ticket.updated_at),
        }
    }
}

impl From<Listed> for proto::Ticket {
    fn from(ticket: Listed) -> Self {
        Self {
            id: ticket.id,
            number: ticket.number,
            title: ticket.title.unwrap_or_default(),
            queue_id: ticket.queue_id,
            queue: ticket.queue,
            state_id: ticket.state_id.into(),
            state: ticket.state,
            priority_id: ticket.priority_id.into(),
            priority: ticket.priority,
            owner_id: ticket.owner_id,
            responsible_id: ticket.responsible_id,
            type_id: ticket.type_id.map(Into::into),
            customer_id: ticket.customer_id,
            customer_user_id: ticket.customer_user_id,
            created_at_us: micros(ticket.created_at),
            updated_at_us: micros(ticket.updated_at),
        }
    }
}

fn micros(at: DateTime<Utc>) -> i64 {
    at.timestamp_micros()
}

fn small(field: &str, id: Option<i32>) -> Result<Option<i16>, Status> {
    id.map(i16::try_from)
        .transpose()
        .map_err(|_| Status::invalid_argument(format!("{field} is out of range")))
}
