//! The live page in a real browser.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use integration_tests::prometheus::json;
use pool_core::{Pool, ServerState};
use pool_telemetry::Registry;
use pool_testkit::ScriptedManager;
use serde_json::Value;
use test_browser::{Browser, BrowserError};

use crate::support::{TOKEN, listen, pool};

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

/// What the page shows of a pool, read in one go.
fn card(browser: &mut Browser, pool: &str) -> Vec<String> {
    let element = format!("document.querySelector('[data-pool=\"{pool}\"]')");
    let fields = serde_json::to_string(&NUMBERS).unwrap();
    let all = browser
        .evaluate(&format!(
            "{fields}.map(field => {element}?.querySelector(`[data-field=${{field}}]`).textContent)"
        ))
        .unwrap();
    let all = all.as_array().unwrap().iter();
    all.map(|one| one.as_str().unwrap_or_default().to_owned())
        .collect()
}

/// The sockets below a pool as the page shows them, row by row; `null` if it shows nothing of the kind.
fn sockets(browser: &mut Browser, pool: &str) -> Value {
    let table = format!("document.querySelector('[data-pool=\"{pool}\"] table.sockets')");
    let texts = "row => [...row.cells].map(cell => cell.textContent)";
    let rows = format!("[...{table}.tBodies[0].rows].map({texts})");
    browser
        .evaluate(&format!("{table}?.checkVisibility() ? {rows} : null"))
        .unwrap()
}

/// The same of what the listener tells of that pool.
fn told_sockets(pool: &Value) -> Value {
    let servers = pool["servers"].as_array().unwrap();
    let row = |server: &Value| {
        let ready = server["ready"].as_bool().unwrap();
        let state = if ready { "ready" } else { "paused" };
        let mut row = vec![
            server["address"].as_str().unwrap().to_owned(),
            state.to_owned(),
        ];
        for number in ["open", "inUse", "connecting", "connectFailures", "cleared"] {
            row.push(server[number].as_u64().unwrap().to_string());
        }
        row
    };
    match servers.iter().map(row).collect::<Vec<_>>() {
        rows if rows.is_empty() => Value::Null,
        rows => serde_json::json!(rows),
    }
}

/// A server whose numbers all differ, from each other and from those of any other `which`.
fn server(address: &str, which: u32) -> ServerState {
    let mut server = ServerState::new(address);
    server.ready = which.is_multiple_of(2);
    server.open = 10 * which + 5;
    server.in_use = 10 * which + 4;
    server.connecting = 10 * which + 3;
    server.connect_failures = u64::from(10 * which + 2);
    server.cleared = u64::from(10 * which + 1);
    server
}

/// What the listener tells of a pool, by the same names.
fn told(page: &str, pool: &str) -> Value {
    let told = json(&format!("{page}api/pools"));
    let pools = told["pools"].as_array().unwrap().iter();
    let mut pools = pools.filter(|one| one["name"] == pool);
    pools.next().cloned().unwrap()
}

/// Whatever holds connections and waits for them, until it is dropped.
struct Load(Vec<tokio::task::JoinHandle<()>>);

impl Load {
    /// So many callers, each of which holds a connection or waits for one.
    async fn still(pool: &Pool<ScriptedManager>, callers: usize) -> Self {
        let hold = |pool: Pool<ScriptedManager>| async move {
            let held = pool.acquire_timeout(Duration::from_secs(600)).await;
            std::future::pending::<()>().await;
            drop(held);
        };
        let load = Self(
            (0..callers)
                .map(|_| tokio::spawn(hold(pool.clone())))
                .collect(),
        );
        let at_rest = || {
            let now = pool.pool_metrics();
            let served = now.active_connections + now.waiting_requests;
            served as usize == callers && now.connecting == 0 && now.closing == 0
        };
        while !at_rest() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        load
    }

    /// More callers than connections, who give up soon: something is counted all the time.
    fn restless(pool: &Pool<ScriptedManager>) -> Self {
        let again = |pool: Pool<ScriptedManager>| async move {
            loop {
                if let Ok(held) = pool.acquire_timeout(Duration::from_millis(20)).await {
                    tokio::time::sleep(Duration::from_millis(30)).await;
                    drop(held);
                }
            }
        };
        Self((0..12).map(|_| tokio::spawn(again(pool.clone()))).collect())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// Step by step another state, each of which the page comes to show number for number; then counters
/// while they run, which the page may not be ahead of, nor behind by more than two seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_follows_what_changes() {
    let Some(mut browser) = browser() else { return };
    let registry = Registry::new();
    let (pool, script) = pool("moving");
    registry.register(pool.clone()).unwrap();
    let listener = listen(&registry, "127.0.0.1:0").await;
    let page = format!("http://{}/", listener.address());
    let opened = page.clone();
    let mut browser = tokio::task::spawn_blocking(move || {
        browser.resize(1280, 900, false).unwrap();
        browser.open(&opened).unwrap();
        browser
    })
    .await
    .unwrap();
    let mut seen = BTreeSet::new();
    let mut below = BTreeSet::new();
    for (step, (callers, max, servers)) in (0..).zip([
        (1, 4, &[][..]),
        (4, 4, &["a.example:27017"]),
        (7, 4, &["a.example:27017", "b.example:27017", "[::1]:27017"]),
        (7, 6, &["b.example:27017", "c.example:27017"]),
        (2, 6, &["c.example:27017", "b.example:27017"]),
        (0, 3, &[]),
        (5, 2, &["<i>a</i>.example:27017"]),
        (3, 8, &["a.example:27017", "b.example:27017"]),
    ]) {
        let servers = (10 * step..).zip(servers);
        script.set_servers(
            servers
                .map(|(which, address)| server(address, which))
                .collect(),
        );
        pool.set_limits(1, max).unwrap();
        let load = Load::still(&pool, callers).await;
        let own = page.clone();
        let (back, shown) = tokio::task::spawn_blocking(move || {
            let own = told(&own, "moving");
            let numbers = NUMBERS.map(|field| own[field].to_string()).to_vec();
            let expected = (numbers, told_sockets(&own));
            let began = Instant::now();
            loop {
                let shown = (
                    card(&mut browser, "moving"),
                    sockets(&mut browser, "moving"),
                );
                if shown == expected {
                    break;
                }
                let late = began.elapsed() > Duration::from_secs(5);
                assert!(!late, "{callers} of {max}: {shown:?}, {expected:?}");
                std::thread::sleep(Duration::from_millis(20));
            }
            (browser, expected)
        })
        .await
        .unwrap();
        browser = back;
        seen.insert(shown.0);
        below.insert(shown.1.to_string());
        drop(load);
        while pool.pool_metrics().active_connections > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert!(seen.len() >= 7, "too little has changed: {seen:?}");
    assert_eq!(below.len(), 7, "twice none, and six others: {below:?}");

    pool.set_limits(1, 2).unwrap();
    let load = Load::restless(&pool);
    let (own, counted) = (page.clone(), "[data-pool=moving] [data-field=timeouts]");
    let (back, steps) = tokio::task::spawn_blocking(move || {
        let timeouts = || {
            told(&own, "moving")["counters"]["timeouts"]
                .as_u64()
                .unwrap()
        };
        let shown = |browser: &mut Browser| {
            let text = format!("document.querySelector('{counted}').textContent");
            let text = browser.evaluate(&text).unwrap();
            text.as_str().unwrap().parse::<u64>().unwrap()
        };
        let mut steps = BTreeSet::new();
        for _ in 0..4 {
            let least = timeouts();
            std::thread::sleep(Duration::from_secs(2));
            let shown = shown(&mut browser);
            let most = timeouts();
            assert!((least..=most).contains(&shown), "{least} {shown} {most}");
            steps.insert(shown);
        }
        (browser, steps)
    })
    .await
    .unwrap();
    browser = back;
    assert_eq!(steps.len(), 4, "the counter did not move: {steps:?}");
    drop(load);
    drop(script);
    tokio::task::spawn_blocking(move || {
        assert_eq!(browser.errors().unwrap(), Vec::<String>::new())
    })
    .await
    .unwrap();
    listener.stop().await;
}

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
    let (stock, other) = pool("shop/stock");
    // One of the five has sockets below its connections; to one server by a name that fits no phone.
    let long = "shop-shard-00-01.some-cluster.of-a-provider.example:27017";
    other.set_servers(vec![server("db.example:27017", 1), server(long, 99_999)]);
    registry.register(orders.clone()).unwrap();
    // Neither registered in the order of their names, nor told in it.
    registry.register(stock.clone()).unwrap();
    let others = ["zebra", "audit", "shop/invoices"].map(|name| pool(name).0);
    for other in &others {
        registry.register(other.clone()).unwrap();
    }
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
        let mut below = Vec::new();
        for pool in told["pools"].as_array().unwrap() {
            let name = pool["name"].as_str().unwrap();
            let on_page = sockets(&mut browser, name);
            assert_eq!(on_page, told_sockets(pool), "{name}");
            if !on_page.is_null() {
                below.push(name);
            }
            for field in NUMBERS {
                let on_page = shown(&mut browser, name, field);
                assert_eq!(on_page, pool[field].to_string(), "{name}: {field}");
            }
        }
        assert_eq!(below, ["shop/stock"]);
        let table = "document.querySelector('[data-pool=\"shop/stock\"] table.sockets')";
        let heads = format!(
            "[{table}.caption.textContent, ...[...{table}.querySelectorAll('th')]\
             .map(head => `${{head.scope}} ${{head.textContent}}`)]"
        );
        let expected = serde_json::json!([
            "Sockets, server by server",
            "col server",
            "col state",
            "col open",
            "col in use",
            "col opening",
            "col failed",
            "col cleared",
            "row db.example:27017",
            format!("row {long}"),
        ]);
        assert_eq!(browser.evaluate(&heads).unwrap(), expected);
        assert_eq!(shown(&mut browser, "shop/orders", "activeConnections"), "2");
        assert_eq!(shown(&mut browser, "shop/orders", "idleConnections"), "1");
        assert_eq!(shown(&mut browser, "shop/stock", "state"), "exhausted");
        assert_eq!(
            browser
                .evaluate("document.querySelectorAll('.uplot').length")
                .unwrap(),
            30
        );
        let order = browser
            .evaluate("[...document.querySelectorAll('[data-pool]')].map(one => one.dataset.pool)")
            .unwrap();
        let sorted = [
            "audit",
            "shop/invoices",
            "shop/orders",
            "shop/stock",
            "zebra",
        ];
        assert_eq!(order, serde_json::json!(sorted));

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
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "{:?}",
            began.elapsed()
        );
        let told = "[...document.querySelectorAll('#events li')].some(one => \
                    one.textContent.includes('resized to 2..=9'))";
        browser.until(told).unwrap();

        // Another operator, elsewhere: the page learns of it by the stream alone.
        let began = Instant::now();
        let elsewhere = ureq::post(format!("{page}api/pools/shop%2Forders/resize"))
            .header("authorization", format!("Bearer {TOKEN}"))
            .send_json(serde_json::json!({ "min": 2, "max": 8 }));
        assert_eq!(elsewhere.unwrap().status(), 200);
        browser
            .until(&format!(
                "document.querySelector('{max}').textContent === '8'"
            ))
            .unwrap();
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "{:?}",
            began.elapsed()
        );
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
    assert_eq!((orders.limits().min(), orders.limits().max()), (2, 8));

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
        // What failed while nobody listened is over; from here on nothing may.
        browser.forget();
        let last = "document.querySelector('[data-pool=audit] [data-field=max]').textContent";
        others[1].set_limits(1, 3).unwrap();
        browser.until(&format!("{last} === '3'")).unwrap();
        assert_eq!(browser.errors().unwrap(), Vec::<String>::new());

        // A phone, in the dark: nothing sticks out, and the colours are others.
        let ground = "getComputedStyle(document.body).backgroundColor";
        browser.prefer_dark(false).unwrap();
        let light = browser.evaluate(ground).unwrap();
        browser.prefer_dark(true).unwrap();
        assert_ne!(browser.evaluate(ground).unwrap(), light);
        browser.resize(360, 740, true).unwrap();
        let fits = "document.documentElement.scrollWidth <= 360";
        browser.until(fits).unwrap();
        // Nor is anything of the sockets cut off, or on top of something else of them.
        let boxes = "[...document.querySelectorAll('[data-pool=\"shop/stock\"] table.sockets tr')]\
                     .map(row => [...row.cells].map(cell => { \
                       const texts = document.createRange(); texts.selectNodeContents(cell); \
                       const { left, top, right, bottom } = texts.getBoundingClientRect(); \
                       return [left, top, right, bottom]; }))";
        let rows = browser.evaluate(boxes).unwrap();
        let rows: Vec<Vec<[f64; 4]>> = serde_json::from_value(rows).unwrap();
        assert_eq!(rows.len(), 3, "{rows:?}");
        for row in rows {
            assert_eq!(row.len(), 7, "{row:?}");
            for (at, &[left, top, right, bottom]) in row.iter().enumerate() {
                assert!(left >= 0.0 && right <= 360.0, "{row:?}");
                let over = |other: &[f64; 4]| {
                    other[0] < right && left < other[2] && other[1] < bottom && top < other[3]
                };
                assert!(!row[at + 1..].iter().any(over), "{row:?}");
            }
        }
        // The first stop of a keyboard leads past the head.
        browser
            .evaluate("document.activeElement.blur(); scrollTo(0, 0)")
            .unwrap();
        browser.open(&url).unwrap();
        browser.press("Tab").unwrap();
        browser
            .until("document.activeElement.className === 'skip'")
            .unwrap();
        assert_eq!(browser.errors().unwrap(), Vec::<String>::new());
        let own = |address: &String| address.starts_with(&url) || address.starts_with("data:");
        let requests = browser.requests().unwrap();
        let away: Vec<_> = requests.iter().filter(|one| !own(one)).collect();
        assert!(away.is_empty() && !requests.is_empty(), "{away:?}");
    })
    .await
    .unwrap();
    waiting.abort();
    again.stop().await;
}
