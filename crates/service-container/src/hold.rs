//! What a handle on a scope keeps.

use std::hint;
use std::sync::Arc;

use crate::around::Stake;
use crate::inner::Inner;

/// A hold on a scope, which is there as long as anybody has one.
#[derive(Debug)]
pub(crate) enum Hold {
    /// On any scope but the container; on that, its first handle alone.
    Direct(Arc<Inner>),
    /// On the container.
    Stake(Arc<Stake>),
}

impl Hold {
    /// One more hold on `scope`.
    pub(crate) fn on(scope: &Arc<Inner>) -> Self {
        Self::beside(scope, None)
    }

    #[inline]
    pub(crate) fn scope(&self) -> &Arc<Inner> {
        match self {
            Self::Direct(scope) => scope,
            Self::Stake(stake) => {
                // Not rare, but a jump that is foretold: chosen without one, the address would be
                // waited for in both cases.
                hint::cold_path();
                &stake.container
            }
        }
    }

    fn beside(scope: &Arc<Inner>, stake: Option<&Arc<Stake>>) -> Self {
        match scope.stake_of_container(stake) {
            Some(stake) => Self::Stake(stake),
            None => Self::Direct(Arc::clone(scope)),
        }
    }
}

impl Clone for Hold {
    fn clone(&self) -> Self {
        match self {
            Self::Direct(scope) => Self::on(scope),
            Self::Stake(stake) => Self::beside(&stake.container, Some(stake)),
        }
    }
}
