"""The prefix cache of every instance: blocks of prompts by their ids (compiled).

An id is in use while a running request lists it, and held once however many do. One that none uses stays until its memory is
needed; the one that was released first goes first, and of one request the last id before the first.
"""

import numpy as np
from numba import njit

from sageserve_lib.simulation.arrays import buckets, entries, entry_of_id, instances, prefix_ids, requests, variants

_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


@njit(cache=True)
def bucket_of(s, i, id_):
    """The bucket of an id in instance ``i``'s cache: the finalizer of SplitMix64."""
    mixed = np.uint64(id_) + np.uint64(i + 1) * _MIX[0]
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX[1]
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX[2]
    return np.int64(mixed >> np.uint64(64 - s.bucket_bits))


@njit(cache=True)
def find(s, i, id_):
    """Entry of an id in instance ``i``'s cache; -1: it is not there."""
    at = buckets(s)[bucket_of(s, i, id_)]
    while at >= 0 and (entries(s)[at].id != id_ or entries(s)[at].instance != i):
        at = entries(s)[at].after
    return at


@njit(cache=True)
def insert(s, i, id_, blocks):
    """Put an id into instance ``i``'s cache, in use by none yet."""
    at = s.free_entry
    entry = entries(s)[at]
    s.free_entry = entry.after
    s.free_entries -= 1
    bucket = bucket_of(s, i, id_)
    entry.id, entry.instance, entry.references, entry.blocks = id_, i, 0, blocks
    entry.after = buckets(s)[bucket]
    buckets(s)[bucket] = at
    return at


@njit(cache=True)
def fill_buckets(record):
    """Put every id into its bucket, of which there are others now."""
    s = record[0]
    for at in range(s.n_entries):
        if entries(s)[at].instance >= 0:
            bucket = bucket_of(s, entries(s)[at].instance, entries(s)[at].id)
            entries(s)[at].after = buckets(s)[bucket]
            buckets(s)[bucket] = at


@njit(cache=True)
def keep(s, i, at):
    """An id that no running request uses stays, as the one released last."""
    instance, entry = instances(s)[i], entries(s)[at]
    entry.older, entry.newer = instance.newest_entry, -1
    if instance.newest_entry >= 0:
        entries(s)[instance.newest_entry].newer = at
    else:
        instance.oldest_entry = at
    instance.newest_entry = at
    instance.cached_blocks += entry.blocks


@njit(cache=True)
def unkeep(s, i, at):
    """It is used again, or goes."""
    instance, entry = instances(s)[i], entries(s)[at]
    if entry.older >= 0:
        entries(s)[entry.older].newer = entry.newer
    else:
        instance.oldest_entry = entry.newer
    if entry.newer >= 0:
        entries(s)[entry.newer].older = entry.older
    else:
        instance.newest_entry = entry.older
    instance.cached_blocks -= entry.blocks


@njit(cache=True)
def drop_oldest(s, i):
    """The id that was released first goes."""
    at = instances(s)[i].oldest_entry
    unkeep(s, i, at)
    bucket = bucket_of(s, i, entries(s)[at].id)
    if buckets(s)[bucket] == at:
        buckets(s)[bucket] = entries(s)[at].after
    else:
        before = buckets(s)[bucket]
        while entries(s)[before].after != at:
            before = entries(s)[before].after
        entries(s)[before].after = entries(s)[at].after
    entries(s)[at].instance = -1
    entries(s)[at].after = s.free_entry
    s.free_entry = at
    s.free_entries += 1


@njit(cache=True)
def forget(s, i):
    """An instance that is given back has lost its cache."""
    while instances(s)[i].oldest_entry >= 0:
        drop_oldest(s, i)


@njit(cache=True)
def n_prompt_ids(s, slot, v):
    """Of a request's ids those of its prompt, as far as it lists them, if variant ``v`` keeps prefixes; none where with them
    it would not fit on an instance even alone.
    """
    request, variant = requests(s)[slot], variants(s)[v]
    size = s.prefix_block_tokens
    if size == 0 or request.n_blocks == 0 or not variant.prefix_caching:
        return 0
    n = min(request.n_blocks, -(-request.prompt_tokens // size))
    covered = min(n * size, request.prompt_tokens)
    rest = -(-(request.prompt_tokens + request.output_tokens - covered) // variant.block_tokens)
    return n if n * -(-size // variant.block_tokens) + rest <= variant.kv_blocks else 0


@njit(cache=True)
def blocks_of_id(s, slot, k, until, block_tokens):
    """Blocks that a request's ``k``-th id takes, of tokens before ``until``."""
    size = s.prefix_block_tokens
    return -(-min(size, until - k * size) // block_tokens)


@njit(cache=True)
def look_up(s, i, slot, n_ids):
    """How many ids of a prompt are cached, one after the other from its start; and the blocks that all of them take which are
    not in use already. Notes where they are.
    """
    request, block_tokens = requests(s)[slot], variants(s)[instances(s)[i].variant].block_tokens
    first = request.first_block - s.first_id
    hits, need = 0, 0
    for k in range(n_ids):
        at = find(s, i, prefix_ids(s)[first + k])
        entry_of_id(s)[first + k] = at
        if at < 0:
            need += blocks_of_id(s, slot, k, request.prompt_tokens, block_tokens)
            continue
        if entries(s)[at].references == 0:
            need += entries(s)[at].blocks
        hits += hits == k
    return hits, need


@njit(cache=True)
def use(s, i, slot, n_ids):
    """A request uses its prompt's ids, found by :func:`look_up` just before."""
    request, instance = requests(s)[slot], instances(s)[i]
    block_tokens = variants(s)[instance.variant].block_tokens
    first = request.first_block - s.first_id
    for k in range(n_ids):
        at = entry_of_id(s)[first + k]
        if at < 0:  # or there already, where a prompt lists an id twice
            at = find(s, i, prefix_ids(s)[first + k])
        if at < 0:
            blocks = blocks_of_id(s, slot, k, request.prompt_tokens, block_tokens)
            at = insert(s, i, prefix_ids(s)[first + k], blocks)
            instance.shared_blocks += entries(s)[at].blocks
        elif entries(s)[at].references == 0:
            unkeep(s, i, at)
            instance.shared_blocks += entries(s)[at].blocks
        entry_of_id(s)[first + k] = at
        entries(s)[at].references += 1


@njit(cache=True)
def let_go(s, i, slot, finished):
    """A request uses its ids no more; one that finished leaves those of its output too."""
    request, instance = requests(s)[slot], instances(s)[i]
    n = request.n_prompt_blocks
    if n == 0:
        return
    first = request.first_block - s.first_id
    if finished:
        until = request.prompt_tokens + request.output_tokens
        block_tokens = variants(s)[instance.variant].block_tokens
        last = min(request.n_blocks, -(-until // s.prefix_block_tokens)) - 1
        for k in range(last, -(-request.prompt_tokens // s.prefix_block_tokens) - 1, -1):
            at = find(s, i, prefix_ids(s)[first + k])
            if at < 0:
                at = insert(s, i, prefix_ids(s)[first + k], blocks_of_id(s, slot, k, until, block_tokens))
            elif entries(s)[at].references > 0:
                continue
            else:
                unkeep(s, i, at)
            keep(s, i, at)
    for k in range(n - 1, -1, -1):
        at = entry_of_id(s)[first + k]
        entries(s)[at].references -= 1
        if entries(s)[at].references == 0:
            instance.shared_blocks -= entries(s)[at].blocks
            keep(s, i, at)


@njit(cache=True)
def found_of(s, slot, hits):
    """Tokens that a request need not compute: at least one is computed."""
    request = requests(s)[slot]
    return min(hits * s.prefix_block_tokens, request.prompt_tokens, request.prompt_tokens + request.produced - 1)
