//! Where kept answers lie: in memory, within a number of bytes; what was not asked for long goes first.

use std::{
    any::Any,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use pingora::{
    Error, ErrorType, Result,
    cache::{
        CacheKey, CacheMeta, HitHandler, MissHandler, PurgeType, Storage,
        key::{CacheHashKey, HashBinary},
        storage::{HandleHit, HandleMiss, MissFinishType, PurgeOutcome, PurgeTarget},
        trace::SpanHandle,
    },
};
use quick_cache::{Weighter, sync::Cache};

/// What an entry costs beside its head and body, roughly.
const ENTRY_BYTES: usize = 256;

/// Size of an answer of which nothing is known, to size tables by.
const USUAL_BYTES: usize = 8 * 1024;

/// Kept answers.
#[derive(Debug)]
pub(super) struct Store {
    kept: Cache<HashBinary, Arc<Kept>, Bytewise>,
}

/// One answer.
#[derive(Debug)]
struct Kept {
    /// Written anew when the upstream says that the answer is still good.
    meta: Mutex<Arc<Meta>>,
    body: Bytes,
    weight: u64,
}

/// pingora's two parts of what is known about an answer.
#[derive(Debug)]
struct Meta {
    internal: Vec<u8>,
    head: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Bytewise;

impl Weighter<HashBinary, Arc<Kept>> for Bytewise {
    fn weight(&self, _key: &HashBinary, kept: &Arc<Kept>) -> u64 {
        kept.weight
    }
}

impl Store {
    /// A store of at most `bytes`, heads and bodies together.
    pub(super) fn new(bytes: usize) -> Self {
        let entries = (bytes / USUAL_BYTES).clamp(16, 1 << 20);
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        Self { kept: Cache::with_weighter(entries, bytes, Bytewise) }
    }

    /// Bytes that are kept now.
    pub(super) fn bytes(&self) -> u64 {
        self.kept.weight()
    }

    fn find(&self, key: &CacheKey) -> Result<Option<(CacheMeta, HitHandler)>> {
        let Some(kept) = self.kept.get(&key.combined_bin()) else { return Ok(None) };
        let meta = kept.meta()?;
        let reading: HitHandler =
            Box::new(Reading { rest: kept.body.clone(), body: kept.body.clone() });
        Ok(Some((meta, reading)))
    }
}

impl Meta {
    fn of(meta: &CacheMeta) -> Result<Arc<Self>> {
        let (internal, head) = meta.serialize()?;
        Ok(Arc::new(Self { internal, head }))
    }

    fn bytes(&self) -> usize {
        self.internal.len() + self.head.len()
    }
}

impl Kept {
    fn new(meta: Arc<Meta>, body: Bytes) -> Self {
        let bytes = meta.bytes() + body.len() + ENTRY_BYTES;
        let weight = u64::try_from(bytes).unwrap_or(u64::MAX);
        Self { meta: Mutex::new(meta), body, weight }
    }

    fn meta(&self) -> Result<CacheMeta> {
        let meta = Arc::clone(&self.meta.lock().unwrap_or_else(PoisonError::into_inner));
        CacheMeta::deserialize(&meta.internal, &meta.head)
    }
}

#[async_trait]
impl Storage for Store {
    async fn lookup(
        &'static self,
        key: &CacheKey,
        _trace: &SpanHandle,
    ) -> Result<Option<(CacheMeta, HitHandler)>> {
        self.find(key)
    }

    async fn get_miss_handler(
        &'static self,
        key: &CacheKey,
        meta: &CacheMeta,
        _trace: &SpanHandle,
    ) -> Result<MissHandler> {
        let (key, meta) = (key.combined_bin(), Meta::of(meta)?);
        Ok(Box::new(Filling { store: self, key, meta, body: BytesMut::new() }))
    }

    async fn purge(
        &'static self,
        target: PurgeTarget<'_>,
        _kind: PurgeType,
        _trace: &SpanHandle,
    ) -> Result<PurgeOutcome> {
        Ok(match self.kept.remove(&target.key().combined_bin()) {
            Some(_) => PurgeOutcome::Purged(None),
            None => PurgeOutcome::NotFound,
        })
    }

    async fn update_meta(
        &'static self,
        key: &CacheKey,
        meta: &CacheMeta,
        _trace: &SpanHandle,
    ) -> Result<bool> {
        let Some(kept) = self.kept.get(&key.combined_bin()) else { return Ok(false) };
        let meta = Meta::of(meta)?;
        *kept.meta.lock().unwrap_or_else(PoisonError::into_inner) = meta;
        Ok(true)
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync + 'static) {
        self
    }
}

/// A kept body on its way to a client.
struct Reading {
    body: Bytes,
    /// What is still to be read.
    rest: Bytes,
}

#[async_trait]
impl HandleHit for Reading {
    async fn read_body(&mut self) -> Result<Option<Bytes>> {
        let rest = std::mem::take(&mut self.rest);
        Ok((!rest.is_empty()).then_some(rest))
    }

    async fn finish(
        self: Box<Self>,
        _storage: &'static (dyn Storage + Sync),
        _key: &CacheKey,
        _trace: &SpanHandle,
    ) -> Result<()> {
        Ok(())
    }

    fn can_seek(&self) -> bool {
        true
    }

    fn seek(&mut self, start: usize, end: Option<usize>) -> Result<()> {
        let end = end.unwrap_or(self.body.len()).min(self.body.len());
        if start > end {
            return Error::e_explain(ErrorType::InternalError, "a range outside of the body");
        }
        self.rest = self.body.slice(start..end);
        Ok(())
    }

    fn get_eviction_weight(&self) -> usize {
        self.body.len()
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }

    fn as_any_mut(&mut self) -> &mut (dyn Any + Send + Sync) {
        self
    }
}

/// An answer on its way into the store; one that does not end is never kept.
struct Filling {
    store: &'static Store,
    key: HashBinary,
    meta: Arc<Meta>,
    body: BytesMut,
}

#[async_trait]
impl HandleMiss for Filling {
    async fn write_body(&mut self, data: Bytes, _eof: bool) -> Result<()> {
        self.body.extend_from_slice(&data);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<MissFinishType> {
        let Self { store, key, meta, body } = *self;
        let size = body.len();
        store.kept.insert(key, Arc::new(Kept::new(meta, body.freeze())));
        Ok(MissFinishType::Created(size))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use pingora::{cache::trace::Span, http::ResponseHeader};

    use super::*;

    fn store(bytes: usize) -> &'static Store {
        Box::leak(Box::new(Store::new(bytes)))
    }

    fn meta(fresh: u64) -> CacheMeta {
        let head = ResponseHeader::build(200, None).expect("a head");
        let until = UNIX_EPOCH + Duration::from_secs(fresh);
        CacheMeta::new(until, UNIX_EPOCH, 0, 0, head)
    }

    async fn keep(store: &'static Store, name: &str, body: &'static [u8]) {
        let key = CacheKey::new(name, "");
        let trace = Span::inactive().handle();
        let mut filling = store.get_miss_handler(&key, &meta(1), &trace).await.expect("room");
        filling.write_body(Bytes::from_static(body), true).await.expect("written");
        filling.finish().await.expect("kept");
    }

    fn find(store: &'static Store, name: &str) -> Option<(CacheMeta, HitHandler)> {
        store.find(&CacheKey::new(name, "")).expect("readable")
    }

    #[tokio::test]
    async fn what_is_kept_is_found_and_read_in_ranges() {
        let store = store(1 << 20);
        keep(store, "a", b"0123456789").await;
        let (_, mut reading) = find(store, "a").expect("kept");
        reading.seek(2, Some(5)).expect("a range");
        assert_eq!(reading.read_body().await.expect("read").as_deref(), Some(&b"234"[..]));
        assert_eq!(reading.read_body().await.expect("read"), None);
        assert!(reading.seek(11, None).is_err());
        assert!(find(store, "b").is_none());
    }

    #[tokio::test]
    async fn an_answer_that_never_ended_is_not_kept() {
        let store = store(1 << 20);
        let trace = Span::inactive().handle();
        let key = CacheKey::new("a", "");
        let mut filling = store.get_miss_handler(&key, &meta(1), &trace).await.expect("room");
        filling.write_body(Bytes::from_static(b"half"), false).await.expect("written");
        drop(filling);
        assert!(find(store, "a").is_none());
        assert_eq!(store.bytes(), 0);
    }

    #[tokio::test]
    async fn the_store_stays_within_its_bytes() {
        let bytes = 64 * 1024;
        let store = store(bytes);
        for number in 0..1_000 {
            keep(store, &number.to_string(), &[b'x'; 1_000]).await;
        }
        assert!(store.bytes() > 0);
        assert!(store.bytes() <= u64::try_from(bytes).expect("it fits"), "{}", store.bytes());
    }

    #[tokio::test]
    async fn a_revalidated_answer_keeps_its_body() {
        let store = store(1 << 20);
        keep(store, "a", b"body").await;
        let trace = Span::inactive().handle();
        let key = CacheKey::new("a", "");
        assert!(store.update_meta(&key, &meta(9), &trace).await.expect("kept"));
        let (found, mut reading) = find(store, "a").expect("kept");
        assert_eq!(found.fresh_until(), UNIX_EPOCH + Duration::from_secs(9));
        assert_eq!(reading.read_body().await.expect("read").as_deref(), Some(&b"body"[..]));
        let gone = CacheKey::new("b", "");
        assert!(!store.update_meta(&gone, &meta(9), &trace).await.expect("no error"));
    }
}
