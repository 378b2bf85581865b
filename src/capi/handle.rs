//! Generational tables: a handle is a number, never a pointer.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::status::{Failure, crossrank_status};

/// The objects of one kind that C code has handles of.
///
/// An id is the kind (8 bits), the slot's generation (24 bits, never 0) and the slot (32 bits). The generation is
/// incremented whenever the slot is reused, and starts at a random number, so that an id of another copy of this library is
/// not valid here. A slot whose generations are used up is not used again.
pub struct Table<T> {
    kind: u64,
    name: &'static str,
    slots: Mutex<Slots<T>>,
}

struct Slots<T> {
    all: Vec<Slot<T>>,
    /// Indexes of slots without a value.
    free: Vec<u32>,
}

struct Slot<T> {
    generation: u64,
    /// Generations that are left.
    left: u32,
    value: Option<Arc<T>>,
}

const GENERATIONS: u64 = (1 << 24) - 1;

impl<T> Table<T> {
    /// An empty table. Each kind has its own number.
    pub const fn new(kind: u8, name: &'static str) -> Self {
        Self { kind: kind as u64, name, slots: Mutex::new(Slots { all: Vec::new(), free: Vec::new() }) }
    }

    fn lock(&self) -> MutexGuard<'_, Slots<T>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores a value and returns its id.
    pub fn insert(&self, value: Arc<T>) -> Result<u64, Failure> {
        let mut slots = self.lock();
        let index = match slots.free.pop() {
            Some(index) => index,
            None => {
                let index = u32::try_from(slots.all.len())
                    .map_err(|_| Failure::argument(format!("too many {}s are alive", self.name)))?;
                let generation = RandomState::new().hash_one(index) % GENERATIONS + 1;
                slots.all.push(Slot { generation, left: GENERATIONS as u32, value: None });
                index
            }
        };
        let slot = &mut slots.all[index as usize];
        slot.value = Some(value);
        Ok(self.kind << 56 | slot.generation << 32 | u64::from(index))
    }

    /// The value of an id.
    pub fn get(&self, id: u64) -> Result<Arc<T>, Failure> {
        let slots = self.lock();
        let slot = slots.all.get((id & 0xffff_ffff) as usize);
        slot.filter(|slot| id >> 32 == self.kind << 24 | slot.generation)
            .and_then(|slot| slot.value.clone())
            .ok_or_else(|| self.invalid())
    }

    /// Removes a value. It is dropped when the last call that uses it ends.
    pub fn remove(&self, id: u64) -> Result<Arc<T>, Failure> {
        let value = self.get(id)?;
        let mut slots = self.lock();
        let index = (id & 0xffff_ffff) as u32;
        let slot = &mut slots.all[index as usize];
        // Another thread may have removed it since `get`.
        if id >> 32 != self.kind << 24 | slot.generation || slot.value.take().is_none() {
            return Err(self.invalid());
        }
        slot.generation = slot.generation % GENERATIONS + 1;
        slot.left -= 1;
        if slot.left > 0 {
            slots.free.push(index);
        }
        Ok(value)
    }

    fn invalid(&self) -> Failure {
        Failure::new(
            crossrank_status::CROSSRANK_ERR_HANDLE,
            format!(
                "invalid handle: no {} has this id. It is null, was freed, or is of another kind",
                self.name
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_living_ids_of_the_same_table_are_valid() {
        let (cats, dogs) = (Table::new(1, "cat"), Table::new(2, "dog"));
        let cat = cats.insert(Arc::new("tom")).ok().unwrap();
        let dog = dogs.insert(Arc::new("rex")).ok().unwrap();
        assert_eq!(cats.get(cat).ok().as_deref(), Some(&"tom"));
        assert!(cats.get(dog).is_err() && dogs.get(cat).is_err() && cats.get(0).is_err());
        for bit in 0..64 {
            assert!(cats.get(cat ^ 1 << bit).is_err(), "bit {bit}");
        }
        let held = cats.get(cat).ok().unwrap();
        assert!(cats.remove(cat).is_ok());
        assert!(cats.get(cat).is_err() && cats.remove(cat).is_err());
        assert_eq!(*held, "tom");
        // The slot is used again under another id.
        let next = cats.insert(Arc::new("kit")).ok().unwrap();
        assert_eq!(next as u32, cat as u32);
        assert!(next != cat && cats.get(cat).is_err());
    }
}
