//! The replication connection over TLS.

use cdc::wire::{ReplicationClient, StartOptions, WireError};
use pg::Lsn;
use pg_connect::{Settings, TlsError};
use rcgen::{CertificateParams, KeyPair};
use testkit::Cluster;

use crate::source::{PUBLICATION, Source, inserted_ids, read_to_end};

/// The name in the server's certificate; no resolver knows it, URLs give the address beside it.
const HOST: &str = "db.ficus.test";

const HBA: &str = "\
local all all trust
host all by_scram 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
";

async fn server() -> anyhow::Result<Cluster> {
    let cluster = Cluster::start().await?;
    let role = "CREATE ROLE by_scram LOGIN REPLICATION PASSWORD 'secret'";
    cluster.execute("postgres", role).await?;
    std::fs::write(cluster.data_dir().join("pg_hba.conf"), HBA)?;
    cluster.restart().await?;
    Ok(cluster)
}

/// Gives the server a certificate; answers the parameter with which to trust it.
async fn encrypt(cluster: &Cluster) -> anyhow::Result<String> {
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new([HOST.to_owned()])?.self_signed(&key)?.pem();
    cluster.encrypt(&certificate, &key.serialize_pem(), &certificate).await?;
    let root = cluster.socket_dir().join("root.pem");
    std::fs::write(&root, certificate)?;
    Ok(format!("sslrootcert={}", root.display()))
}

fn url(cluster: &Cluster, host: &str, query: &str) -> String {
    let port = cluster.port();
    format!("postgres://by_scram:secret@{host}:{port}/postgres?hostaddr=127.0.0.1&{query}")
}

#[tokio::test]
async fn a_stream_runs_over_a_verified_and_bound_connection() -> anyhow::Result<()> {
    let cluster = server().await?;
    let root = encrypt(&cluster).await?;
    let source = Source::create_on(&cluster, "wire_tls").await?;
    let strict = format!("sslmode=verify-full&channel_binding=require&dbname=wire_tls&{root}");
    let settings: Settings = url(&cluster, HOST, &strict).parse()?;
    let mut client = ReplicationClient::connect(&settings).await?;
    client.create_slot("wire_tls", false).await?;
    let options = StartOptions::new([PUBLICATION]);
    let mut stream = client.start("wire_tls", Lsn::ZERO, options).await?;
    source
        .sql
        .batch_execute(
            "INSERT INTO ticket SELECT n, repeat('x', 500) FROM generate_series(1, 20000) n",
        )
        .await?;
    source.mark_end().await?;
    let messages = read_to_end(&mut stream).await?;
    assert_eq!(inserted_ids(&messages).len(), 20_000);
    let is_encrypted = "SELECT bool_and(ssl) FROM pg_stat_replication JOIN pg_stat_ssl USING (pid)";
    assert_eq!(source.value(is_encrypted).await?, "true");
    Ok(stream.close().await?)
}

#[tokio::test]
async fn a_connection_is_never_less_safe_than_demanded() -> anyhow::Result<()> {
    let cluster = server().await?;
    let refusal = async |host: &str, query: &str| -> anyhow::Result<TlsError> {
        let settings: Settings = url(&cluster, host, query).parse()?;
        let error = ReplicationClient::connect(&settings).await.expect_err(query);
        if let WireError::Tls(error) = error { Ok(error) } else { Err(error.into()) }
    };
    assert_eq!(refusal(HOST, "sslmode=require").await?, TlsError::NotOffered);
    assert_eq!(refusal(HOST, "channel_binding=require").await?, TlsError::no_binding());
    ReplicationClient::connect(&url(&cluster, HOST, "sslmode=prefer").parse()?).await?;

    let root = encrypt(&cluster).await?;
    let unasked = format!("sslmode=require&channel_binding=require&user=postgres&{root}");
    assert_eq!(refusal(HOST, &unasked).await?, TlsError::no_binding());
    let error = refusal("other.ficus.test", &format!("sslmode=verify-full&{root}")).await?;
    assert!(matches!(&error, TlsError::Certificate { .. }), "{error}");
    assert!(error.to_string().contains(HOST), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_unix_socket_is_not_encrypted_and_needs_no_name() -> anyhow::Result<()> {
    let cluster = server().await?;
    let root = encrypt(&cluster).await?;
    let directory = cluster.socket_dir().display().to_string().replace('/', "%2F");
    let url = format!(
        "postgres://postgres@{directory}:{}/postgres?sslmode=verify-full&{root}",
        cluster.port()
    );
    let mut client = ReplicationClient::connect(&url.parse()?).await?;
    assert_eq!(client.identify_system().await?.dbname, "postgres");
    Ok(())
}
