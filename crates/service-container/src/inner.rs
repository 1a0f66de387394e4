//! A scope, as everything inside the crate sees it.

use std::any::TypeId;
use std::collections::BTreeSet;
use std::hint;
use std::panic::Location;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::around::{Around, Stake};
use crate::children::Children;
use crate::create::Running;
use crate::dispose::{Deadline, Disposal};
use crate::error::Detail;
use crate::hold::Hold;
use crate::key::Key;
use crate::ledger::Ledger;
use crate::registry::{Answer, Cell, Place, Registry, ServiceId, Target, store};
use crate::service::View;
use crate::{
    DisposeOptions, Disposed, Name, OpenError, ResolveError, ScopeInfo, Service, ServiceName,
};

/// A scope: the instances that live in it, and how it ends. The container is the scope without a
/// parent, whose instances are the singletons.
///
/// Reading an instance takes no lock: the cells are written once, under the ledger's lock, and never
/// emptied while anybody holds the scope.
pub(crate) struct Inner {
    pub(crate) id: u64,
    pub(crate) name: Name,
    around: Around,
    /// Where the scope around it keeps it; `NO_PLACE` until it does.
    place: AtomicUsize,
    pub(crate) overrides: Option<Arc<[Override]>>,
    pub(crate) opened_at: &'static Location<'static>,
    pub(crate) dispose_options: DisposeOptions,
    pub(crate) ledger: Ledger<Running, Books>,
    /// The scopes open in it.
    pub(crate) children: Children<Self>,
    /// Told when the last creation in flight settles.
    pub(crate) settled: Notify,
    /// The scoped instances. A scope that creates none has none.
    cells: OnceLock<Box<[Cell]>>,
    token: OnceLock<CancellationToken>,
    tasks: OnceLock<TaskTracker>,
}

const NO_PLACE: usize = usize::MAX;

/// A service put into a scope by whoever opened it. The scopes inside share it.
#[derive(Clone)]
pub(crate) struct Override {
    pub(crate) key: Key,
    pub(crate) view: Arc<View>,
}

/// What the ledger's lock guards besides the attempts.
#[derive(Debug, Default)]
pub(crate) struct Books {
    /// In the order in which creation ended.
    pub(crate) created: Vec<Created>,
    /// Which instance of this scope used which other one.
    pub(crate) observed: BTreeSet<(ServiceId, ServiceId)>,
    pub(crate) disposal: Option<Disposal>,
    /// That of a disposal that has to wait for something.
    pub(crate) deadline: Option<Arc<Deadline>>,
    pub(crate) closed_at: Option<Instant>,
    /// What was disposed of by its maker because the scope had closed meanwhile.
    pub(crate) late: Vec<Disposed>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Created {
    pub(crate) service: ServiceId,
    pub(crate) took: Duration,
}

impl Inner {
    pub(crate) fn root(registry: Registry, opened_at: &'static Location<'static>) -> Arc<Self> {
        let created = registry.store_values().into_iter();
        let created = created
            .map(|service| Created {
                service,
                took: Duration::ZERO,
            })
            .collect();
        Arc::new(Self {
            id: 0,
            name: registry.settings.name.clone(),
            dispose_options: registry.settings.dispose_container(),
            around: Around::nothing(registry),
            place: AtomicUsize::new(NO_PLACE),
            overrides: None,
            opened_at,
            ledger: Ledger::new(Books {
                created,
                ..Books::default()
            }),
            children: Children::of_many(),
            settled: Notify::new(),
            cells: OnceLock::new(),
            token: OnceLock::new(),
            tasks: OnceLock::new(),
        })
    }

    pub(crate) fn open(
        parent: Hold,
        name: Name,
        overrides: Vec<Override>,
        opened_at: &'static Location<'static>,
        dispose_options: Option<DisposeOptions>,
    ) -> Result<Arc<Self>, OpenError> {
        let around = Around::inside(parent);
        let parent = around.scope().expect("a scope stands in another");
        let registry = around.registry();
        let overrides = match (&parent.overrides, overrides.is_empty()) {
            (inherited, true) => inherited.clone(),
            (None, false) => Some(overrides.into()),
            (Some(inherited), false) => {
                // Its own come first, so that they are found first.
                Some(
                    overrides
                        .into_iter()
                        .chain(inherited.iter().cloned())
                        .collect(),
                )
            }
        };
        let dispose_options = dispose_options.unwrap_or_else(|| registry.settings.dispose_scope());
        let scope = Arc::new(Self {
            id: registry.scopes_opened.next(),
            name,
            around,
            place: AtomicUsize::new(NO_PLACE),
            overrides,
            opened_at,
            dispose_options,
            ledger: Ledger::new(Books::default()),
            children: Children::of_one(),
            settled: Notify::new(),
            cells: OnceLock::new(),
            token: OnceLock::new(),
            tasks: OnceLock::new(),
        });
        let parent = scope.parent().expect("a scope stands in another");
        match parent.children.enter(&parent.ledger, &scope) {
            Some(place) => {
                scope.place.store(place, Ordering::Relaxed);
                Ok(scope)
            }
            None => Err(OpenError {
                scope: scope.name.clone(),
                parent: parent.name.clone(),
            }),
        }
    }

    /// Everything registered.
    #[inline]
    pub(crate) fn registry(&self) -> &Registry {
        self.around.registry()
    }

    pub(crate) const fn around(&self) -> &Around {
        &self.around
    }

    /// The scope around it; none around the container.
    pub(crate) fn parent(&self) -> Option<&Arc<Self>> {
        self.around.scope()
    }

    /// A stake in the container, if that is what this is: that of this thread, or when there are none
    /// at hand any more, what `others` has, or one for the caller alone.
    pub(crate) fn stake_of_container(
        self: &Arc<Self>,
        others: Option<&Arc<Stake>>,
    ) -> Option<Arc<Stake>> {
        self.around.stake_of(self, others)
    }

    /// Leaves the container to those who have a stake in it: its first handle is gone.
    pub(crate) fn leave_to_holders(&self) {
        self.around.withdraw();
    }

    /// The instance that answers to `T`, where it is found by one look: nearly always, if it is in the
    /// container, exists, and nothing was put into the scope.
    ///
    /// Small enough to be inlined where it is called; that is worth more than any of its parts.
    #[inline]
    pub(crate) fn at_hand<T: ?Sized + Service>(&self) -> Option<&Arc<T>> {
        if !self.ledger.is_open() {
            return None;
        }
        // Whether the view is one of a `T` is seen when it is looked at, by the last thing done here:
        // one comparison, and nothing to be kept for after it.
        self.likely(TypeId::of::<T>())?.in_container()?.get()
    }

    /// What has the first place among the answers that `type_id` may have, unless something was put
    /// into the scope that comes before all of them.
    #[inline]
    fn likely(&self, type_id: TypeId) -> Option<&Answer> {
        if let Some(answers) = self.around.answers() {
            // The container has no overrides.
            return answers.likely(type_id);
        }
        // As in `Hold::scope`.
        hint::cold_path();
        match self.overrides {
            None => self.registry().answers().likely(type_id),
            Some(_) => None,
        }
    }

    /// The instance that answers to `T`, wherever it is, if there is one yet.
    pub(crate) fn find<T: ?Sized + Service>(&self) -> Option<&Arc<T>> {
        if !self.ledger.is_open() {
            return None;
        }
        let type_id = TypeId::of::<T>();
        let view = match self.overridden(type_id, None) {
            Some(view) => view,
            None => self.view(*self.registry().unnamed(type_id)?)?,
        };
        view.get()
    }

    pub(crate) fn find_named<T: ?Sized + Service>(&self, name: &str) -> Option<&Arc<T>> {
        if !self.ledger.is_open() {
            return None;
        }
        let type_id = TypeId::of::<T>();
        if let Some(view) = self.overridden(type_id, Some(name)) {
            return view.get();
        }
        self.view(self.registry().named(type_id, name)?)?.get()
    }

    pub(crate) fn overridden(&self, type_id: TypeId, name: Option<&str>) -> Option<&View> {
        let overrides = self.overrides.as_deref()?;
        let found = overrides.iter().find(|entry| {
            entry.key.type_id == type_id && entry.key.name.as_ref().map(Name::as_str) == name
        });
        found.map(|entry| &*entry.view)
    }

    pub(crate) fn view(&self, target: Target) -> Option<&View> {
        match target.place {
            Place::Root(cell) => self.registry().root_cell(cell).get(),
            Place::Scope(cell) => self.cells.get()?[cell as usize].get(),
            Place::Nowhere => None,
        }
    }

    pub(crate) fn is_created(&self, service: ServiceId) -> bool {
        self.view(self.registry().target_of(service)).is_some()
    }

    /// Stores an instance. The ledger's lock is held, and the service is not there yet.
    pub(crate) fn store(&self, service: ServiceId, views: Vec<View>) {
        match self.registry().places[service as usize] {
            Place::Root(first) => self.registry().store_in_root(first, views),
            Place::Scope(first) => {
                let cells = self.cells.get_or_init(|| {
                    (0..self.registry().scope_cells)
                        .map(|_| Cell::new())
                        .collect()
                });
                store(cells[first as usize..].iter(), views);
            }
            Place::Nowhere => {}
        }
    }

    pub(crate) fn is_root(&self) -> bool {
        self.parent().is_none()
    }

    /// The scope of the container.
    pub(crate) fn top(self: &Arc<Self>) -> &Arc<Self> {
        let mut scope = self;
        while let Some(parent) = scope.parent() {
            scope = parent;
        }
        scope
    }

    pub(crate) fn info(&self) -> ScopeInfo {
        let mut path = vec![self.name.clone()];
        let mut scope = self;
        while let Some(parent) = scope.parent() {
            scope = parent;
            path.push(scope.name.clone());
        }
        path.reverse();
        ScopeInfo {
            id: self.id,
            name: self.name.clone(),
            path,
        }
    }

    /// Cancelled when the scope closes or is dropped, and when one it stands in is.
    pub(crate) fn token(&self) -> &CancellationToken {
        if let Some(token) = self.token.get() {
            return token;
        }
        let token = self.token.get_or_init(|| match self.parent() {
            Some(parent) => parent.token().child_token(),
            None => CancellationToken::new(),
        });
        // Whoever closes the scope cancels the token it finds. Going through the lock means either
        // it finds this one, or this finds the scope closed.
        if self.ledger.with_open(|_| ()).is_none() {
            token.cancel();
        }
        token
    }

    pub(crate) fn cancel(&self) {
        if let Some(token) = self.token.get() {
            token.cancel();
        }
    }

    pub(crate) fn tasks(&self) -> &TaskTracker {
        self.tasks.get_or_init(TaskTracker::new)
    }

    /// The tracker, if anybody ever asked for it.
    pub(crate) fn tasks_used(&self) -> Option<&TaskTracker> {
        self.tasks.get()
    }

    pub(crate) fn closed_error(&self, service: ServiceName) -> ResolveError {
        let closed_at = self.ledger.with(|books| books.closed_at);
        let ago = closed_at.map(|closed_at| closed_at.elapsed());
        ResolveError::new(service, self.name.clone(), Detail::Closed { ago })
    }

    /// The instances of this scope that were created or given, in order.
    pub(crate) fn created(&self) -> Vec<Created> {
        self.ledger.with(|books| books.created.clone())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        crate::leak::scope_dropped(self);
        let place = self.place.load(Ordering::Relaxed);
        if let Some(parent) = self.parent()
            && place != NO_PLACE
        {
            parent.children.leave(place);
        }
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scope")
            .field("name", &self.name)
            .field("id", &self.id)
            .field("state", &self.ledger.state())
            .finish_non_exhaustive()
    }
}
