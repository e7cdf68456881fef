//! What URLs mean, without a server.

use std::path::Path;

use super::*;
use crate::Settings;

fn settings(url: &str) -> Settings {
    url.parse().expect("a URL that can be used")
}

fn problem(url: &str) -> String {
    url.parse::<Settings>().expect_err("a URL that cannot be used").to_string()
}

#[test]
fn the_parameters_about_tls_are_taken_out_and_the_rest_is_left() {
    let url = "postgres://u:p%40%3F@db.example:5433/d?sslmode=verify-full&application_name=x\
        &sslrootcert=/etc/my%20ca.pem&sslcert=c.pem&sslkey=k.pem&channel_binding=require";
    let settings = settings(url);
    let tls = settings.tls();
    assert_eq!(tls.mode, SslMode::VerifyFull);
    assert_eq!(tls.root, Some(Root::File("/etc/my ca.pem".into())));
    let identity = tls.identity.as_ref().expect("both are given");
    assert_eq!(
        (identity.certificate.as_path(), identity.key.as_path()),
        (Path::new("c.pem"), Path::new("k.pem"))
    );
    let config = settings.config();
    assert_eq!(config.get_password(), Some(&b"p@?"[..]));
    assert_eq!(config.get_application_name(), Some("x"));
    assert_eq!(config.get_ssl_mode(), config::SslMode::Require);
    assert_eq!(config.get_channel_binding(), ChannelBinding::Require);
    assert_eq!(
        without_tls_parameters(url).expect("a URL"),
        "postgres://u:p%40%3F@db.example:5433/d?application_name=x&channel_binding=require"
    );
    assert_eq!(
        without_tls_parameters("postgres://h/d?sslmode=disable").expect("a URL"),
        "postgres://h/d"
    );
}

#[test]
fn a_url_without_a_word_about_tls_prefers_it() {
    for url in ["postgres://u@h/d", "postgres://h", "host=h user=u", "postgres://u@h/d?sslmode="] {
        assert_eq!(
            settings(url).tls(),
            &TlsSettings { mode: SslMode::Prefer, root: None, identity: None }
        );
    }
    assert_eq!(settings("host=h user=u sslmode=require").tls().mode, SslMode::Require);
    assert_eq!(settings("postgres://h?sslrootcert=system").tls().mode, SslMode::VerifyFull);
}

#[test]
fn what_looks_safer_than_it_is_is_refused_with_the_way_out() {
    for (query, remedy) in [
        ("sslmode=verify-full", "sslrootcert"),
        ("sslmode=verify-ca", "sslrootcert=system"),
        ("sslrootcert=/ca.pem", "write sslmode=verify-full"),
        ("sslmode=prefer&sslrootcert=system", "verify-full"),
        ("sslmode=verify-ca&sslrootcert=system", "needs sslmode=verify-full"),
        ("sslmode=disable&channel_binding=require", "write sslmode=require"),
        ("sslmode=allow", "must be disable, prefer, require, verify-ca or verify-full"),
        ("sslcert=/c.pem", "sslcert needs sslkey"),
        ("sslkey=/k.pem", "sslkey needs sslcert"),
        ("sslnegotiation=direct", "needs sslmode=require"),
        ("ssl_mode=require", "\"ssl_mode\" is not known"),
        ("connect_timeout=soon", "\"connect_timeout\""),
    ] {
        let problem = problem(&format!("postgres://u@h/d?{query}"));
        assert!(problem.contains(remedy), "{query}: {problem}");
    }
}

#[test]
fn no_part_of_a_password_gets_into_an_error_or_the_debug_form() {
    for url in [
        "postgres://u:hunter2?x=1@h:nowhere/d",
        "postgres://u:a@hunter2?hunter2=1@h/d",
        "host=h password=hunter2 hunter2=x",
        "postgres:/u:hunter2@h/d",
    ] {
        assert!(!problem(url).contains("hunter2"), "{}", problem(url));
    }
    let debug = format!("{:?}", settings("postgres://u:hunter2@h/d?sslmode=require"));
    assert!(debug.contains("Require") && !debug.contains("hunter2"), "{debug}");
}

#[test]
fn an_address_without_a_name_is_its_own_name() {
    let settings = settings("postgres://u@/d?hostaddr=127.0.0.1");
    assert_eq!(settings.config().get_hosts(), [config::Host::Tcp("127.0.0.1".into())]);
}
