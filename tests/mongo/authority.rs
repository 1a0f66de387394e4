//! A private authority and the certificates it signs.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::NamedTempFile;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// An authority, and a file with its certificate that is gone with it.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: NamedTempFile,
}

/// How long a certificate is good.
#[derive(Clone, Copy)]
pub(crate) enum Validity {
    /// Longer than any test.
    Lasting,
    /// It ended years ago.
    Expired,
    /// It ends in so much time: a server does not take one that has expired already.
    Ending(Duration),
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let file = tempfile::Builder::new().suffix(".pem").tempfile().unwrap();
        std::fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
        let issuer = Issuer::new(params, key);
        Self { issuer, file }
    }

    /// Where its certificate is.
    pub(crate) fn file(&self) -> &Path {
        self.file.path()
    }

    /// A configuration that shows a certificate for a host.
    pub(crate) fn server_config(&self, host: &str, validity: Validity) -> ServerConfig {
        let (certificate, key) = self.issue(host, validity);
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap()
    }

    /// Writes a certificate for a host and its key into one file, as `mongod` reads them.
    pub(crate) fn write(&self, host: &str, validity: Validity, file: &Path) {
        let (certificate, key) = self.issue(host, validity);
        std::fs::write(file, certificate.pem() + &key.serialize_pem()).unwrap();
    }

    fn issue(&self, host: &str, validity: Validity) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        match validity {
            Validity::Lasting => {}
            Validity::Expired => {
                params.not_before = rcgen::date_time_ymd(2020, 1, 1);
                params.not_after = rcgen::date_time_ymd(2021, 1, 1);
            }
            Validity::Ending(after) => {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                params.not_before = rcgen::date_time_ymd(2020, 1, 1);
                params.not_after = rcgen::date_time_ymd(1970, 1, 1) + (now.unwrap() + after);
            }
        }
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate, key)
    }
}
