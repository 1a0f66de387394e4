//! Errors as a client sees them.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use operation_context::{OperationError, OperationErrorKind};

/// Whatever went wrong: the details go to the log, a status to the client.
pub(crate) struct Failure {
    status: StatusCode,
    error: anyhow::Error,
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = error.into();
        let ends = error
            .downcast_ref::<OperationError>()
            .is_some_and(|error| error.kind() == OperationErrorKind::Disposed);
        // A pool that has nothing to lend in time is not a fault of the program.
        let of_a_query = error
            .downcast_ref::<sqlx::Error>()
            .and_then(pool_postgres::PostgresPool::acquire_error);
        let busy = of_a_query.is_some()
            || error.is::<pool_postgres::pool_core::AcquireError>()
            || error.is::<pool_mongo::LeaseError>();
        let status = if ends || busy {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::INTERNAL_SERVER_ERROR
        };
        Self { status, error }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        tracing::error!("{:#}", self.error);
        self.status.into_response()
    }
}
