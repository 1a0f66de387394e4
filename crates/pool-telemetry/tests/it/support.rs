//! A pool, a listener over it, and a client.

use std::time::Duration;

use pool_core::Pool;
use pool_telemetry::{Listener, Registry};
use pool_testkit::{Script, ScriptedManager};
use serde_json::Value;

pub(crate) const TOKEN: &str = "a token that nobody guesses";

/// A listener with a token over one pool of the name `shop/orders`.
pub(crate) struct Stage {
    pub(crate) registry: Registry,
    pub(crate) pool: Pool<ScriptedManager>,
    pub(crate) script: Script,
    pub(crate) listener: Listener,
}

/// The path of the pool.
pub(crate) const POOL: &str = "/api/pools/shop%2Forders";

pub(crate) async fn stage() -> Stage {
    let (manager, script) = ScriptedManager::new();
    let pool = Pool::builder(manager)
        .name("shop/orders")
        .limits(0, 4)
        .acquire_timeout(Duration::from_millis(100))
        .build()
        .unwrap();
    let registry = Registry::new();
    registry.register(pool.clone()).unwrap();
    let listener = Listener::builder(registry.clone())
        .address("127.0.0.1:0")
        .token(TOKEN)
        .start()
        .await
        .unwrap();
    Stage {
        registry,
        pool,
        script,
        listener,
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: ureq::http::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

impl Stage {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.listener.address())
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[]).await
    }

    pub(crate) async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(path, None, headers).await
    }

    /// An operation, with the token.
    pub(crate) async fn post(&self, operation: &str, body: &str) -> Answer {
        let bearer = format!("Bearer {TOKEN}");
        self.post_with(operation, body, &[("authorization", &bearer)])
            .await
    }

    pub(crate) async fn post_with(
        &self,
        operation: &str,
        body: &str,
        headers: &[(&str, &str)],
    ) -> Answer {
        let path = format!("{POOL}/{operation}");
        self.send(&path, Some(body), headers).await
    }

    pub(crate) async fn send(
        &self,
        path: &str,
        body: Option<&str>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let url = self.url(path);
        let body = body.map(str::to_owned);
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        tokio::task::spawn_blocking(move || {
            let agent: ureq::Agent = ureq::Agent::config_builder()
                .http_status_as_error(false)
                .timeout_global(Some(Duration::from_secs(30)))
                .build()
                .into();
            let mut answer = match body {
                None => {
                    let mut request = agent.get(&url);
                    for (name, value) in &headers {
                        request = request.header(name, value);
                    }
                    request.call()
                }
                Some(body) => {
                    let mut request = agent.post(&url).content_type("application/json");
                    for (name, value) in &headers {
                        request = request.header(name, value);
                    }
                    request.send(&body)
                }
            }
            .unwrap();
            Answer {
                status: answer.status().as_u16(),
                headers: answer.headers().clone(),
                text: answer.body_mut().read_to_string().unwrap(),
            }
        })
        .await
        .unwrap()
    }
}
