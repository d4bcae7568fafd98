"""Clients in a closed loop (compiled): each sends its next request when the last one is done, or some time after."""

from numba import njit

from sageserve_lib.simulation.arrays import due, first_of_session, next_of_session


@njit(cache=True)
def comes_before(a, b):
    """Whether one request is sent before another: in the order of the rows where both are sent at once."""
    return a.time_s < b.time_s or (a.time_s == b.time_s and a.row < b.row)


@njit(cache=True)
def send_at(s, row, time_s):
    """A request will be sent at ``time_s``."""
    at = s.n_due
    s.n_due += 1
    due(s)[at].time_s, due(s)[at].row = time_s, row
    while at > 0 and comes_before(due(s)[at], due(s)[(at - 1) >> 1]):
        swap(s, at, (at - 1) >> 1)
        at = (at - 1) >> 1


@njit(cache=True)
def swap(s, a, b):
    """Two of those to be sent change places."""
    time_s, row = due(s)[a].time_s, due(s)[a].row
    due(s)[a].time_s, due(s)[a].row = due(s)[b].time_s, due(s)[b].row
    due(s)[b].time_s, due(s)[b].row = time_s, row


@njit(cache=True)
def take_next(s):
    """Row of the request that is sent next, of which there is one."""
    row = due(s)[0].row
    s.n_due -= 1
    swap(s, 0, s.n_due)
    at = 0
    while True:
        child = 2 * at + 1
        if child >= s.n_due:
            break
        if child + 1 < s.n_due and comes_before(due(s)[child + 1], due(s)[child]):
            child += 1
        if not comes_before(due(s)[child], due(s)[at]):
            break
        swap(s, at, child)
        at = child
    return row


@njit(cache=True)
def begin_session(s, time_s):
    """A client begins the next session, if there is one."""
    if s.sessions_begun < s.n_client_sessions:
        send_at(s, first_of_session(s)[s.sessions_begun], time_s)
        s.sessions_begun += 1


@njit(cache=True)
def is_done(s, row, time_s):
    """A client's request is done: it goes on."""
    following = next_of_session(s)[row]
    if following >= 0:
        send_at(s, following, time_s + s.think_s)
    else:
        begin_session(s, time_s + s.think_s)


@njit(cache=True)
def begin(record):
    """All clients send their first requests, at the start."""
    s = record[0]
    for _ in range(s.n_clients):
        begin_session(s, 0.0)
