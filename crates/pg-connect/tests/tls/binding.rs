//! Logins that are bound to the encrypted channel.

use pg_connect::ConnectError;
use testkit::tokio_postgres::error::SqlState;

use crate::server::{HOST, Server, connect, is_encrypted, refusal};

#[tokio::test]
async fn a_login_with_a_password_is_bound_to_the_channel() -> anyhow::Result<()> {
    let server = Server::shared_encrypted().await?;
    for binding in ["require", "prefer", "disable"] {
        let query = format!("sslmode=verify-full&channel_binding={binding}");
        assert!(is_encrypted(&server.url_with_root("by_scram:secret", &query)).await?, "{binding}");
    }
    let wrong = server.url_with_root("by_scram:wrong", "sslmode=require&channel_binding=require");
    let Err(ConnectError::Server(error)) = connect(&wrong).await else {
        panic!("a wrong password")
    };
    assert_eq!(error.code(), Some(&SqlState::INVALID_PASSWORD));
    let unasked =
        refusal(&server.url("postgres", "sslmode=require&channel_binding=require")).await?;
    assert!(unasked.contains("scram-sha-256 in pg_hba.conf"), "{unasked}");
    Ok(())
}

#[tokio::test]
async fn the_hash_that_binds_is_the_one_the_server_takes() -> anyhow::Result<()> {
    let server = Server::encrypted().await?;
    let required = server.url("by_scram:secret", "sslmode=require&channel_binding=require");
    let algorithm = &rcgen::PKCS_ECDSA_P384_SHA384;
    let pair = crate::authority::self_signed(HOST, algorithm)?;
    server.cluster.encrypt(&pair.certificate, &pair.key, &server.authority.pem).await?;
    assert!(is_encrypted(&required).await?, "signed with SHA-384");
    Ok(())
}

#[tokio::test]
async fn a_login_that_must_be_bound_is_refused_without_tls() -> anyhow::Result<()> {
    let server = Server::shared_plain().await?;
    let url = server.url("by_scram:secret", "channel_binding=require");
    assert!(refusal(&url).await?.contains("it needs TLS"));
    assert!(!is_encrypted(&server.url("by_scram:secret", "channel_binding=prefer")).await?);
    Ok(())
}
