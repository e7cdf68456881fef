//! Connections without TLS: where there is none, and where it is not needed.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

use crate::server::{Server, is_encrypted, refusal};

#[tokio::test]
async fn a_server_without_tls_is_for_those_who_do_not_insist() -> anyhow::Result<()> {
    let server = Server::shared_plain().await?;
    for query in ["", "sslmode=prefer", "sslmode=disable"] {
        assert!(!is_encrypted(&server.url("postgres", query)).await?, "{query}");
    }
    for mode in ["require", "verify-ca", "verify-full"] {
        let query = format!("sslmode={mode}");
        let refused = refusal(&server.url_with_root("postgres", &query)).await?;
        assert!(refused.contains("ssl = on"), "{mode}: {refused}");
    }
    Ok(())
}

#[tokio::test]
async fn a_unix_socket_needs_no_tls_whatever_the_mode() -> anyhow::Result<()> {
    let server = Server::shared_encrypted().await?;
    let directory =
        server.cluster.socket_dir().to_str().expect("a path in text").replace('/', "%2F");
    let port = server.cluster.port();
    for mode in ["disable", "prefer", "require", "verify-full"] {
        let url = format!(
            "postgres://postgres@{directory}:{port}/postgres?sslmode={mode}{}",
            if mode == "verify-full" {
                format!("&sslrootcert={}", server.root.display())
            } else {
                String::new()
            }
        );
        assert!(!is_encrypted(&url).await?, "{mode}");
    }
    Ok(())
}

#[tokio::test]
async fn who_only_prefers_tls_is_not_turned_away_when_it_fails() -> anyhow::Result<()> {
    let server = Server::shared_plain().await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let behind = server.cluster.port();
    let broken = async move {
        // offers TLS and then speaks something else, twice; a plain connection is let through
        loop {
            let (mut socket, _) = listener.accept().await?;
            let mut first = [0; 8];
            socket.read_exact(&mut first).await?;
            if first == [0, 0, 0, 8, 4, 210, 22, 47] {
                socket.write_all(b"SHTTP/1.1 400 Bad Request\r\n\r\n").await?;
                continue;
            }
            let mut server = TcpStream::connect(("127.0.0.1", behind)).await?;
            server.write_all(&first).await?;
            copy_bidirectional(&mut socket, &mut server).await?;
            return anyhow::Ok(());
        }
    };
    let broken = tokio::spawn(broken);
    let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
    let refused = refusal(&format!("{url}?sslmode=require")).await?;
    assert!(refused.contains("TLS with the server failed"), "{refused}");
    assert!(!is_encrypted(&url).await?);
    broken.await?
}
