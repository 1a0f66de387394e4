//! The queue, and what a job is.

use std::time::Duration;

use anyhow::Result;
use mongodb::bson::{Document, doc};
use operation_context::OperationContext;

/// What looking for a job came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    NothingToDo,
}

/// Makes the queue, if there is none.
pub(crate) async fn prepare(context: &OperationContext) -> Result<()> {
    // Workers that start together take turns: `if not exists` alone is a race between them.
    let table = "select pg_advisory_xact_lock(hashtext('jobs')); \
        create table if not exists jobs (id bigserial primary key, input bigint not null)";
    sqlx::raw_sql(table)
        .execute(context.postgres().await?)
        .await?;
    Ok(())
}

/// Takes the oldest job that nobody else has, does it, keeps its result, and then lets go of it.
pub(crate) async fn next(context: &OperationContext, effort: Duration) -> Result<Outcome> {
    let mut transaction = context.postgres().await?.begin().await?;
    let job: Option<(i64, i64)> = sqlx::query_as(
        "delete from jobs where id = (
             select id from jobs order by id for update skip locked limit 1
         ) returning id, input",
    )
    .fetch_optional(&mut *transaction)
    .await?;
    let Some((id, input)) = job else {
        return Ok(Outcome::NothingToDo);
    };
    tokio::time::sleep(effort).await;
    let result = doc! { "$inc": { "times": 1 }, "$set": { "output": input * input } };
    let lease = context.mongodb().await?.acquire().await?;
    lease
        .collection::<Document>("results")
        .update_one(doc! { "_id": id }, result)
        .upsert(true)
        .await?;
    transaction.commit().await?;
    Ok(Outcome::Done)
}
