//! TLS with a private authority: the right certificate, and each wrong one.
//!
//! The certificates are shown by an endpoint in front of the server that takes TLS off, so that
//! any server will do. SCRAM goes through it to the real one. The server's own TLS is in
//! [`own_tls`](crate::own_tls).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mongodb::bson::doc;
use pool_core::{AcquireErrorKind, ConnectFault};
use pool_mongo::{ConnectProblem, LeaseError, MongoPool};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::authority::{Authority, Validity};
use crate::support::{Site, parts, with_password};

/// Takes TLS off in front of `server`.
async fn endpoint(config: ServerConfig, server: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (acceptor, server) = (acceptor.clone(), server.clone());
            tokio::spawn(async move {
                let mut client = acceptor.accept(socket).await.ok()?;
                let mut server = TcpStream::connect(server).await.ok()?;
                tokio::io::copy_bidirectional(&mut client, &mut server)
                    .await
                    .ok()
            });
        }
    });
    address
}

/// What a pool says that trusts the authorities in `trusted`, or those of the web.
async fn connect(
    url: &str,
    endpoint: SocketAddr,
    trusted: Option<&Authority>,
) -> Result<(), LeaseError> {
    let (user, _) = parts(url);
    let mut uri =
        format!("mongodb://{user}{endpoint}/?directConnection=true&tls=true&authSource=admin");
    if let Some(authority) = trusted {
        uri += &format!("&tlsCAFile={}", authority.file().display());
    }
    serves(&uri).await
}

/// What a pool says to its first caller.
pub(crate) async fn serves(uri: &str) -> Result<(), LeaseError> {
    let pool = MongoPool::builder(uri)
        .database("tls")
        .limits(0, 2)
        .acquire_timeout(Duration::from_secs(10))
        .build()
        .await
        .unwrap();
    let outcome = match pool.acquire().await {
        Ok(lease) => {
            lease.run_command(doc! { "ping": 1 }).await.unwrap();
            Ok(())
        }
        Err(error) => Err(error),
    };
    pool.close(Duration::from_secs(5)).await;
    outcome
}

/// The certificate is not accepted, at once and for good.
#[track_caller]
pub(crate) fn refused(outcome: Result<(), LeaseError>, began: Instant, wanted: &str) {
    let took = began.elapsed();
    let error = outcome.expect_err("the certificate must not be accepted");
    let text = error.to_string();
    assert!(
        text.contains("certificate") && text.contains(wanted),
        "{text}"
    );
    assert!(text.contains("127.0.0.1:"), "{text}");
    let cause = error.connect_error().expect("the cause is in the error");
    assert_eq!(
        (cause.problem(), cause.fault()),
        (&ConnectProblem::Tls, ConnectFault::Permanent)
    );
    let kind = error.acquire_error().map(pool_core::AcquireError::kind);
    assert_eq!(kind, Some(AcquireErrorKind::Connect));
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_right_certificate_is_accepted() {
    let Some(site) = Site::new("tls").await else {
        return;
    };
    let (_, server) = parts(&site.url);
    let ours = Authority::new(&format!("{}_ours", site.name));
    let other = Authority::new(&format!("{}_other", site.name));

    let right = endpoint(
        ours.server_config("127.0.0.1", Validity::Lasting),
        server.clone(),
    )
    .await;
    connect(&site.url, right, Some(&ours)).await.unwrap();

    let began = Instant::now();
    let unknown = connect(&site.url, right, Some(&other)).await;
    refused(unknown, began, "UnknownIssuer");
    let began = Instant::now();
    refused(
        connect(&site.url, right, None).await,
        began,
        "UnknownIssuer",
    );

    let wrong = endpoint(
        ours.server_config("elsewhere.example", Validity::Lasting),
        server.clone(),
    )
    .await;
    let began = Instant::now();
    refused(
        connect(&site.url, wrong, Some(&ours)).await,
        began,
        "not valid for name",
    );

    let expired = endpoint(ours.server_config("127.0.0.1", Validity::Expired), server).await;
    let began = Instant::now();
    refused(
        connect(&site.url, expired, Some(&ours)).await,
        began,
        "expired",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_through_tls_as_well() {
    let Some(site) = Site::new("scram").await else {
        return;
    };
    let (_, server) = parts(&site.url);
    let ours = Authority::new(&format!("{}_ours", site.name));
    let right = endpoint(ours.server_config("127.0.0.1", Validity::Lasting), server).await;
    let wrong = with_password(&site.url, "c4n4ry-p4ssw0rd");
    let began = Instant::now();
    password_refused(connect(&wrong, right, Some(&ours)).await, began);
}

/// The password is not accepted, at once and for good, and not shown.
#[track_caller]
pub(crate) fn password_refused(outcome: Result<(), LeaseError>, began: Instant) {
    let took = began.elapsed();
    let error = outcome.expect_err("the password must not be accepted");
    let cause = error.connect_error().expect("the cause is in the error");
    assert!(
        matches!(cause.problem(), ConnectProblem::Authentication { .. }),
        "{cause}"
    );
    assert!(!format!("{error} {error:?}").contains("c4n4ry"), "{error}");
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_file_that_is_not_there_is_an_error_of_the_build() {
    let uri = "mongodb://app:c4n4ry-p4ssw0rd@127.0.0.1:9/db?tls=true&tlsCAFile=/nowhere/ca.pem";
    let error = MongoPool::builder(uri).build().await.map(drop).unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(
        text.contains("cannot be built") && !text.contains("c4n4ry"),
        "{text}"
    );
    assert!(
        text.contains("/nowhere/ca.pem") || text.contains("No such file"),
        "{text}"
    );
}
