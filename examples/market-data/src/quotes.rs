//! The `quotes` handler: stock prices in MongoDB.

use anyhow::{Context as _, Result, ensure};
use futures_util::TryStreamExt as _;
use mongodb::bson::{DateTime, Decimal128, Document, doc};
use mongodb::options::IndexOptions;
use mongodb::{Collection, Database, IndexModel};
use operation_context::OperationContext;
use serde::{Deserialize, Serialize};

use crate::data::Quote;

/// A quote as MongoDB keeps it: the price exact, the month as a date.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct StoredQuote {
    symbol: String,
    month: DateTime,
    price: Decimal128,
}

impl StoredQuote {
    fn of(quote: &Quote) -> Result<Self> {
        let price = quote.price.parse();
        Ok(Self {
            symbol: quote.symbol.clone(),
            month: month_of(quote)?,
            price: price.with_context(|| format!("`{}` is not a price", quote.price))?,
        })
    }
}

fn month_of(quote: &Quote) -> Result<DateTime> {
    let date = DateTime::builder().year(quote.year).month(quote.month);
    Ok(date.day(1).build()?)
}

fn quotes(database: &Database) -> Collection<StoredQuote> {
    database.collection("quotes")
}

fn ticks(database: &Database) -> Collection<Document> {
    database.collection("ticks")
}

/// Inserts every quote, and the index that finds them.
pub(crate) async fn load(context: &OperationContext, all: &[Quote]) -> Result<u64> {
    let mongodb = context.mongodb().await?.acquire().await?;
    let by_symbol = IndexModel::builder()
        .keys(doc! { "symbol": 1, "month": 1 })
        .options(IndexOptions::builder().unique(true).build())
        .build();
    quotes(&mongodb).create_index(by_symbol).await?;
    let stored: Vec<_> = all.iter().map(StoredQuote::of).collect::<Result<_>>()?;
    let inserted = quotes(&mongodb).insert_many(stored).await?;
    Ok(inserted.inserted_ids.len().try_into()?)
}

/// Reads every quote back; returns how many are what was loaded, digit for digit.
pub(crate) async fn verify(context: &OperationContext, all: &[Quote]) -> Result<u64> {
    let mongodb = context.mongodb().await?.acquire().await?;
    let found = quotes(&mongodb).find(doc! {}).await?;
    let read: Vec<StoredQuote> = found.try_collect().await?;
    ensure!(
        read.len() == all.len(),
        "quotes holds {} documents: want {}",
        read.len(),
        all.len()
    );
    let mut verified = 0;
    for quote in all {
        let wanted = StoredQuote::of(quote)?;
        let found = read
            .iter()
            .find(|read| read.symbol == wanted.symbol && read.month == wanted.month)
            .with_context(|| format!("quotes does not hold {quote:?}"))?;
        let digits = found.price.to_string();
        ensure!(
            *found == wanted && digits == quote.price,
            "quotes holds {found:?} ({digits}): want {quote:?}"
        );
        verified += 1;
    }
    Ok(verified)
}

/// Reads one quote; returns its price.
pub(crate) async fn price(context: &OperationContext, quote: &Quote) -> Result<String> {
    let mongodb = context.mongodb().await?.acquire().await?;
    let key = doc! { "symbol": &quote.symbol, "month": month_of(quote)? };
    let found = quotes(&mongodb).find_one(key).await?;
    let found = found.with_context(|| format!("quotes does not hold {quote:?}"))?;
    let price = found.price.to_string();
    ensure!(price == quote.price, "read {price}: want {quote:?}");
    Ok(price)
}

/// Counts a stock's quotes at the server and finds the latest.
pub(crate) async fn latest(context: &OperationContext, of_symbol: &[Quote]) -> Result<()> {
    let Some(last) = of_symbol.last() else {
        return Ok(());
    };
    let mongodb = context.mongodb().await?.acquire().await?;
    let pipeline = [
        doc! { "$match": { "symbol": &last.symbol } },
        doc! { "$sort": { "month": 1 } },
        doc! { "$group": { "_id": "$symbol", "count": { "$sum": 1 }, "price": { "$last": "$price" } } },
    ];
    let mut found = quotes(&mongodb).aggregate(pipeline).await?;
    let found = found.try_next().await?.unwrap_or_default();
    let (count, price) = (
        found.get_i32("count")?,
        found.get_decimal128("price")?.to_string(),
    );
    ensure!(
        usize::try_from(count)? == of_symbol.len() && price == last.price,
        "{}: read {count} quotes up to {price}: want {} up to {}",
        last.symbol,
        of_symbol.len(),
        last.price
    );
    Ok(())
}

/// Writes a tick.
pub(crate) async fn record(context: &OperationContext, quote: &Quote) -> Result<()> {
    let mongodb = context.mongodb().await?.acquire().await?;
    let operation = context.id().to_string();
    let StoredQuote { symbol, price, .. } = StoredQuote::of(quote)?;
    let tick =
        doc! { "symbol": symbol, "price": price, "at": DateTime::now(), "operation": operation };
    ticks(&mongodb).insert_one(tick).await?;
    Ok(())
}

/// Counts the ticks.
pub(crate) async fn written(context: &OperationContext) -> Result<u64> {
    let mongodb = context.mongodb().await?.acquire().await?;
    Ok(ticks(&mongodb).count_documents(doc! {}).await?)
}

/// Drops the database of this run.
pub(crate) async fn drop_all(context: &OperationContext) -> Result<()> {
    let mongodb = context.mongodb().await?.acquire().await?;
    let name = mongodb.name().to_owned();
    mongodb
        .database()
        .drop()
        .await
        .with_context(|| format!("could not drop the database {name}"))
}
