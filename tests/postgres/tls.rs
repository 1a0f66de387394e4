//! `sslmode=verify-full` with a private authority: the right certificate, and each wrong one; and what
//! the other modes take.

use std::time::Duration;

use pool_core::AcquireErrorKind;
use pool_postgres::PostgresPool;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use test_servers::Server;

use crate::own_server;

/// An authority and its certificate.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// A certificate for a host, valid or expired, and its key.
    fn issue(&self, host: &str, expired: bool) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        if expired {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        }
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

/// Has the server use a certificate from now on.
async fn install(server: &Server, (certificate, key): (String, String)) {
    // Written by the server itself, so that it owns them; the data folder is its working folder.
    own_server::execute(
        server,
        &format!(
            "do $do$ begin
                 create temp table pem (line text);
                 insert into pem select unnest(string_to_array($pem${certificate}$pem$, e'\\n'));
                 copy pem to program 'umask 077; cat > tls.crt';
                 truncate pem;
                 insert into pem select unnest(string_to_array($pem${key}$pem$, e'\\n'));
                 copy pem to program 'umask 077; cat > tls.key';
             end $do$"
        ),
    )
    .await;
    for sql in [
        "alter system set ssl_cert_file = 'tls.crt'",
        "alter system set ssl_key_file = 'tls.key'",
        "alter system set ssl = on",
        "select pg_reload_conf()",
    ] {
        own_server::execute(server, sql).await;
    }
}

/// What the pool says when it connects to `localhost` and trusts `authority` alone: whether the
/// connection is encrypted.
async fn connect(server: &Server, mode: PgSslMode, authority: &Authority) -> Result<bool, String> {
    let options: PgConnectOptions = server.url().parse().unwrap();
    let options = options
        .host("localhost")
        .ssl_mode(mode)
        .ssl_root_cert_from_pem(authority.pem.clone().into_bytes());
    let pool = PostgresPool::from_options(options)
        .limits(0, 1)
        .acquire_timeout(Duration::from_secs(10))
        .build()
        .unwrap();
    let sql = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    match sqlx::query_scalar(sql).fetch_one(&pool).await {
        Ok(encrypted) => Ok(encrypted),
        Err(error) => {
            let acquire = PostgresPool::acquire_error(&error).expect("no connection came about");
            assert_eq!(
                acquire.kind(),
                AcquireErrorKind::Connect,
                "it fails at once: {acquire}"
            );
            Err(acquire.to_string())
        }
    }
}

/// Waits until the server uses what was installed: a reload takes a moment.
async fn becomes(
    server: &Server,
    mode: PgSslMode,
    authority: &Authority,
    wanted: Result<bool, &str>,
) {
    for _ in 0..50 {
        let seen = connect(server, mode, authority).await;
        match (&seen, wanted) {
            (Ok(encrypted), Ok(wanted)) if *encrypted == wanted => return,
            (Err(error), Err(wanted)) if error.contains(wanted) => return,
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    let seen = connect(server, mode, authority).await;
    panic!("{mode:?}: {seen:?}, not {wanted:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verify_full_takes_the_right_certificate_and_names_what_is_wrong_with_others() {
    let Some(server) = own_server::start().await else {
        return;
    };
    use PgSslMode::VerifyFull;
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    becomes(&server, VerifyFull, &ours, Err("does not support TLS")).await;
    install(&server, ours.issue("localhost", false)).await;
    becomes(&server, VerifyFull, &ours, Ok(true)).await;
    becomes(&server, VerifyFull, &theirs, Err("UnknownIssuer")).await;
    install(&server, ours.issue("db.example", false)).await;
    becomes(&server, VerifyFull, &ours, Err("not valid for name")).await;
    install(&server, ours.issue("localhost", true)).await;
    becomes(&server, VerifyFull, &ours, Err("expired")).await;
}

/// Before and after the server has a certificate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_mode_takes_what_it_says_it_takes() {
    use PgSslMode::{Disable, Prefer, Require, VerifyCa, VerifyFull};
    let Some(server) = own_server::start().await else {
        return;
    };
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let no_tls = Err("does not support TLS");
    for (mode, wanted) in [
        (Disable, Ok(false)),
        (Prefer, Ok(false)),
        (Require, no_tls),
        (VerifyCa, no_tls),
        (VerifyFull, no_tls),
    ] {
        becomes(&server, mode, &ours, wanted).await;
    }
    install(&server, ours.issue("localhost", false)).await;
    becomes(&server, VerifyFull, &ours, Ok(true)).await;
    let unknown = Err("UnknownIssuer");
    for (mode, trusted, untrusted) in [
        (Disable, Ok(false), Ok(false)),
        (Prefer, Ok(true), Ok(true)),
        (Require, Ok(true), Ok(true)),
        (VerifyCa, Ok(true), unknown),
        (VerifyFull, Ok(true), unknown),
    ] {
        becomes(&server, mode, &ours, trusted).await;
        becomes(&server, mode, &theirs, untrusted).await;
    }
    install(&server, ours.issue("db.example", false)).await;
    becomes(&server, VerifyFull, &ours, Err("not valid for name")).await;
    becomes(&server, VerifyCa, &ours, Ok(true)).await;
    becomes(&server, VerifyCa, &theirs, unknown).await;
}
