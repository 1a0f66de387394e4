//! The market data that is loaded: real rows, part of the program.
//!
//! Numbers stay text from the file to the server and back, so that "the same" means the same
//! digits. The databases keep them exactly, as `numeric` and as `Decimal128`.

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

const HISTORY: &str = include_str!("../data/sp500-2000.csv");
const QUOTES: &str = include_str!("../data/stocks.csv");

/// One day of the S&P 500.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, sqlx::FromRow)]
pub(crate) struct TradingDay {
    /// `2000-01-03`.
    pub(crate) date: String,
    pub(crate) open: String,
    pub(crate) high: String,
    pub(crate) low: String,
    pub(crate) close: String,
    pub(crate) adjclose: String,
    pub(crate) volume: i64,
}

/// The price of a stock on the first trading day of a month.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Quote {
    pub(crate) symbol: String,
    pub(crate) year: i32,
    pub(crate) month: u8,
    pub(crate) price: String,
}

/// Every day of the history, oldest first.
pub(crate) fn history() -> Result<Vec<TradingDay>> {
    csv::Reader::from_reader(HISTORY.as_bytes())
        .deserialize()
        .collect::<Result<_, _>>()
        .context("sp500-2000.csv")
}

/// Every quote, by stock and month.
pub(crate) fn quotes() -> Result<Vec<Quote>> {
    csv::Reader::from_reader(QUOTES.as_bytes())
        .deserialize()
        .map(|row| {
            let row: QuoteRow = row?;
            let (year, month) = parse_month(&row.date)?;
            Ok(Quote {
                symbol: row.symbol,
                year,
                month,
                price: row.price,
            })
        })
        .collect::<Result<_>>()
        .context("stocks.csv")
}

#[derive(Deserialize)]
struct QuoteRow {
    symbol: String,
    date: String,
    price: String,
}

/// `Jan 1 2000` → (2000, 1).
fn parse_month(text: &str) -> Result<(i32, u8)> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let parts: Vec<_> = text.split(' ').collect();
    let &[name, "1", year] = &parts[..] else {
        bail!("`{text}` is not the first of a month, as in `Jan 1 2000`");
    };
    let month = (1..)
        .zip(MONTHS)
        .find_map(|(number, month)| (month == name).then_some(number))
        .with_context(|| format!("`{name}` is not a month"))?;
    let year = year
        .parse()
        .with_context(|| format!("`{year}` is not a year"))?;
    Ok((year, month))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_read_as_it_stands() {
        let history = history().unwrap();
        let last = history.last().unwrap();
        assert_eq!(history.len(), 5_105);
        assert_eq!(
            (&*history[0].date, &*last.date),
            ("2000-01-03", "2020-04-17")
        );
        assert_eq!(last.open, "2842.429932");
        assert_eq!(last.volume, 5_792_140_000);

        let quotes = quotes().unwrap();
        let last = quotes.last().unwrap();
        assert_eq!(quotes.len(), 560);
        assert_eq!((last.year, last.month, &*last.price), (2010, 3, "223.02"));
    }

    #[test]
    fn a_date_that_is_not_a_month_is_an_error() {
        for text in ["Jan 2 2000", "January 1 2000", "Jan 1", "Jan 1 x", ""] {
            assert!(parse_month(text).is_err(), "{text}");
        }
    }
}
