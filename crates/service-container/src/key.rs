//! The frozen map from types to places.

use std::any::TypeId;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;

use crate::Name;

/// What a service is asked for by.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Key {
    pub(crate) type_id: TypeId,
    pub(crate) name: Option<Name>,
}

impl Key {
    pub(crate) fn of<T: ?Sized + 'static>(name: Option<Name>) -> Self {
        Self {
            type_id: TypeId::of::<T>(),
            name,
        }
    }
}

/// A map from types, for what is not asked for often.
pub(crate) type TypeMap<V> = HashMap<TypeId, V, BuildHasherDefault<TypeIdHasher>>;

/// A map from types that is made once and then only read.
///
/// It is made so that, for all but the largest sets, no two types want the same place: looking one
/// up is one comparison.
///
/// Clones are the same table: whoever reads it often has one at hand, a step nearer.
#[derive(Debug)]
pub(crate) struct TypeTable<V> {
    /// A power of two of them, at least one of which is [`Nobody`]'s.
    places: Arc<[(TypeId, V)]>,
    /// The place is the hash, shifted and then masked.
    shift: u32,
    /// One less than the number of places.
    mask: usize,
}

impl<V> Clone for TypeTable<V> {
    fn clone(&self) -> Self {
        Self {
            places: Arc::clone(&self.places),
            ..*self
        }
    }
}

/// Whose the empty places are: a type that cannot be named outside of here, so that no one asks for it.
struct Nobody;

impl<V: Default> TypeTable<V> {
    pub(crate) fn new(entries: Vec<(TypeId, V)>) -> Self {
        let (size, shift) = Self::shape(&entries);
        let mask = size - 1;
        let nobody = TypeId::of::<Nobody>();
        let mut places: Vec<_> = (0..size).map(|_| (nobody, V::default())).collect();
        for (type_id, value) in entries {
            let mut place = place(type_id, shift, mask);
            while places[place].0 != nobody {
                place = (place + 1) & mask;
            }
            places[place] = (type_id, value);
        }
        Self {
            places: places.into(),
            shift,
            mask,
        }
    }

    /// What has the first place that `type_id` may have, and that is nearly always its own: for a
    /// caller who sees by the value itself whose it is, and asks [`get`](Self::get) if it is another's
    /// or nobody's.
    #[inline]
    pub(crate) fn likely(&self, type_id: TypeId) -> Option<&V> {
        let place = place(type_id, self.shift, self.mask);
        self.places.get(place).map(|(_, value)| value)
    }

    #[inline]
    pub(crate) fn get(&self, type_id: TypeId) -> Option<&V> {
        let place = place(type_id, self.shift, self.mask);
        let (known, value) = self.places.get(place)?;
        if *known == type_id {
            return Some(value);
        }
        self.get_after(place, type_id)
    }

    /// Looks in the places after the first, unless that is empty.
    #[inline(never)]
    fn get_after(&self, mut place: usize, type_id: TypeId) -> Option<&V> {
        while self.places[place].0 != TypeId::of::<Nobody>() {
            place = (place + 1) & self.mask;
            let (known, value) = &self.places[place];
            if *known == type_id {
                return Some(value);
            }
        }
        None
    }

    /// The size, and the bits of the hash, by which the fewest types want a place already taken.
    fn shape(entries: &[(TypeId, V)]) -> (usize, u32) {
        let least = (entries.len() * 2).next_power_of_two().max(4);
        let mut best = (usize::MAX, least, 0);
        for size in [least, least * 2, least * 4, least * 8] {
            for shift in 0..u64::BITS - size.ilog2() {
                let mut taken = vec![false; size];
                let collisions = entries.iter().filter(|(type_id, _)| {
                    std::mem::replace(&mut taken[place(*type_id, shift, size - 1)], true)
                });
                let collisions = collisions.count();
                if collisions == 0 {
                    return (size, shift);
                }
                if collisions < best.0 {
                    best = (collisions, size, shift);
                }
            }
        }
        (best.1, best.2)
    }
}

#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "only as many bits count as `mask` has"
)]
fn place(type_id: TypeId, shift: u32, mask: usize) -> usize {
    let mut hasher = TypeIdHasher::default();
    type_id.hash(&mut hasher);
    (hasher.finish() >> shift) as usize & mask
}

/// Passes a [`TypeId`] through: it is a hash already.
#[derive(Debug, Default)]
pub(crate) struct TypeIdHasher(u64);

impl Hasher for TypeIdHasher {
    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }

    // `TypeId` writes one `u64`. Should that ever change, this stays a correct, if poor, hash.
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    #[inline]
    fn write_u64(&mut self, id: u64) {
        self.0 = id;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_id_takes_the_direct_path() {
        let mut hasher = TypeIdHasher::default();
        TypeId::of::<String>().hash(&mut hasher);
        let mut again = TypeIdHasher::default();
        TypeId::of::<String>().hash(&mut again);
        let mut other = TypeIdHasher::default();
        TypeId::of::<dyn Send>().hash(&mut other);
        assert_eq!(hasher.finish(), again.finish());
        assert_ne!(hasher.finish(), other.finish());
        assert_ne!(hasher.finish() >> 32, 0, "all 64 bits are in use");
    }

    #[test]
    fn a_table_finds_what_it_was_made_of_and_nothing_else() {
        fn id<const N: usize>() -> TypeId {
            TypeId::of::<[u8; N]>()
        }
        let known = [
            id::<1>(),
            id::<2>(),
            id::<3>(),
            id::<4>(),
            id::<5>(),
            id::<6>(),
            id::<7>(),
        ];
        for count in 0..known.len() {
            let table = TypeTable::new(known.iter().copied().zip(0..count).collect());
            for (index, type_id) in known.iter().enumerate() {
                assert_eq!(table.get(*type_id), (index < count).then_some(&index));
            }
            let nobody = TypeId::of::<Nobody>();
            let free = table.places.iter().filter(|(known, _)| *known == nobody);
            let free = free.count();
            assert!(free >= table.places.len() / 2);
        }
    }

    #[test]
    fn types_that_want_the_same_place_are_all_found() {
        // So many types cannot all have a place to themselves.
        macro_rules! ids {
            ($($size:literal)*) => {
                vec![$(
                    TypeId::of::<[u8; $size]>(),
                    TypeId::of::<[u16; $size]>(),
                    TypeId::of::<[u32; $size]>(),
                    TypeId::of::<[u64; $size]>(),
                    TypeId::of::<[i8; $size]>(),
                    TypeId::of::<[i16; $size]>(),
                    TypeId::of::<[i32; $size]>(),
                    TypeId::of::<[i64; $size]>(),
                )*]
            };
        }
        let ids = ids!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28
            29 30 31 32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58);
        let table = TypeTable::new(ids.iter().copied().zip(0..).collect());
        let wanted = ids.iter().map(|id| place(*id, table.shift, table.mask));
        let wanted: std::collections::BTreeSet<_> = wanted.collect();
        assert!(wanted.len() < ids.len(), "this test is about collisions");
        for (index, type_id) in ids.iter().enumerate() {
            assert_eq!(table.get(*type_id), Some(&index));
        }
        assert_eq!(table.get(TypeId::of::<String>()), None);
    }
}
