"""One modelled instance, written as plainly as possible: its requests, its batch and its memory, block by block.

``reference_simulator`` has the fleet around it.
"""

import math
from collections import Counter
from dataclasses import dataclass, field


@dataclass(eq=False)
class Request:
    number: int
    arrival_s: float
    region: str
    model: str
    tier: str
    prompt: int
    output: int
    app: str = ""
    session: object = None
    ids: tuple = ()  # of the prompt's prefix blocks, then of those that its output fills
    cached: int | None = None  # prompt tokens that are found, where it is told
    promoted: bool = False
    enqueued: tuple = ()  # when it came to its instance, and its number
    produced: int = 0  # output tokens that were out when it was last taken in, or one more when it began to decode
    steps: int = 0  # decode iterations since
    found: int = 0  # tokens that did not have to be computed when it was last taken in
    shared: list = field(default_factory=list)  # ids of its prompt that it uses while it runs, with their memory blocks
    unprefilled: int = 0  # tokens not prefilled when the current iteration began
    chunk: int = 0  # of these in it
    first_token_s: float = math.nan
    finish_s: float = math.nan
    preemptions: int = 0
    found_tokens: int | None = None  # when it was first taken in

    @property
    def need(self) -> int:
        return self.prompt + self.output

    @property
    def total(self) -> int:
        """Tokens to compute before its next token: the prompt, and output that was out before it was preempted."""
        return self.prompt + self.produced


class PrefixCache:
    """The prefix blocks that an instance knows: some are in use, the others go in the order of their release."""

    def __init__(self):
        self.sizes = {}  # memory blocks, by id
        self.users = {}  # running requests that list it, by id
        self.released = []  # ids not in use, the least recently released first

    def hits(self, ids):
        found = 0
        while found < len(ids) and ids[found] in self.sizes:
            found += 1
        return found

    @property
    def in_use(self):
        return sum(self.sizes[i] for i, n in self.users.items() if n > 0)

    @property
    def not_in_use(self):
        return sum(self.sizes[i] for i in self.released)

    def use(self, i, size):
        if i not in self.sizes:
            self.sizes[i], self.users[i] = size, 0
        elif self.users[i] == 0:
            self.released.remove(i)
        self.users[i] += 1

    def release(self, i):
        self.users[i] -= 1
        if self.users[i] == 0:
            self.released.append(i)

    def keep(self, i, size):
        """An id that nobody uses now: new here, or as if it had just been released."""
        if i not in self.sizes:
            self.sizes[i], self.users[i] = size, 0
        elif self.users[i] > 0:
            return
        else:
            self.released.remove(i)
        self.released.append(i)

    def evict(self):
        i = self.released.pop(0)
        del self.sizes[i], self.users[i]


@dataclass(eq=False)
class Instance:
    number: int
    region: str
    gpu: str
    state: str = "empty"
    pool: object = None
    variant: object = None
    batching: object = None  # of its variant
    performance: object = None
    prefix_tokens: int | None = None  # of a prefix block
    nodes: list = field(default_factory=list)
    ready_s: float = math.inf
    queue: list = field(default_factory=list)
    batch: list = field(default_factory=list)  # in the order in which they were taken in
    admitted: list = field(default_factory=list)
    partial: list = field(default_factory=list)  # of at most one request, with what is left of its prompt
    iteration_ends_s: float = math.inf
    cache: PrefixCache = field(default_factory=PrefixCache)
    free: list = field(default_factory=list)  # numbers of memory blocks
    held: dict = field(default_factory=dict)  # the others, by who holds them: a running request or an id
    evictions: int = 0

    def become(self, variant, batching, performance, prefix_tokens):
        """An instance of a variant, with nothing in its memory."""
        self.variant, self.batching, self.performance = variant, batching, performance
        self.prefix_tokens = prefix_tokens
        self.forget()

    def forget(self):
        assert not self.running
        self.cache, self.held = PrefixCache(), {}
        self.free = list(range(self.capacity)) if self.blocks else []

    @property
    def next_s(self) -> float:
        return self.ready_s if self.state == "acquiring" else self.iteration_ends_s

    @property
    def starting(self) -> list:
        return self.admitted + self.partial

    @property
    def running(self) -> list:
        return self.batch + self.starting

    @property
    def pending(self) -> int:
        started = sum(r.unprefilled + 1 for r in self.starting)
        return sum(r.total + 1 for r in self.queue) + started + len(self.batch)

    # memory

    @property
    def blocks(self) -> bool:
        return self.batching.kv_reserved == "blocks"

    @property
    def capacity(self) -> int:
        """Memory blocks there are."""
        blocks = self.performance.kv_capacity / self.batching.block_tokens
        assert blocks == int(blocks)
        return int(blocks)

    def blocks_for(self, tokens):
        return math.ceil(max(tokens, 0) / self.batching.block_tokens)

    def context(self, request):
        return request.prompt + request.produced + self.batching.tokens_per_step * request.steps

    def usable(self, request):
        """Whether a request's ids count here: not where even alone, with them, it could outgrow the memory.

        (A prefix block that is not a multiple of a memory block, or is not full, leaves part of one unused.)
        """
        if not (self.blocks and self.batching.prefix_caching and self.prefix_tokens and request.ids):
            return False
        ids = min(len(request.ids), math.ceil(request.prompt / self.prefix_tokens))
        own = self.blocks_for(request.need - min(ids * self.prefix_tokens, request.prompt))
        return ids * self.blocks_for(self.prefix_tokens) + own <= self.capacity

    def prompt_ids(self, request):
        """Ids of its prompt's blocks with the memory blocks that each takes."""
        if not self.usable(request):
            return []
        size = self.prefix_tokens
        n = min(len(request.ids), math.ceil(request.prompt / size))
        return [(request.ids[k], self.blocks_for(min(size, request.prompt - k * size))) for k in range(n)]

    def output_ids(self, request):
        """The same of those blocks that its output has filled when it is done."""
        if not self.usable(request):
            return []
        size, first = self.prefix_tokens, math.ceil(request.prompt / self.prefix_tokens)
        ids = [(k, request.ids[k]) for k in range(first, len(request.ids)) if k * size < request.need]
        return [(i, self.blocks_for(min(size, request.need - k * size))) for k, i in ids]

    def covered(self, ids, request):
        """Tokens of a prompt that lie in shared memory."""
        return min(len(ids) * (self.prefix_tokens or 0), request.prompt)

    def hit_tokens(self, request):
        """Tokens of its prompt that its ids find in the cache now."""
        hits = self.cache.hits([i for i, _ in self.prompt_ids(request)])
        return min(hits * (self.prefix_tokens or 0), request.prompt)

    def found_by(self, request):
        if self.usable(request):
            return min(self.hit_tokens(request), request.total - 1)
        cached = request.cached
        if cached is None:
            share = self.batching.cached_prompt_share
            if isinstance(share, dict):
                share = share.get(request.app, share.get(request.model, 0.0))
            cached = int(share * request.prompt)
        return min(cached, request.prompt - 1)

    def private(self, request):
        """Tokens of a running request in memory of its own."""
        tokens = self.context(request) if request in self.batch else request.total
        return max(tokens - self.covered(request.shared, request), 0)

    @property
    def in_use(self) -> int:
        """Memory blocks."""
        return self.cache.in_use + sum(self.blocks_for(self.private(r)) for r in self.running)

    @property
    def kv(self):
        """Tokens in use, or reserved."""
        if self.blocks:
            return self.cache.in_use * self.batching.block_tokens + sum(self.private(r) for r in self.running)
        return sum(self.reserved(r) for r in self.starting) + sum(r.need for r in self.batch)

    def reserved(self, request):
        """Tokens, where memory is not taken in blocks, of one being prefilled."""
        return request.prompt + (request.output if self.batching.kv_reserved == "whole" else 1)

    def has_memory(self, request):
        """Whether one more would find memory; in blocks never if it could outgrow all there is."""
        if not self.blocks:
            return self.kv + self.reserved(request) <= self.performance.kv_capacity
        cache, ids = self.cache, self.prompt_ids(request)
        shared = [cache.sizes.get(i, size) for i, size in ids if not cache.users.get(i)]
        own = self.blocks_for(request.total - self.covered(ids, request))
        return self.blocks_for(request.need) <= self.capacity and self.in_use + own + sum(shared) <= self.capacity

    def release(self, request):
        for i, _ in reversed(request.shared):
            self.cache.release(i)
        request.shared = []

    def evict(self):
        while self.blocks and self.cache.released and self.in_use + self.cache.not_in_use > self.capacity:
            self.cache.evict()
            self.evictions += 1

    def settle(self):
        """Hand out memory blocks for the iteration that starts."""
        if not self.blocks:
            return
        wanted = {r: self.blocks_for(self.private(r)) for r in self.running} | self.cache.sizes
        for holder in list(self.held):
            while len(self.held[holder]) > wanted.get(holder, 0):
                self.free.append(self.held[holder].pop())
            if holder not in wanted:
                del self.held[holder]
        for holder, n in wanted.items():
            mine = self.held.setdefault(holder, [])
            while len(mine) < n:
                mine.append(self.free.pop())

    def audit(self):
        """No memory block is held twice, none is lost, and who uses what is counted right."""
        if self.batching is None or not self.blocks:
            assert not self.held and not self.cache.sizes
            return
        everywhere = self.free + [block for blocks in self.held.values() for block in blocks]
        assert len(everywhere) == self.capacity and set(everywhere) == set(range(self.capacity))
        assert self.in_use + self.cache.not_in_use + len(self.free) == self.capacity
        listed = Counter(i for r in self.running for i, _ in self.prompt_ids(r))
        assert listed == Counter(i for r in self.running for i, _ in r.shared)
        assert all(n == listed[i] for i, n in self.cache.users.items())
        assert set(listed) <= set(self.cache.sizes) == set(self.cache.users)
        assert sorted(self.cache.released) == sorted(i for i, n in self.cache.users.items() if n == 0)
        assert all(n >= 0 for n in (self.in_use, self.pending, *self.cache.sizes.values()))
        assert len(self.running) <= self.batching.max_requests
        assert not (set(self.queue) & set(self.running)) and len(set(self.running)) == len(self.running)

    # iterations

    def preempt(self):
        """Whoever was taken in last waits again, while what runs does not fit."""
        preempted = []
        while self.blocks and self.in_use > self.capacity:
            last = self.running[-1]
            self.release(last)
            if last in self.batch:
                last.produced, last.steps = math.floor(self.context(last)) - last.prompt, 0
                self.batch.remove(last)
            else:
                self.partial.remove(last)
            last.unprefilled = last.chunk = 0
            last.preemptions += 1
            self.queue.insert(0, last)
            preempted.append(last)
        return preempted

    def take_in(self, first_waiting):
        """Move waiting requests into the coming iteration, while batch, tokens and memory allow."""
        batching = self.batching
        budget = batching.max_tokens - len(self.batch)
        for request in list(self.partial):
            request.chunk = min(request.unprefilled, budget)
            if request.chunk == request.unprefilled:
                self.partial, self.admitted = [], [request]
        while not self.partial and (head := first_waiting()) is not None:
            if len(self.running) >= batching.max_requests or not self.has_memory(head):
                break
            room = budget - sum(r.chunk for r in self.starting)
            found = self.found_by(head)
            new = head.total - found
            if batching.chunked_prefill and room <= 0:
                break
            if not batching.chunked_prefill and self.starting and new > room:
                break
            self.queue.remove(head)
            head.found, head.unprefilled = found, new
            head.chunk = min(new, room) if batching.chunked_prefill else new
            if head.found_tokens is None:
                head.found_tokens = found
            head.shared = self.prompt_ids(head)
            for i, size in head.shared:
                self.cache.use(i, size)
            (self.admitted if head.chunk == new else self.partial).append(head)

    def duration_s(self):
        """Of the iteration that starts; infinite if there is nothing to do."""
        perf, decoding = self.performance, len(self.batch)
        context = sum(self.context(r) for r in self.batch)
        if self.starting:
            pairs = sum(r.chunk * (r.total - r.unprefilled + r.chunk / 2) for r in self.starting)
            return perf.mixed(sum(r.chunk for r in self.starting), decoding, context) + perf.attention * pairs
        return perf.decode(decoding, context) if self.batch else math.inf

    def start_iteration(self, now, first_waiting):
        if not self.preempt():
            self.take_in(first_waiting)
        self.evict()
        self.settle()
        self.iteration_ends_s = now + self.duration_s()
        if self.state == "draining" and not self.running:
            self.give_back()
        self.audit()

    def give_back(self):
        self.state = "spot"
        self.forget()

    def end_iteration(self, now):
        """Returns who is done, in the trace's order."""
        for request in self.batch:
            request.steps += 1
        for request in self.partial:
            request.unprefilled -= request.chunk
        for request in self.admitted:
            if math.isnan(request.first_token_s):
                request.first_token_s = now
            request.produced, request.steps, request.unprefilled = request.produced + 1, 0, 0
        self.batch, self.admitted = self.batch + self.admitted, []
        m = self.batching.tokens_per_step
        done = [r for r in self.batch if r.steps == math.ceil((r.output - r.produced) / m)]
        done.sort(key=lambda r: r.number)
        for request in done:
            for i, size in reversed(self.output_ids(request)):
                self.cache.keep(i, size)
            self.release(request)
            self.batch.remove(request)
            request.finish_s = now
        self.evict()  # what runs on has grown
        return done
