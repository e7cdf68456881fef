//! Which certificates are accepted, on either side.

use pg_connect::{ConnectError, Settings};

use crate::{
    authority::{Authority, self_signed},
    server::{HOST, Server, connect, is_encrypted, refusal},
};

#[tokio::test]
async fn each_mode_insists_on_what_its_name_says_and_refuses_with_the_remedy() -> anyhow::Result<()>
{
    let server = Server::shared_encrypted().await?;
    let stranger = server.stranger()?;
    let unknown = stranger.file("unknown.pem", &stranger.pem)?;
    let unknown = format!("sslrootcert={}", unknown.display());
    let port = server.cluster.port();
    let by_address = format!(
        "postgres://postgres@127.0.0.1:{port}/postgres?sslrootcert={}",
        server.root.display()
    );

    assert!(is_encrypted(&server.url_with_root("postgres", "sslmode=verify-full")).await?);
    let wrong_name = refusal(&format!("{by_address}&sslmode=verify-full")).await?;
    assert!(
        wrong_name.contains(&format!("it is for {HOST}, the URL says 127.0.0.1"))
            && wrong_name.contains("hostaddr="),
        "{wrong_name}"
    );
    let wrong_root =
        refusal(&server.url("postgres", &format!("{unknown}&sslmode=verify-full"))).await?;
    assert!(wrong_root.contains("name with sslrootcert the file"), "{wrong_root}");
    let namesake = server
        .authority
        .file("namesake.pem", &Authority::new("ours", server.cluster.socket_dir())?.pem)?;
    let namesake = format!("sslmode=verify-full&sslrootcert={}", namesake.display());
    let wrong_key = refusal(&server.url("postgres", &namesake)).await?;
    assert!(wrong_key.contains("of the same name"), "{wrong_key}");
    let public = refusal(&server.url("postgres", "sslrootcert=system")).await?;
    assert!(public.contains("sslrootcert"), "{public}");

    assert!(is_encrypted(&format!("{by_address}&sslmode=verify-ca")).await?);
    let wrong_root =
        refusal(&server.url("postgres", &format!("{unknown}&sslmode=verify-ca"))).await?;
    assert!(wrong_root.contains("nobody in sslrootcert"), "{wrong_root}");

    assert!(is_encrypted(&server.url("postgres", "sslmode=require")).await?);
    let as_libpq = refusal(&server.url("postgres", &format!("{unknown}&sslmode=require"))).await?;
    assert!(as_libpq.contains("nobody in sslrootcert"), "{as_libpq}");

    assert!(is_encrypted(&server.url("postgres", "sslmode=prefer")).await?);
    assert!(!is_encrypted(&server.url("postgres", "sslmode=disable")).await?);
    Ok(())
}

#[tokio::test]
async fn a_self_signed_certificate_is_trusted_when_it_is_named_itself() -> anyhow::Result<()> {
    let server = Server::encrypted().await?;
    let algorithm = &rcgen::PKCS_ECDSA_P256_SHA256;
    let pair = self_signed(HOST, algorithm)?;
    server.cluster.encrypt(&pair.certificate, &pair.key, &server.authority.pem).await?;
    let root = |pem: &str| -> anyhow::Result<String> {
        let root = server.authority.file("self.pem", pem)?;
        Ok(server.url("postgres", &format!("sslmode=verify-full&sslrootcert={}", root.display())))
    };
    assert!(is_encrypted(&root(&pair.certificate)?).await?);
    let other = self_signed(HOST, algorithm)?;
    assert!(refusal(&root(&other.certificate)?).await?.contains("is not accepted"));

    let elsewhere = self_signed("other.ficus.test", algorithm)?;
    server.cluster.encrypt(&elsewhere.certificate, &elsewhere.key, &server.authority.pem).await?;
    assert!(refusal(&root(&elsewhere.certificate)?).await?.contains("other.ficus.test"));
    Ok(())
}

#[tokio::test]
async fn a_client_certificate_logs_in_where_the_server_asks_for_one() -> anyhow::Result<()> {
    let server = Server::shared_encrypted().await?;
    let url = |authority: &Authority| -> anyhow::Result<String> {
        let pair = authority.sign("by_certificate")?;
        let certificate = authority.file("client.pem", &pair.certificate)?;
        let key = authority.file("client.key", &pair.key)?;
        let query = format!(
            "sslmode=verify-full&sslcert={}&sslkey={}",
            certificate.display(),
            key.display()
        );
        Ok(server.url_with_root("by_certificate", &query))
    };
    assert!(is_encrypted(&url(&server.authority)?).await?);
    let strange = refusal(&url(&server.stranger()?)?).await?;
    assert!(strange.contains("ssl_ca_file"), "{strange}");
    let without = connect(&server.url_with_root("by_certificate", "sslmode=verify-full")).await;
    let Err(ConnectError::Server(error)) = without else { panic!("the server refuses it") };
    assert!(error.as_db_error().is_some(), "{error:?}");
    Ok(())
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named_with_their_parameter() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let authority = Authority::new("ours", folder.path())?;
    let (one, two) = (authority.sign("one")?, authority.sign("two")?);
    let certificate = authority.file("one.pem", &one.certificate)?.display().to_string();
    let key = authority.file("two.key", &two.key)?.display().to_string();
    let refused = async |query: &str| -> anyhow::Result<String> {
        let settings: Settings = format!("postgres://u@127.0.0.1:1/d?{query}").parse()?;
        Ok(settings.connect().await.expect_err("a file is wrong").to_string())
    };
    let missing = refused("sslmode=verify-full&sslrootcert=/nowhere/ca.pem").await?;
    assert!(missing.starts_with("sslrootcert=/nowhere/ca.pem: cannot be read"), "{missing}");
    let empty = refused(&format!("sslmode=verify-full&sslrootcert={key}")).await?;
    assert!(empty.contains("holds no certificate in PEM form"), "{empty}");
    let swapped = refused(&format!("sslcert={certificate}&sslkey={certificate}")).await?;
    assert!(swapped.contains("holds no private key"), "{swapped}");
    let foreign = refused(&format!("sslcert={certificate}&sslkey={key}")).await?;
    assert!(foreign.contains("does not belong to the certificate of sslcert"), "{foreign}");
    Ok(())
}
