//! Public types and futures can be sent between threads.

use std::time::Duration;

use mongodb::bson::Document;
use pool_mongo::{
    LeaseError, Leased, MongoConfig, MongoConnectError, MongoDrainReport, MongoLease, MongoPool,
    MongoPoolBuilder, MongoPoolError, MongoReconfigure, MongoReconfigureReport, MongoSession,
    MongoWarmupError, MongoWarmupReport, ReconfigureError, RunError, ServerSockets,
};

const fn send<T: Send>() {}
const fn send_sync<T: Send + Sync>() {}

#[test]
fn types_are_send_and_most_are_sync() {
    send::<MongoPoolBuilder>();
    send::<Leased<mongodb::Cursor<Document>>>();
    send_sync::<LeaseError>();
    send_sync::<MongoConfig>();
    send_sync::<MongoConnectError>();
    send_sync::<MongoDrainReport>();
    send_sync::<MongoLease>();
    send_sync::<MongoPool>();
    send_sync::<MongoPoolError>();
    send_sync::<MongoReconfigure>();
    send_sync::<MongoReconfigureReport>();
    send_sync::<MongoSession>();
    send_sync::<MongoWarmupError>();
    send_sync::<MongoWarmupReport>();
    send_sync::<ReconfigureError>();
    send_sync::<RunError<mongodb::error::Error>>();
    send_sync::<ServerSockets>();
}

/// Compiles only while each future is `Send`, and `'static` where it says so.
#[allow(dead_code, reason = "compiled, never run")]
fn futures_are_send(pool: &MongoPool) {
    fn send<T: Send>(future: T) {
        drop(future);
    }
    fn send_static<T: Send + 'static>(future: T) {
        drop(future);
    }
    send_static(MongoPool::builder("mongodb://h/db").build());
    send_static(MongoPool::from_config(MongoConfig::new("mongodb://h/db")));
    send_static(pool.acquire());
    send_static(pool.start_session());
    send_static(pool.run(|db| async move { db.list_collection_names().await }));
    send_static(pool.reconfigure().apply());
    send(pool.warmup_pool());
    send(pool.close(Duration::ZERO));
    send(pool.with_transaction(async |db, session| {
        let rows = db.collection::<Document>("rows");
        rows.insert_one(Document::new()).session(session).await
    }));
}
