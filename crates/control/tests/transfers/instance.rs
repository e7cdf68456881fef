//! A running control in a runtime of its own, so that it can be killed with all its tasks; and the
//! requests an operator makes.

use std::{net::SocketAddr, sync::Arc};

use control::{Failpoint, Options, run_with_failpoint};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use testkit::wait_until;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::{
    fake_proxy::FakeProxy,
    world::{WITHIN, World, free_address},
};

pub(crate) struct Instance {
    runtime: Option<Runtime>,
    pub(crate) http: SocketAddr,
    pub(crate) grpc: SocketAddr,
    capability: String,
    digest: String,
    client: Client,
}

impl Instance {
    /// Starts one that leads, unless another does.
    pub(crate) fn launch(world: &World, failpoint: Option<Failpoint>) -> Self {
        let (http, grpc) = (free_address(), free_address());
        let config = world.config(http, grpc);
        let digest = config.digest.clone();
        let runtime = Runtime::new().unwrap();
        runtime.spawn(async move {
            run_with_failpoint(Options { config }, failpoint, CancellationToken::new())
                .await
                .unwrap();
        });
        Self {
            runtime: Some(runtime),
            http,
            grpc,
            capability: world.capability.clone(),
            digest,
            client: Client::new(),
        }
    }

    /// Starts one and waits until it leads.
    pub(crate) async fn leader(world: &World, failpoint: Option<Failpoint>) -> Self {
        let instance = Self::launch(world, failpoint);
        instance.wait_to_lead().await;
        instance
    }

    pub(crate) async fn wait_to_lead(&self) {
        wait_until(WITHIN, || async {
            let Ok(status) = self.try_status().await else { return Ok(None) };
            Ok((status["leader"] == true).then_some(()))
        })
        .await
        .unwrap();
    }

    pub(crate) fn proxy(&self, id: &str) -> FakeProxy {
        FakeProxy::start(self.grpc, id, &self.digest)
    }

    /// As `kill -9`: nothing is finished, nothing is said.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    async fn try_status(&self) -> anyhow::Result<Value> {
        let url = format!("http://{}/api/v1/status", self.http);
        Ok(self.client.get(url).send().await?.json().await?)
    }

    pub(crate) async fn status(&self) -> Value {
        self.try_status().await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.client.get(format!("http://{}{path}", self.http)).send().await.unwrap()
    }

    /// The capability's part of the status.
    pub(crate) async fn capability(&self) -> Value {
        self.status().await["capabilities"][0].clone()
    }

    pub(crate) async fn phase(&self) -> Value {
        self.capability().await["phase"].clone()
    }

    pub(crate) async fn post(&self, verb: &str, body: &Value) -> Response {
        let url = format!("http://{}/api/v1/capabilities/{}/{verb}", self.http, self.capability);
        let request = self.client.post(url).header("x-ficus-actor", "tester").json(body);
        request.send().await.unwrap()
    }

    /// A command that must succeed; the lines of its answer.
    pub(crate) async fn command(&self, verb: &str, body: &Value) -> Vec<Value> {
        let response = self.post(verb, body).await;
        let (status, text) = (response.status(), response.text().await.unwrap());
        assert_eq!(status, StatusCode::OK, "{verb}: {text}");
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Started, copied, compared, with a connected proxy: ready for a cutover.
    pub(crate) async fn make_ready(&self) -> Arc<FakeProxy> {
        self.command("start", &json!({})).await;
        let last = self.command("verify", &json!({})).await.pop().unwrap();
        assert_eq!((&last["done"], &last["differences"]), (&json!(true), &json!(0)));
        let proxy = Arc::new(self.proxy("p1"));
        self.wait_for_proxies(1).await;
        proxy
    }

    /// Waits until so many proxies have the present generation.
    pub(crate) async fn wait_for_proxies(&self, count: usize) {
        wait_until(WITHIN, || async {
            let status = self.status().await;
            let current = |proxy: &&Value| {
                proxy["connected"] == true && proxy["generation"] == status["generation"]
            };
            let found = status["proxies"].as_array().unwrap().iter().filter(current).count();
            Ok((found == count).then_some(()))
        })
        .await
        .unwrap();
    }

    /// Runs a transfer; its last line.
    pub(crate) async fn transfer(&self, verb: &str) -> Value {
        self.command(verb, &json!({})).await.pop().unwrap()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.end();
    }
}
