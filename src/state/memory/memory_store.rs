//! A byte store in memory, and the place where the stores of closed tasks wait to be opened again.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::state::{
    ByteStore, ByteStores, Entry, FrozenChanges, Positions, StateError, write_at_once,
};

/// Byte stores in memory. Clones share the stores; a store is open once at a time and outlives its
/// closing, not the process.
#[derive(Debug, Clone, Default)]
pub struct MemoryByteStores {
    images: Images,
}

/// By task name; `None` while the store is open.
type Images = Arc<Mutex<BTreeMap<String, Option<Image>>>>;

#[derive(Debug, Default)]
struct Image {
    entries: BTreeMap<Box<[u8]>, Box<[u8]>>,
    bytes: u64,
    positions: Option<Positions>,
}

/// An open store: holds the image, and gives it back when it is dropped.
struct MemoryByteStore {
    name: String,
    image: Image,
    images: Images,
}

fn locked(images: &Images) -> MutexGuard<'_, BTreeMap<String, Option<Image>>> {
    // Nothing that can panic runs under the lock: a poisoned one still holds whole images.
    images.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_open(name: &str) -> StateError {
    StateError::Store { store: name.to_owned(), reason: "it is open already".to_owned() }
}

impl ByteStores for MemoryByteStores {
    fn open(&mut self, name: &str) -> Result<Box<dyn ByteStore>, StateError> {
        let mut images = locked(&self.images);
        let slot = images.entry(name.to_owned()).or_insert_with(|| Some(Image::default()));
        let image = slot.take().ok_or_else(|| is_open(name))?;
        let images = Arc::clone(&self.images);
        Ok(Box::new(MemoryByteStore { name: name.to_owned(), image, images }))
    }

    fn wipe(&mut self, name: &str) -> Result<(), StateError> {
        let mut images = locked(&self.images);
        if images.get(name).is_some_and(Option::is_none) {
            return Err(is_open(name));
        }
        images.remove(name);
        Ok(())
    }
}

impl ByteStore for MemoryByteStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.image.entries.get(key).map(|value| value.to_vec()))
    }

    fn scan<'a>(
        &'a self,
        from: &[u8],
        to: Option<&[u8]>,
    ) -> Box<dyn Iterator<Item = Result<Entry, StateError>> + 'a> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        if to.is_some_and(|to| to <= from) {
            return Box::new(std::iter::empty());
        }
        let bounds = (Included(from), to.map_or(Unbounded, Excluded));
        let range = self.image.entries.range::<[u8], _>(bounds);
        Box::new(range.map(|(key, value)| Ok((key.to_vec(), value.to_vec()))))
    }

    fn write(
        &mut self,
        changes: &mut dyn Iterator<Item = (&[u8], Option<&[u8]>)>,
        positions: &Positions,
    ) -> Result<(), StateError> {
        let image = &mut self.image;
        for (key, value) in changes {
            let old = match value {
                Some(value) => {
                    image.bytes += (key.len() + value.len()) as u64;
                    image.entries.insert(key.into(), value.into())
                }
                None => image.entries.remove(key),
            };
            image.bytes -= old.map_or(0, |old| (key.len() + old.len()) as u64);
        }
        image.positions = Some(positions.clone());
        Ok(())
    }

    fn begin_write(
        &mut self,
        changes: Arc<dyn FrozenChanges>,
        positions: Positions,
    ) -> Result<(), StateError> {
        write_at_once(self, &*changes, &positions)
    }

    fn poll_write(&mut self) -> Result<bool, StateError> {
        Ok(true)
    }

    fn finish_write(&mut self) -> Result<(), StateError> {
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StateError> {
        Ok(())
    }

    fn positions(&self) -> Result<Option<Positions>, StateError> {
        Ok(self.image.positions.clone())
    }

    fn size_bytes(&self) -> u64 {
        self.image.bytes
    }
}

impl Drop for MemoryByteStore {
    fn drop(&mut self) {
        let image = std::mem::take(&mut self.image);
        locked(&self.images).insert(std::mem::take(&mut self.name), Some(image));
    }
}
