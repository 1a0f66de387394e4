//! Everything registered, frozen by `build()`.

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

use crate::key::{Key, TypeMap, TypeTable};
use crate::observed::Observed;
use crate::registered::{Registered, Source};
use crate::service::View;
use crate::settings::Settings;
use crate::shards::Numbers;
use crate::waits::Waits;
use crate::{Lifetime, Name, ServiceName};

/// The place in [`Registry::services`] of a service.
pub(crate) type ServiceId = u32;

/// Where the answer to a key is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Target {
    pub(crate) service: ServiceId,
    pub(crate) place: Place,
    /// Which of the views of the service.
    pub(crate) view: u32,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Place {
    /// In this cell of the container.
    Root(u32),
    /// In this cell of each scope.
    Scope(u32),
    /// Nowhere: made for whoever asks.
    #[default]
    Nowhere,
}

/// Holds one view of one instance, once it exists.
pub(crate) type Cell = OnceLock<View>;

/// The one answer to a type without a name.
///
/// With the type it answers to it is 64 bytes long, so that finding one among many is a shift.
#[derive(Debug, Default)]
#[repr(align(16))]
pub(crate) struct Answer {
    target: Target,
    /// Where the view is when the target is in the container: here, where a look for the type ends.
    cell: Cell,
}

impl Answer {
    /// The view, if it is one in the container and exists.
    #[inline]
    pub(crate) fn in_container(&self) -> Option<&View> {
        self.cell.get()
    }
}

pub(crate) struct Registry {
    pub(crate) services: Box<[Registered]>,
    /// The place of the first view of each service.
    pub(crate) places: Box<[Place]>,
    /// Keys without a name that have one answer.
    answers: TypeTable<Answer>,
    named: TypeMap<HashMap<Name, Target>>,
    /// Every provider of a type, in order of registration.
    all: TypeMap<Vec<Target>>,
    /// The views of values and singletons.
    cells: Box<[RootCell]>,
    /// How many cells a scope needs.
    pub(crate) scope_cells: usize,
    pub(crate) settings: Settings,
    pub(crate) waits: Waits,
    /// Dependencies seen while running, for the graph.
    pub(crate) observed: Observed,
    pub(crate) scopes_opened: Numbers,
    pub(crate) leaked_scopes: AtomicU64,
}

/// Where a view of a value or a singleton is.
#[derive(Debug)]
enum RootCell {
    /// With the answer to this type, which it is.
    Answer(TypeId),
    /// Here: it is found by its name, or among others.
    Own(Cell),
}

/// What a key leads to.
#[derive(Debug)]
pub(crate) enum Lookup {
    Found(Target),
    /// Several services provide it, none of them rather than another.
    Ambiguous(Vec<ServiceName>),
    Missing,
}

impl Registry {
    pub(crate) fn new(services: Vec<Registered>, settings: Settings) -> Self {
        let mut places = Vec::with_capacity(services.len());
        let mut unnamed: TypeMap<Vec<Target>> = TypeMap::default();
        let mut named: TypeMap<HashMap<Name, Target>> = TypeMap::default();
        let mut all: TypeMap<Vec<Target>> = TypeMap::default();
        let (mut root_cells, mut scope_cells) = (0, 0);
        for (service, registered) in (0..).zip(&services) {
            let mut first = None;
            for (view, spec) in (0..).zip(&registered.views) {
                let place = match registered.lifetime {
                    Lifetime::Singleton | Lifetime::Value => {
                        root_cells += 1;
                        Place::Root(root_cells - 1)
                    }
                    Lifetime::Scoped => {
                        scope_cells += 1;
                        Place::Scope(scope_cells - 1)
                    }
                    Lifetime::Transient => Place::Nowhere,
                };
                first.get_or_insert(place);
                let target = Target {
                    service,
                    place,
                    view,
                };
                all.entry(spec.key.type_id).or_default().push(target);
                match &spec.key.name {
                    None => unnamed.entry(spec.key.type_id).or_default().push(target),
                    Some(name) => {
                        named
                            .entry(spec.key.type_id)
                            .or_default()
                            .insert(name.clone(), target);
                    }
                }
            }
            places.push(first.expect("every service has its own view"));
        }
        let mut cells: Vec<_> = (0..root_cells)
            .map(|_| RootCell::Own(Cell::new()))
            .collect();
        let answers = unnamed.into_iter().filter_map(|(type_id, targets)| {
            let target = *single(&targets)?;
            if let Place::Root(cell) = target.place {
                cells[cell as usize] = RootCell::Answer(type_id);
            }
            let cell = Cell::new();
            Some((type_id, Answer { target, cell }))
        });
        let answers = TypeTable::new(answers.collect());
        let observed = Observed::new(services.len());
        Self {
            services: services.into(),
            places: places.into(),
            answers,
            named,
            all,
            cells: cells.into(),
            scope_cells: scope_cells as usize,
            settings,
            waits: Waits::default(),
            observed,
            scopes_opened: Numbers::new(),
            leaked_scopes: AtomicU64::new(0),
        }
    }

    pub(crate) fn service(&self, id: ServiceId) -> &Registered {
        &self.services[id as usize]
    }

    pub(crate) fn name_of(&self, id: ServiceId) -> ServiceName {
        self.service(id).name.clone()
    }

    /// Where the instance of a service is, looked at as what it is.
    pub(crate) fn target_of(&self, id: ServiceId) -> Target {
        Target {
            service: id,
            place: self.places[id as usize],
            view: 0,
        }
    }

    /// The one answer to a type without a name.
    #[inline]
    pub(crate) fn unnamed(&self, type_id: TypeId) -> Option<&Target> {
        Some(&self.answers.get(type_id)?.target)
    }

    /// The answers to types without a name.
    #[inline]
    pub(crate) const fn answers(&self) -> &TypeTable<Answer> {
        &self.answers
    }

    /// A cell of the container.
    pub(crate) fn root_cell(&self, cell: u32) -> &Cell {
        match &self.cells[cell as usize] {
            RootCell::Answer(type_id) => {
                let answer = self.answers.get(*type_id);
                &answer.expect("it was made with the cells").cell
            }
            RootCell::Own(cell) => cell,
        }
    }

    /// Puts an instance into the container, beginning with this cell.
    pub(crate) fn store_in_root(&self, first: u32, views: Vec<View>) {
        store((first..).map(|cell| self.root_cell(cell)), views);
    }

    pub(crate) fn named(&self, type_id: TypeId, name: &str) -> Option<Target> {
        self.named.get(&type_id)?.get(name).copied()
    }

    /// Every provider of a type, named or not, in order of registration.
    pub(crate) fn all(&self, type_id: TypeId) -> &[Target] {
        self.all.get(&type_id).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn lookup(&self, type_id: TypeId, name: Option<&str>) -> Lookup {
        if let Some(name) = name {
            return self
                .named(type_id, name)
                .map_or(Lookup::Missing, Lookup::Found);
        }
        if let Some(target) = self.unnamed(type_id) {
            return Lookup::Found(*target);
        }
        let providers: Vec<_> = self
            .all(type_id)
            .iter()
            .map(|target| self.name_of(target.service))
            .filter(|provider| provider.name.is_none())
            .collect();
        if providers.is_empty() {
            Lookup::Missing
        } else {
            Lookup::Ambiguous(providers)
        }
    }

    pub(crate) fn lookup_key(&self, key: &Key) -> Lookup {
        self.lookup(key.type_id, key.name.as_ref().map(Name::as_str))
    }

    /// The names under which a type is registered, for those who asked for it without.
    pub(crate) fn names_of(&self, type_id: TypeId) -> Vec<Name> {
        let mut names: Vec<_> = self
            .named
            .get(&type_id)
            .into_iter()
            .flat_map(HashMap::keys)
            .cloned()
            .collect();
        names.sort();
        names
    }

    /// Puts the values where resolving finds them, and says which there are.
    pub(crate) fn store_values(&self) -> Vec<ServiceId> {
        let mut values = Vec::new();
        for (id, registered) in (0..).zip(&self.services) {
            if let (Source::Value(value), Place::Root(first)) =
                (&registered.source, self.places[id as usize])
            {
                self.store_in_root(first, registered.views_of(value()));
                values.push(id);
            }
        }
        values
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("services", &self.services.len())
            .finish_non_exhaustive()
    }
}

/// Stores the views of one instance in the first of `cells`, its own view last: whoever sees that
/// one sees them all.
pub(crate) fn store<'c>(cells: impl Iterator<Item = &'c Cell>, views: Vec<View>) {
    let cells: Vec<_> = cells.take(views.len()).collect();
    for (cell, view) in cells.into_iter().zip(views).rev() {
        cell.set(view).expect("an instance is published once");
    }
}

fn single<T>(items: &[T]) -> Option<&T> {
    match items {
        [item] => Some(item),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn an_answer_with_its_type_is_found_by_a_shift() {
        assert_eq!(size_of::<(TypeId, Answer)>(), 64);
    }
}
