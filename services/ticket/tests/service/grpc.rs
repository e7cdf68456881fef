//! The gRPC face does what REST does.

use serde_json::json;
use ticket::grpc::proto::tickets_client::TicketsClient;
use ticket::grpc::proto::{
    AddArticleRequest, CreateTicketRequest, GetTicketRequest, ListTicketsRequest,
};
use tonic::transport::Channel;
use tonic::{Code, Request};

use crate::world::{ADMIN, READER, WORKER, World, token};

async fn client(world: &World) -> anyhow::Result<TicketsClient<Channel>> {
    let channel = Channel::from_shared(format!("http://{}", world.grpc))?.connect().await?;
    Ok(TicketsClient::new(channel))
}

fn request<T>(user: i32, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {}", token(user)).parse().expect("a token is ascii");
    request.metadata_mut().insert("authorization", value);
    request
}

fn new_ticket() -> CreateTicketRequest {
    CreateTicketRequest {
        title: "Lamp".to_owned(),
        queue_id: 1,
        body: "It is dark.".to_owned(),
        ..CreateTicketRequest::default()
    }
}

#[tokio::test]
async fn what_grpc_creates_rest_and_grpc_show_alike() -> anyhow::Result<()> {
    let world = World::start().await?;
    let mut client = client(&world).await?;
    let created = client.create_ticket(request(WORKER, new_ticket())).await?.into_inner();
    let note = AddArticleRequest {
        ticket_id: created.id,
        body: "Bulb ordered.".to_owned(),
        ..AddArticleRequest::default()
    };
    let article = client.add_article(request(WORKER, note)).await?.into_inner();

    let get = GetTicketRequest { id: created.id };
    let shown = client.get_ticket(request(READER, get)).await?.into_inner();
    assert_eq!((shown.number, shown.state.as_str()), (created.number.clone(), "new"));
    let path = format!("/api/v1/tickets/{}", created.id);
    let rest = world.get(READER, &path).await?.json()?;
    assert_eq!(rest["data"]["ticket_number"], created.number);
    assert_eq!(rest["data"]["article_count"], 2);
    let rest = world.get(READER, &format!("{path}/articles/{}", article.id)).await?.json()?;
    assert_eq!(rest["data"]["body"], "Bulb ordered.");

    let list = ListTicketsRequest { search: "Lamp".to_owned(), ..ListTicketsRequest::default() };
    let list = client.list_tickets(request(READER, list)).await?.into_inner();
    assert_eq!(list.total, 1);
    assert_eq!(list.tickets[0].id, created.id);
    Ok(())
}

#[tokio::test]
async fn refusals_have_the_codes_of_grpc() -> anyhow::Result<()> {
    let world = World::start().await?;
    let mut client = client(&world).await?;
    let get = |id| GetTicketRequest { id };
    let none = client.get_ticket(Request::new(get(101))).await.unwrap_err();
    assert_eq!(none.code(), Code::Unauthenticated);
    let absent = client.get_ticket(request(ADMIN, get(999))).await.unwrap_err();
    assert_eq!(absent.code(), Code::NotFound);
    let closed = client.get_ticket(request(READER, get(103))).await.unwrap_err();
    assert_eq!(closed.code(), Code::PermissionDenied);
    let large = CreateTicketRequest { priority_id: Some(70_000), ..new_ticket() };
    let large = client.create_ticket(request(ADMIN, large)).await.unwrap_err();
    assert_eq!(large.code(), Code::InvalidArgument);
    Ok(())
}

#[tokio::test]
async fn a_fenced_write_is_unavailable_and_says_why() -> anyhow::Result<()> {
    let world = World::start().await?;
    world.fence().await?;
    let mut client = client(&world).await?;
    let status = client.create_ticket(request(ADMIN, new_ticket())).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.metadata().get("ficus-fenced").unwrap(), "true");
    Ok(())
}

#[tokio::test]
async fn a_dry_run_over_grpc_leaves_no_row() -> anyhow::Result<()> {
    let world = World::start().await?;
    let before = world.row_counts().await?;
    let mut dry = request(ADMIN, new_ticket());
    dry.metadata_mut().insert("ficus-dry-run", "1".parse()?);
    let created = client(&world).await?.create_ticket(dry).await?.into_inner();
    assert!(created.id < 0);
    assert_eq!(world.row_counts().await?, before);
    let real = world.post(ADMIN, "/api/v1/tickets", json!({"title": "x", "queue_id": 1})).await?;
    assert_eq!(real.json()?["data"]["tn"], created.number, "the number was given back");
    Ok(())
}
