//! A `mongod` that speaks to nobody without TLS: the right certificate and each wrong one, and SCRAM
//! over it.

use std::path::Path;
use std::time::{Duration, Instant};

use mongodb::bson::doc;
use test_servers::{Environment, MongoOptions, Server};

use crate::authority::{Authority, Validity};
use crate::support::with_password;
use crate::tls::{password_refused, refused, serves};

async fn start(certificate_key: &Path, authority: &Path) -> Server {
    let (certificate_key, authority) = (certificate_key.to_owned(), authority.to_owned());
    let started = tokio::task::spawn_blocking(move || {
        let environment = Environment::from_env().expect("a valid environment");
        MongoOptions::default().start_with_tls(&certificate_key, &authority, &environment)
    });
    started.await.unwrap().expect("a server with TLS starts")
}

/// Has the server show the certificate that is in its file now. Asked by somebody who does not
/// look at certificates, because what is shown before or after may be no good.
async fn rotate(server: &Server) {
    let url = format!(
        "{}&tlsAllowInvalidCertificates=true",
        without_authority(server.url())
    );
    let client = mongodb::Client::with_uri_str(url).await.unwrap();
    let admin = client.database("admin");
    admin
        .run_command(doc! { "rotateCertificates": 1 })
        .await
        .unwrap();
    client.shutdown().immediate(true).await;
}

fn without_authority(url: &str) -> &str {
    url.split_once("&tlsCAFile=").expect("the URL names it").0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_tls_is_used_with_the_right_certificate_and_password_alone() {
    if integration_tests::mongodb_url().is_none() {
        return;
    }
    let name = format!("own_tls_{}", std::process::id());
    let ours = Authority::new(&format!("{name}_ours"));
    let theirs = Authority::new(&format!("{name}_theirs"));
    let shown = tempfile::Builder::new().suffix(".pem").tempfile().unwrap();
    ours.write("127.0.0.1", Validity::Lasting, shown.path());
    // It is ready when it has turned away a caller without TLS.
    let server = start(shown.path(), ours.file()).await;
    serves(server.url()).await.unwrap();

    let began = Instant::now();
    password_refused(
        serves(&with_password(server.url(), "c4n4ry-p4ssw0rd")).await,
        began,
    );

    let without = without_authority(server.url());
    let url = format!("{without}&tlsCAFile={}", theirs.file().display());
    for unknown in [url.as_str(), without] {
        let began = Instant::now();
        refused(serves(unknown).await, began, "UnknownIssuer");
    }

    ours.write("elsewhere.example", Validity::Lasting, shown.path());
    rotate(&server).await;
    let began = Instant::now();
    refused(serves(server.url()).await, began, "not valid for name");

    let good_for = Duration::from_secs(6);
    let expires = Instant::now() + good_for;
    ours.write("127.0.0.1", Validity::Ending(good_for), shown.path());
    rotate(&server).await;
    // Certificates count in whole seconds.
    let expired = expires + Duration::from_millis(1_500);
    tokio::time::sleep(expired.saturating_duration_since(Instant::now())).await;
    let began = Instant::now();
    refused(serves(server.url()).await, began, "expired");

    ours.write("127.0.0.1", Validity::Lasting, shown.path());
    rotate(&server).await;
    serves(server.url()).await.unwrap();
}
