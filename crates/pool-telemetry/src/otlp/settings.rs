//! Settings of the exporter, by code or by OpenTelemetry's variables.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use ureq::http::{HeaderName, HeaderValue, Uri};

use super::OtlpExporter;
use crate::Registry;

/// Where collectors listen.
const DEFAULT_URL: &str = "http://localhost:4318/v1/metrics";

/// Settings of an [`OtlpExporter`].
#[derive(Debug)]
#[must_use = "an exporter exports once it is started"]
pub struct OtlpBuilder {
    pub(super) registry: Registry,
    pub(super) url: String,
    pub(super) headers: Vec<(String, SecretString)>,
    pub(super) resource: Vec<(String, String)>,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
}

impl OtlpBuilder {
    pub(super) fn new(registry: Registry) -> Self {
        Self {
            registry,
            url: DEFAULT_URL.to_owned(),
            headers: Vec::new(),
            resource: vec![("service.name".to_owned(), "unknown_service".to_owned())],
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(10),
        }
    }

    /// Where the collector takes metrics. Defaults to `http://localhost:4318/v1/metrics`. `https`
    /// needs the feature `opentelemetry-tls`.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.url = url.into();
        self
    }

    /// Sends a header with each export, such as `authorization`. Its value is not printed.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<SecretString>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// An attribute of the service. `service.name` defaults to `unknown_service`.
    pub fn resource(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let name = name.into();
        self.resource.retain(|(other, _)| *other != name);
        self.resource.push((name, value.into()));
        self
    }

    /// How often it exports. Defaults to a minute, as OpenTelemetry does.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// How long one export may take. Defaults to 10 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Takes what OpenTelemetry's variables say: `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT` or
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_EXPORTER_OTLP_METRICS_HEADERS` or
    /// `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_EXPORTER_OTLP_METRICS_TIMEOUT` or
    /// `OTEL_EXPORTER_OTLP_TIMEOUT`, `OTEL_METRIC_EXPORT_INTERVAL` (both in milliseconds),
    /// `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME`. What is not set stays as it is.
    ///
    /// # Errors
    ///
    /// A variable that does not mean anything, by its name; its value may be secret.
    pub fn environment(self) -> Result<Self, OtlpError> {
        self.variables(|name| std::env::var(name).ok())
    }

    pub(super) fn variables(
        mut self,
        value: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, OtlpError> {
        // Empty is not set, as OpenTelemetry wants it.
        let set = |name: &'static str| {
            let value = value(name).filter(|value| !value.is_empty())?;
            Some((name, value))
        };
        let either = |own: &str| {
            let of = |middle: &str| match own {
                "HEADERS" if middle.is_empty() => "OTEL_EXPORTER_OTLP_HEADERS",
                "HEADERS" => "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
                _ if middle.is_empty() => "OTEL_EXPORTER_OTLP_TIMEOUT",
                _ => "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT",
            };
            set(of("METRICS")).or_else(|| set(of("")))
        };
        if let Some((_, url)) = set("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT") {
            self.url = url;
        } else if let Some((_, base)) = set("OTEL_EXPORTER_OTLP_ENDPOINT") {
            self.url = format!("{}/v1/metrics", base.trim_end_matches('/'));
        }
        if let Some((variable, headers)) = either("HEADERS") {
            for (name, value) in pairs(variable, &headers)? {
                self = self.header(name, value);
            }
        }
        if let Some((variable, millis)) = either("TIMEOUT") {
            self.timeout = milliseconds(variable, &millis)?;
        }
        if let Some((variable, millis)) = set("OTEL_METRIC_EXPORT_INTERVAL") {
            self.interval = milliseconds(variable, &millis)?;
        }
        if let Some((variable, attributes)) = set("OTEL_RESOURCE_ATTRIBUTES") {
            for (name, value) in pairs(variable, &attributes)? {
                self = self.resource(name, value);
            }
        }
        if let Some((_, name)) = set("OTEL_SERVICE_NAME") {
            self = self.resource("service.name", name);
        }
        Ok(self)
    }

    /// Exports at once and then once in each interval, from a thread of its own.
    ///
    /// # Errors
    ///
    /// An URL or a header that cannot be sent, an interval or a timeout of zero, or a system without
    /// another thread. A collector that does not answer is no error: it is asked again, and
    /// [`status`](OtlpExporter::status) tells.
    pub fn start(self) -> Result<OtlpExporter, OtlpError> {
        let uri: Uri = self.url.parse().map_err(|_| OtlpError::Url)?;
        let authority = uri.authority().ok_or(OtlpError::Url)?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") if cfg!(feature = "opentelemetry-tls") => {}
            Some("https") => return Err(OtlpError::NoTls),
            _ => return Err(OtlpError::Url),
        }
        // Whoever writes a password here would read it in logs of proxies and collectors.
        if authority.as_str().contains('@') {
            return Err(OtlpError::Url);
        }
        for (name, value) in &self.headers {
            let bad = name.parse::<HeaderName>().is_err()
                || HeaderValue::from_str(value.expose_secret()).is_err();
            if bad {
                return Err(OtlpError::Header { name: name.clone() });
            }
        }
        if self.interval.is_zero() || self.timeout.is_zero() {
            return Err(OtlpError::Zero);
        }
        OtlpExporter::start(self)
    }
}

/// `a=b,c=d`, with values that are percent-encoded.
fn pairs(variable: &'static str, text: &str) -> Result<Vec<(String, String)>, OtlpError> {
    text.split(',')
        .filter(|pair| !pair.trim().is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=')?;
            let value = decoded(value.trim())?;
            Some((name.trim().to_owned(), value))
        })
        .collect::<Option<_>>()
        .ok_or(OtlpError::Variable { name: variable })
}

/// Without its percent signs; nothing when one of them stands for nothing.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &rest[2..];
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

fn milliseconds(variable: &'static str, text: &str) -> Result<Duration, OtlpError> {
    text.trim()
        .parse()
        .map(Duration::from_millis)
        .map_err(|_| OtlpError::Variable { name: variable })
}

/// An exporter could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OtlpError {
    /// The URL is none that can be exported to.
    #[error(
        "the URL of the collector has to be http://host:port/path or https, and credentials \
         belong in a header"
    )]
    Url,
    /// The URL wants TLS, which is not compiled in.
    #[error("a collector behind https needs pool-telemetry's feature `opentelemetry-tls`")]
    NoTls,
    /// A header that cannot be sent.
    #[error("the header `{name}` cannot be sent as it is")]
    #[non_exhaustive]
    Header {
        /// Its name.
        name: String,
    },
    /// A variable of the environment that cannot be read.
    #[error("{name} cannot be understood")]
    #[non_exhaustive]
    Variable {
        /// Its name.
        name: &'static str,
    },
    /// An interval or a timeout of zero.
    #[error("the interval and the timeout have to be longer than zero")]
    Zero,
    /// The system has no thread for it.
    #[error("no thread to export from")]
    Thread(#[source] std::io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(variables: &[(&str, &str)]) -> Result<OtlpBuilder, OtlpError> {
        OtlpBuilder::new(Registry::new()).variables(|name| {
            let found = variables.iter().find(|(other, _)| *other == name)?;
            Some(found.1.to_owned())
        })
    }

    #[test]
    fn variables_mean_what_opentelemetry_says() {
        let builder = from(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/"),
            (
                "OTEL_EXPORTER_OTLP_HEADERS",
                "a=b%20c, authorization = Bearer%3D",
            ),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "5000"),
            ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "2000"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "15000"),
            (
                "OTEL_RESOURCE_ATTRIBUTES",
                "service.name=one,deployment.environment=test",
            ),
            ("OTEL_SERVICE_NAME", "shop"),
        ])
        .unwrap();
        assert_eq!(builder.url, "http://collector:4318/v1/metrics");
        let headers: Vec<_> = builder
            .headers
            .iter()
            .map(|(name, value)| (&**name, value.expose_secret()))
            .collect();
        assert_eq!(headers, [("a", "b c"), ("authorization", "Bearer=")]);
        assert_eq!(builder.timeout, Duration::from_secs(2));
        assert_eq!(builder.interval, Duration::from_secs(15));
        let resource = [("deployment.environment", "test"), ("service.name", "shop")];
        let resource = resource.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(builder.resource, resource);
        assert!(!format!("{builder:?}").contains("Bearer"));

        let own = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://other:1"),
            ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://own:2/exact"),
            ("OTEL_EXPORTER_OTLP_HEADERS", ""),
        ];
        let builder = from(&own).unwrap();
        assert_eq!(builder.url, "http://own:2/exact");
        assert!(builder.headers.is_empty());
        assert_eq!(from(&[]).unwrap().url, DEFAULT_URL);
    }

    #[test]
    fn a_variable_without_meaning_is_named_and_its_value_is_not() {
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_HEADERS", "hidden"),
            ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "a=hidden%4"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "hidden"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "-1 hidden"),
            ("OTEL_RESOURCE_ATTRIBUTES", "a=%zzhidden"),
        ] {
            let error = from(&[(name, value)]).unwrap_err();
            let told = format!("{error} {error:?}");
            assert!(told.contains(name) && !told.contains("hidden"), "{told}");
        }
    }

    #[test]
    fn what_cannot_be_sent_is_refused_before_anything_is() {
        let start = |change: fn(OtlpBuilder) -> OtlpBuilder| {
            let builder = change(OtlpBuilder::new(Registry::new()));
            format!("{:?}", builder.start().unwrap_err())
        };
        for url in [
            "localhost:4318",
            "ftp://localhost/",
            "/v1/metrics",
            "http://user:hidden@localhost/",
            "",
        ] {
            let error = OtlpBuilder::new(Registry::new()).url(url).start();
            assert!(matches!(error, Err(OtlpError::Url)), "{url}");
        }
        if cfg!(not(feature = "opentelemetry-tls")) {
            assert_eq!(
                start(|one| one.url("https://collector/v1/metrics")),
                "NoTls"
            );
        }
        assert_eq!(start(|one| one.interval(Duration::ZERO)), "Zero");
        assert_eq!(start(|one| one.timeout(Duration::ZERO)), "Zero");
        let told = start(|one| one.header("authorization", "hid\nden"));
        assert_eq!(told, "Header { name: \"authorization\" }");
    }
}
