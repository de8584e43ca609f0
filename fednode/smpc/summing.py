"""What an owner of chunks owes: reports, sums over U, digests; and what everybody owes of the sum: to hold all of it.

Security assumption: a chunk counts only under the root or the digest on the ledger (`exchange`); a set that must not
be opened is not summed either.
"""

from __future__ import annotations

from fednode.smpc import jobs
from fednode.smpc.exchange import Exchange
from fednode.smpc.messages import Effect, SumParams, SumView, Timer
from fednode.smpc.opening import refuse_unsafe
from fednode.smpc.pacing import Jobs, Pace, Running, Work
from fednode.sums import bodies
from fednode.sums.attempt import compute_list_digest
from fednode.sums.phase import Phase


class Summing:
    """ROSTER, DIGEST and SUMACK of one attempt."""

    def __init__(self, params: SumParams, exchange: Exchange, pace: Pace, running: Jobs) -> None:
        self._params = params
        self._exchange = exchange
        self._pace = pace
        self._jobs = running
        self._has_reported = False

    def report(self, view: SumView) -> list[Effect]:
        """As an owner, report each chunk complete, or after a while who is missing."""
        missing = self._exchange.missing_masked(view)
        waiting = self._pace.start(view, Timer.WANT, Timer.REPORT) if missing else []
        if self._params.me in view.posted or (missing and not self._pace.is_report_due(view)):
            return waiting
        if not self._exchange.owned_open(view):
            return []
        message = bodies.Roster(*self._params.place(view.number), view.step, tuple(missing))
        return waiting + self._pace.submit(view, message)

    def sum(self, view: SumView) -> list[Effect]:
        """As an owner, sum over U, post the digests, send the sums to everyone."""
        refuse_unsafe(self._params, view)
        parts = self._exchange.collect_parts(view)
        if parts is None:
            return self._pace.start(view, Timer.WANT)
        if parts:
            self._exchange.begin_sums(chunk for chunk, _ in parts)
            return [self._jobs.start(Running(Work.SUM), jobs.SumChunks(parts))]
        effects = self._exchange.push_sums(view)
        digests = self._exchange.own_digests(view)
        if view.phase is not Phase.DIGEST or digests is None or self._params.me in view.posted:
            return effects
        return self._pace.submit(view, bodies.Digest(*self._params.place(view.number), digests)) + effects

    def acknowledge(self, view: SumView) -> list[Effect]:
        """Acknowledge the whole list of digests, or after a while report what is withheld."""
        if self._params.me not in view.present:
            return []
        missing = self._exchange.missing_sums(view)
        if missing:
            waiting = self._pace.start(view, Timer.WANT, Timer.REPORT)
            withheld = tuple(chunk for chunk in missing if view.chunks[chunk].owner != self._params.me)
            self._has_reported = self._has_reported or self._params.me in view.posted
            if self._has_reported or not withheld or not self._pace.is_report_due(view):
                return waiting
            message = bodies.SumAck(*self._params.place(view.number), None, withheld)
            return waiting + self._pace.submit(view, message, "missing")
        if self._params.me in view.acked:
            return []
        digests = [chunk.digest or b"" for chunk in view.chunks]
        place = self._params.place(view.number)
        message = bodies.SumAck(*place, compute_list_digest(*place, digests), ())
        return self._pace.submit(view, message, "acknowledged")
