//! gRPC for the proxies: the whole route table at once and after every change, reports the other way.

use std::{pin::Pin, sync::Arc};

use futures::Stream;
use rpc::v1::{ProxyReport, RouteTable, control_server::Control};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    board::RENEW_EVERY,
    core::{Core, Term},
};

/// Tables wait only while the network is slow; the stream ends when a proxy does not read.
const WAITING_MAX: usize = 8;

/// The service; only a leader publishes.
#[derive(Debug)]
pub(crate) struct WatchService {
    pub(crate) core: Arc<Core>,
}

type Tables = Pin<Box<dyn Stream<Item = Result<RouteTable, Status>> + Send>>;

#[tonic::async_trait]
impl Control for WatchService {
    type WatchStream = Tables;

    async fn watch(
        &self,
        request: Request<Streaming<ProxyReport>>,
    ) -> Result<Response<Tables>, Status> {
        let Some(term) = self.core.term() else {
            let leader = self.core.leader_hint().await;
            return Err(Status::unavailable(format!("this control stands by; {leader}")));
        };
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let stream = Conversation { core: Arc::clone(&self.core), term, sender };
        let stop = self.core.stop.clone();
        self.core.tasks.spawn(stream.run(request.into_inner(), stop));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

/// One proxy's stream.
#[derive(Debug)]
struct Conversation {
    core: Arc<Core>,
    term: Term,
    sender: mpsc::Sender<Result<RouteTable, Status>>,
}

impl Conversation {
    async fn run(self, mut reports: Streaming<ProxyReport>, stop: CancellationToken) {
        let mut tables = self.core.board.subscribe();
        let first = (**tables.borrow_and_update()).clone();
        if self.sender.send(Ok(first)).await.is_err() {
            return;
        }
        let mut proxy_id: Option<String> = None;
        let mut unacknowledged = Some((tables.borrow().generation, Instant::now()));
        let mut renewal = tokio::time::interval(RENEW_EVERY);
        loop {
            tokio::select! {
                report = reports.message() => match report {
                    Ok(Some(report)) => {
                        let (id, generation) = (report.proxy_id.clone(), report.generation);
                        match &proxy_id {
                            Some(_) => self.core.proxies.reported(report),
                            None => self.core.proxies.opened(report),
                        }
                        if let Some((_, at)) = unacknowledged.take_if(|(sent, _)| generation >= *sent) {
                            self.core.proxies.acknowledged(&id, at.elapsed());
                        }
                        proxy_id = Some(id);
                    }
                    Ok(None) | Err(_) => break,
                },
                changed = tables.changed() => {
                    let table = (**tables.borrow_and_update()).clone();
                    unacknowledged = Some((table.generation, Instant::now()));
                    if changed.is_err() || self.sender.send(Ok(table)).await.is_err() {
                        break;
                    }
                }
                _ = renewal.tick() => {
                    let table = (**tables.borrow()).clone();
                    let holds = table.capabilities.iter().any(|state| state.hold);
                    if holds && self.sender.try_send(Ok(table)).is_err() {
                        break;
                    }
                }
                () = self.term.over.cancelled() => {
                    let gone = Status::unavailable("this control does not lead any more");
                    let _proxy_gone = self.sender.try_send(Err(gone)).is_err();
                    break;
                }
                () = stop.cancelled() => break,
            }
        }
        if let Some(id) = proxy_id {
            self.core.proxies.closed(&id);
        }
    }
}
