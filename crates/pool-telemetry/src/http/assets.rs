//! The live page, which is part of the program.

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;

use super::routes::Shared;

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// Path, content type, content.
const ASSETS: [(&str, &str, &str); 6] = [
    ("/", HTML, include_str!("../../assets/index.html")),
    ("/page.css", STYLE, include_str!("../../assets/page.css")),
    ("/page.js", SCRIPT, include_str!("../../assets/page.js")),
    ("/charts.js", SCRIPT, include_str!("../../assets/charts.js")),
    (
        "/uplot.css",
        STYLE,
        include_str!("../../assets/uplot/uPlot.min.css"),
    ),
    (
        "/uplot.js",
        SCRIPT,
        include_str!("../../assets/uplot/uPlot.iife.min.js"),
    ),
];

pub(super) fn routes() -> Router<Shared> {
    ASSETS
        .into_iter()
        .fold(Router::new(), |router, (path, content_type, content)| {
            let asset = move || async move {
                ([(header::CONTENT_TYPE, content_type)], content).into_response()
            };
            router.route(path, get(asset))
        })
}
