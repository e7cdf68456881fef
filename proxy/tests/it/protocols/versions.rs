//! HTTP/2 without TLS on the plain port.

use bytes::Bytes;
use http::{Request, Version};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use testkit::http::Recorder;
use tokio::net::TcpStream;

use crate::plain::Plain;

#[tokio::test]
async fn http_2_with_prior_knowledge_and_http_1_share_a_port() -> anyhow::Result<()> {
    let recorder = Recorder::start().await?;
    let plain = Plain::start(recorder.address(), "").await?;
    let stream = TcpStream::connect(plain.address()).await?;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    for number in 0..3 {
        let request = Request::post(format!("http://ficus.test/x?{number}"))
            .version(Version::HTTP_2)
            .body(Full::new(Bytes::from_static(b"hello")))?;
        let response = sender.send_request(request).await?;
        assert_eq!((response.status().as_u16(), response.version()), (200, Version::HTTP_2));
        assert_eq!(response.into_body().collect().await?.to_bytes(), "ok");
    }
    let answer = reqwest::get(format!("http://{}/x", plain.address())).await?;
    assert_eq!((answer.status().as_u16(), answer.version()), (200, Version::HTTP_11));
    let seen = recorder.take();
    assert_eq!(seen.len(), 4);
    assert_eq!(seen[0].field("host").as_deref(), Some("ficus.test"));
    assert_eq!(seen[0].body_bytes, 5);
    Ok(())
}
