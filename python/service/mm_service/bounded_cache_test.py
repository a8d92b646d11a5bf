from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mm_service.bounded_cache import BoundedCache, BoundedCacheStatistics

MOST = 3
keys = st.sampled_from("abcde")


class Cache(RuleBasedStateMachine):
    """Against a list of pairs in the order of their use."""

    def __init__(self) -> None:
        super().__init__()
        self.cache: BoundedCache[str, int] = BoundedCache(MOST)
        self.pairs: list[tuple[str, int]] = []
        self.evicted = 0

    def take_out(self, key: str) -> int | None:
        value = dict(self.pairs).get(key)
        self.pairs = [pair for pair in self.pairs if pair[0] != key]
        return value

    @rule(key=keys, value=st.integers())
    def put(self, key: str, value: int) -> None:
        self.cache.put(key, value)
        self.take_out(key)
        self.pairs.append((key, value))
        if len(self.pairs) > MOST:
            del self.pairs[0]
            self.evicted += 1

    @rule(key=keys)
    def use(self, key: str) -> None:
        value = self.take_out(key)
        if value is not None:
            self.pairs.append((key, value))
        assert self.cache.use(key) == value

    @rule(key=keys)
    def discard(self, key: str) -> None:
        self.cache.discard(key)
        self.take_out(key)

    @invariant()
    def holds_the_same(self) -> None:
        assert {key: self.cache.peek(key) for key in "abcde" if key in self.cache} == dict(self.pairs)
        assert self.cache.values() == [value for _, value in self.pairs]
        assert len(self.cache) == len(self.pairs)
        assert self.cache.statistics() == BoundedCacheStatistics(len(self.pairs), MOST, self.evicted)


TestCache = Cache.TestCase
