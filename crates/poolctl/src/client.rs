//! Asks the listener.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use ureq::http::Response;
use ureq::{Agent, Body};

/// The listener of one service.
pub(crate) struct Client {
    agent: Agent,
    url: String,
    token: Option<String>,
}

impl Client {
    pub(crate) fn new(url: &str, token: Option<&str>) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(10)))
            .build()
            .into();
        Self {
            agent,
            url: url.trim_end_matches('/').to_owned(),
            token: token.map(str::to_owned),
        }
    }

    pub(crate) fn pools(&self) -> Result<Value> {
        self.read("/api/pools")
    }

    pub(crate) fn explain(&self, pool: &str) -> Result<Value> {
        self.read(&format!("/api/pools/{}/explain", encode(pool)))
    }

    fn read(&self, path: &str) -> Result<Value> {
        let url = format!("{}{path}", self.url);
        let answer = self.agent.get(&url).call();
        answered(answer.with_context(|| format!("no answer from {}", self.url))?)
    }

    /// Changes a pool; the pool after it.
    pub(crate) fn change(&self, pool: &str, operation: &str, body: &Value) -> Result<Value> {
        let Some(token) = &self.token else {
            bail!("this changes a pool: give the listener's token in POOLCTL_TOKEN");
        };
        let url = format!("{}/api/pools/{}/{operation}", self.url, encode(pool));
        let request = self
            .agent
            .post(&url)
            .header("authorization", format!("Bearer {token}"));
        let answer = if body.is_null() {
            request.send_empty()
        } else {
            request.send_json(body)
        };
        answered(answer.with_context(|| format!("no answer from {}", self.url))?)
    }
}

fn answered(mut answer: Response<Body>) -> Result<Value> {
    let status = answer.status();
    let text = answer.body_mut().read_to_string()?;
    let told: Value = serde_json::from_str(&text)
        .with_context(|| format!("{status}: the answer is no JSON; is this a pools' listener?"))?;
    if status.is_success() {
        Ok(told)
    } else {
        bail!("{}", told["error"].as_str().unwrap_or("refused"))
    }
}

/// A name as one segment of a path.
fn encode(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::encode;

    #[test]
    fn a_name_is_one_segment() {
        assert_eq!(encode("shop/orders"), "shop%2Forders");
        assert_eq!(encode("größe 1"), "gr%C3%B6%C3%9Fe%201");
    }
}
