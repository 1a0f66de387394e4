//! The live page in a real browser.

use std::time::{Duration, Instant};

use pool_telemetry::Registry;
use serde_json::Value;
use test_browser::{Browser, BrowserError};

use crate::support::{TOKEN, json, listen, pool};

/// The machine's browser, or `None` after saying loudly that a test is skipped.
fn browser() -> Option<Browser> {
    match Browser::start() {
        Ok(browser) => Some(browser),
        Err(BrowserError::Missing) => {
            assert_eq!(integration_tests::program("chromium", "chromium"), None);
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// The numbers that are shown as they are in the JSON.
const NUMBERS: [&str; 9] = [
    "activeConnections",
    "idleConnections",
    "connecting",
    "totalConnections",
    "min",
    "target",
    "max",
    "waitingRequests",
    "errors",
];

fn shown(browser: &mut Browser, pool: &str, field: &str) -> Value {
    let element = format!("document.querySelector('[data-pool=\"{pool}\"] [data-field={field}]')");
    browser.evaluate(&format!("{element}.textContent")).unwrap()
}

/// One story, so that one browser is enough: what is shown, what an operator does, what happens
/// when the service restarts, and what the browser thinks of it all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_shows_what_is_and_does_what_it_is_told() {
    let Some(mut browser) = browser() else { return };
    let registry = Registry::new();
    let (orders, _script) = pool("shop/orders");
    let (stock, _other) = pool("shop/stock");
    registry.register(orders.clone()).unwrap();
    registry.register(stock.clone()).unwrap();
    // Two in use, one idle; and a caller in line at the other.
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(orders.acquire_owned().await.unwrap());
    }
    held.pop();
    let mut all = Vec::new();
    for _ in 0..4 {
        all.push(stock.acquire_owned().await.unwrap());
    }
    let patient = Duration::from_secs(600);
    let waiting = {
        let stock = stock.clone();
        tokio::spawn(async move { stock.acquire_timeout(patient).await.map(drop) })
    };
    let listener = listen(&registry, "127.0.0.1:0").await;
    let address = listener.address();
    let url = format!("http://{address}/");

    let page = url.clone();
    let mut browser = tokio::task::spawn_blocking(move || {
        browser.resize(1280, 900, false).unwrap();
        browser.open(&page).unwrap();
        let waits = "[data-pool=\"shop/stock\"] [data-field=waitingRequests]";
        browser
            .until(&format!(
                "document.querySelector('{waits}')?.textContent === '1'"
            ))
            .unwrap();
        // Nothing moves now, so the same moment is any moment.
        let told = json(&format!("{page}api/pools"));
        for pool in told["pools"].as_array().unwrap() {
            let name = pool["name"].as_str().unwrap();
            for field in NUMBERS {
                let on_page = shown(&mut browser, name, field);
                assert_eq!(on_page, pool[field].to_string(), "{name}: {field}");
            }
        }
        assert_eq!(shown(&mut browser, "shop/orders", "activeConnections"), "2");
        assert_eq!(shown(&mut browser, "shop/orders", "idleConnections"), "1");
        assert_eq!(shown(&mut browser, "shop/stock", "state"), "exhausted");
        assert_eq!(
            browser
                .evaluate("document.querySelectorAll('.uplot').length")
                .unwrap(),
            12
        );

        // The operator, by keyboard alone: the token, then new limits.
        browser
            .evaluate("document.getElementById('token').focus()")
            .unwrap();
        for letter in TOKEN.chars() {
            browser.press(&letter.to_string()).unwrap();
        }
        browser.press("Enter").unwrap();
        browser
            .until("!document.querySelector('[data-pool=\"shop/orders\"] .operations').hidden")
            .unwrap();
        let form = "document.querySelector('[data-pool=\"shop/orders\"] [data-operation=resize]')";
        browser
            .evaluate(&format!(
                "document.querySelectorAll('details').forEach(one => one.open = true); \
                 {form}.elements.min.focus(); {form}.elements.min.value = 2; \
                 {form}.elements.max.value = 9; {form}.querySelector('button').focus()"
            ))
            .unwrap();
        let began = Instant::now();
        browser.press("Enter").unwrap();
        let max = "[data-pool=\"shop/orders\"] [data-field=max]";
        browser
            .until(&format!(
                "document.querySelector('{max}').textContent === '9'"
            ))
            .unwrap();
        eprintln!("the resize was shown after {:?}", began.elapsed());
        let told = "[...document.querySelectorAll('#events li')].some(one => \
                    one.textContent.includes('resized to 2..=9'))";
        browser.until(told).unwrap();
        assert_eq!(browser.errors().unwrap(), Vec::<String>::new());
        let own = |address: &String| address.starts_with(&page) || address.starts_with("data:");
        let away: Vec<_> = browser
            .requests()
            .unwrap()
            .into_iter()
            .filter(|one| !own(one))
            .collect();
        assert_eq!(away, Vec::<String>::new());
        browser
    })
    .await
    .unwrap();
    assert_eq!((orders.limits().min(), orders.limits().max()), (2, 9));

    // The service restarts; the page finds it again.
    listener.stop().await;
    let (mut browser, lost) = tokio::task::spawn_blocking(move || {
        let lost = browser.until("document.getElementById('link').dataset.state === 'lost'");
        (browser, lost)
    })
    .await
    .unwrap();
    lost.unwrap();
    let again = listen(&registry, &address.to_string()).await;
    orders.set_limits(2, 7).unwrap();
    tokio::task::spawn_blocking(move || {
        browser
            .until("document.getElementById('link').dataset.state === 'live'")
            .unwrap();
        let max = "[data-pool=\"shop/orders\"] [data-field=max]";
        browser
            .until(&format!(
                "document.querySelector('{max}').textContent === '7'"
            ))
            .unwrap();

        // A phone, in the dark: nothing sticks out, and the colours are others.
        let ground = "getComputedStyle(document.body).backgroundColor";
        browser.prefer_dark(false).unwrap();
        let light = browser.evaluate(ground).unwrap();
        browser.prefer_dark(true).unwrap();
        assert_ne!(browser.evaluate(ground).unwrap(), light);
        browser.resize(360, 740, true).unwrap();
        let fits = "document.documentElement.scrollWidth <= 360";
        browser.until(fits).unwrap();
        // The first stop of a keyboard leads past the head.
        browser
            .evaluate("document.activeElement.blur(); scrollTo(0, 0)")
            .unwrap();
        browser.open(&url).unwrap();
        browser.press("Tab").unwrap();
        browser
            .until("document.activeElement.className === 'skip'")
            .unwrap();
    })
    .await
    .unwrap();
    waiting.abort();
    again.stop().await;
}
