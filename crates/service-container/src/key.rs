//! The frozen map from types to places.

use std::any::TypeId;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

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

pub(crate) type TypeMap<V> = HashMap<TypeId, V, BuildHasherDefault<TypeIdHasher>>;

/// Passes a [`TypeId`] through: it is a hash already.
#[derive(Debug, Default)]
pub(crate) struct TypeIdHasher(u64);

impl Hasher for TypeIdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    // `TypeId` writes one `u64`. Should that ever change, this stays a correct, if poor, hash.
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = id;
    }
}

#[cfg(test)]
mod tests {
    use std::hash::Hash;

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
}
