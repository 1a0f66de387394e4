//! The `history` handler: the S&P 500 in PostgreSQL.

use anyhow::{Context as _, Result, ensure};
use operation_context::OperationContext;
use sqlx::AssertSqlSafe;

use crate::data::TradingDay;

/// What a table of this service holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) notes: i64,
    pub(crate) comparisons: i64,
}

/// Creates the schema of this run, which the connections have as their search path.
pub(crate) async fn create(context: &OperationContext, schema: &str) -> Result<()> {
    let postgres = context.postgres().await?;
    sqlx::query(AssertSqlSafe(format!("create schema {schema}")))
        .execute(postgres)
        .await
        .with_context(|| format!("could not create the schema {schema}"))?;
    for table in [
        "create table history (
            date date primary key,
            open numeric(12, 6) not null,
            high numeric(12, 6) not null,
            low numeric(12, 6) not null,
            close numeric(12, 6) not null,
            adjclose numeric(12, 6) not null,
            volume bigint not null
        )",
        "create table notes (
            id bigint generated always as identity primary key,
            date date not null references history,
            text text not null
        )",
        "create table comparisons (
            symbol text not null,
            month date not null,
            price numeric not null,
            close numeric(12, 6) not null
        )",
    ] {
        sqlx::query(table).execute(postgres).await?;
    }
    Ok(())
}

/// Copies the whole history into its table.
pub(crate) async fn load(context: &OperationContext, history: &[TradingDay]) -> Result<u64> {
    let mut connection = context.postgres().await?.acquire().await?;
    let statement = "copy history (date, open, high, low, close, adjclose, volume)
                     from stdin (format csv)";
    let mut copy = connection.copy_in_raw(statement).await?;
    for days in history.chunks(500) {
        let mut lines = String::new();
        for day in days {
            let fields = [
                &day.date,
                &day.open,
                &day.high,
                &day.low,
                &day.close,
                &day.adjclose,
            ];
            for field in fields {
                lines.push_str(field);
                lines.push(',');
            }
            lines.push_str(&day.volume.to_string());
            lines.push('\n');
        }
        copy.send(lines.as_bytes()).await?;
    }
    Ok(copy.finish().await?)
}

/// Reads every row back; returns how many are what was loaded, digit for digit.
pub(crate) async fn verify(context: &OperationContext, history: &[TradingDay]) -> Result<u64> {
    let postgres = context.postgres().await?;
    let rows: Vec<TradingDay> = sqlx::query_as(
        "select date::text, open::text, high::text, low::text, close::text, adjclose::text, volume
         from history order by date",
    )
    .fetch_all(postgres)
    .await?;
    ensure!(
        rows.len() == history.len(),
        "history holds {} rows: want {}",
        rows.len(),
        history.len()
    );
    let mut verified = 0;
    for (row, day) in rows.iter().zip(history) {
        ensure!(row == day, "history holds {row:?}: want {day:?}");
        verified += 1;
    }
    Ok(verified)
}

/// Reads one day.
pub(crate) async fn closing_price(context: &OperationContext, day: &TradingDay) -> Result<()> {
    let postgres = context.postgres().await?;
    let (close, volume): (String, i64) =
        sqlx::query_as("select close::text, volume from history where date = $1::text::date")
            .bind(&day.date)
            .fetch_one(postgres)
            .await?;
    ensure!(
        close == day.close && volume == day.volume,
        "{}: read {close} and {volume}: want {} and {}",
        day.date,
        day.close,
        day.volume
    );
    Ok(())
}

/// Reads the extremes of some days in a row.
pub(crate) async fn extremes(context: &OperationContext, days: &[TradingDay]) -> Result<()> {
    let (Some(first), Some(last)) = (days.first(), days.last()) else {
        return Ok(());
    };
    let postgres = context.postgres().await?;
    let read: (String, String, i64) = sqlx::query_as(
        "select max(high)::text, min(low)::text, count(*) from history
         where date between $1::text::date and $2::text::date",
    )
    .bind(&first.date)
    .bind(&last.date)
    .fetch_one(postgres)
    .await?;
    let millionths = |price: &&String| price.replace('.', "").parse::<u64>().unwrap_or(0);
    let high = days.iter().map(|day| &day.high).max_by_key(millionths);
    let low = days.iter().map(|day| &day.low).min_by_key(millionths);
    let count = i64::try_from(days.len())?;
    ensure!(
        Some(&read.0) == high && Some(&read.1) == low && read.2 == count,
        "{} to {}: read {read:?}: want {high:?}, {low:?}, {count}",
        first.date,
        last.date
    );
    Ok(())
}

/// Writes a note about a day and reads it back, in one transaction.
pub(crate) async fn annotate(
    context: &OperationContext,
    day: &TradingDay,
    text: &str,
) -> Result<()> {
    let mut transaction = context.postgres().await?.begin().await?;
    let id: i64 = sqlx::query_scalar(
        "insert into notes (date, text) values ($1::text::date, $2) returning id",
    )
    .bind(&day.date)
    .bind(text)
    .fetch_one(&mut *transaction)
    .await?;
    let read: String = sqlx::query_scalar("select text from notes where id = $1")
        .bind(id)
        .fetch_one(&mut *transaction)
        .await?;
    ensure!(read == text, "note {id}: read `{read}`: want `{text}`");
    transaction.commit().await?;
    Ok(())
}

/// Writes the price of a stock beside the index of the first trading day of the same month.
pub(crate) async fn compare(
    context: &OperationContext,
    symbol: &str,
    month: &str,
    price: &str,
) -> Result<()> {
    let postgres = context.postgres().await?;
    let written = sqlx::query(
        "insert into comparisons (symbol, month, price, close)
         select $1, $2::text::date, $3::text::numeric, close from history
         where date >= $2::text::date order by date limit 1",
    )
    .bind(symbol)
    .bind(month)
    .bind(price)
    .execute(postgres)
    .await?;
    ensure!(written.rows_affected() == 1, "{month} has no trading day");
    Ok(())
}

/// Counts what was written.
pub(crate) async fn written(context: &OperationContext) -> Result<Written> {
    let postgres = context.postgres().await?;
    let (notes, comparisons) =
        sqlx::query_as("select (select count(*) from notes), (select count(*) from comparisons)")
            .fetch_one(postgres)
            .await?;
    Ok(Written { notes, comparisons })
}

/// Drops the schema of this run, if it was created.
pub(crate) async fn drop_all(context: &OperationContext, schema: &str) -> Result<()> {
    let postgres = context.postgres().await?;
    let statement = format!("drop schema if exists {schema} cascade");
    sqlx::query(AssertSqlSafe(statement))
        .execute(postgres)
        .await
        .with_context(|| format!("could not drop the schema {schema}"))?;
    Ok(())
}
