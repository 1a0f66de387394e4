//! What a scope stands in.

use std::sync::Arc;

use crossbeam_utils::CachePadded;

use crate::hold::Hold;
use crate::inner::Inner;
use crate::key::TypeTable;
use crate::registry::{Answer, Registry};
use crate::stakes::Stakes;

/// What a scope stands in, which it keeps alive.
pub(crate) enum Around {
    /// Nothing: it is the container.
    Nothing {
        /// Those of the registry.
        answers: TypeTable<Answer>,
        registry: Arc<Registry>,
        stakes: Stakes<Held>,
    },
    Container(Arc<Stake>),
    /// A scope of the container.
    Scope(Arc<Inner>, Arc<Stake>),
}

/// What scopes share to keep the container, one for each thread that opens any.
pub(crate) type Stake = CachePadded<Held>;

#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) container: Arc<Inner>,
    /// That of the container, one step nearer.
    registry: Arc<Registry>,
}

impl Around {
    /// Around the container.
    pub(crate) fn nothing(registry: Registry) -> Self {
        Self::Nothing {
            answers: registry.answers().clone(),
            registry: Arc::new(registry),
            stakes: Stakes::new(),
        }
    }

    /// Around what is opened by whoever has this hold.
    pub(crate) fn inside(hold: Hold) -> Self {
        match hold {
            Hold::Stake(stake) => Self::Container(stake),
            Hold::Direct(scope) => match scope.around().stake().cloned() {
                Some(stake) => Self::Scope(scope, stake),
                None => unreachable!("who opens something in the container has a stake in it"),
            },
        }
    }

    /// Everything registered.
    #[inline]
    pub(crate) fn registry(&self) -> &Registry {
        match self {
            Self::Nothing { registry, .. } => registry,
            Self::Container(stake) | Self::Scope(_, stake) => &stake.registry,
        }
    }

    /// The answers to types without a name, at hand in the container alone.
    #[inline]
    pub(crate) fn answers(&self) -> Option<&TypeTable<Answer>> {
        match self {
            Self::Nothing { answers, .. } => Some(answers),
            Self::Container(_) | Self::Scope(..) => None,
        }
    }

    /// The scope around; none around the container.
    pub(crate) fn scope(&self) -> Option<&Arc<Inner>> {
        match self {
            Self::Nothing { .. } => None,
            Self::Container(stake) => Some(&stake.container),
            Self::Scope(scope, _) => Some(scope),
        }
    }

    /// See [`Inner::stake_of_container`]. `container` is what this is around.
    pub(crate) fn stake_of(
        &self,
        container: &Arc<Inner>,
        others: Option<&Arc<Stake>>,
    ) -> Option<Arc<Stake>> {
        let Self::Nothing {
            registry, stakes, ..
        } = self
        else {
            return None;
        };
        let make = || Held {
            container: Arc::clone(container),
            registry: Arc::clone(registry),
        };
        let stake = stakes.take(make).or_else(|| others.cloned());
        Some(stake.unwrap_or_else(|| Arc::new(Stake::new(make()))))
    }

    /// Takes the stakes at hand from the container.
    pub(crate) fn withdraw(&self) {
        if let Self::Nothing { stakes, .. } = self {
            stakes.withdraw();
        }
    }

    fn stake(&self) -> Option<&Arc<Stake>> {
        match self {
            Self::Nothing { .. } => None,
            Self::Container(stake) | Self::Scope(_, stake) => Some(stake),
        }
    }
}
