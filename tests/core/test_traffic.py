"""Own transactions on their way: what is said again, and what is not worth saying any more."""

from __future__ import annotations

from fednode.chain.block import Receipt
from fednode.chain.state import State
from fednode.core import effects as do
from fednode.core.traffic import GATHER_MS, MAX_PENDING, Traffic, decode_frame
from fednode.crypto import Ed25519Signer, Secret
from fednode.effects import Asked, StartTimer
from fednode.ids import MemberId
from fednode.ledger.bodies import Memo
from fednode.ledger.record_table import RECORD_TABLE
from fednode.ledger.refusals import Refusal
from fednode.ledger.studies.bodies import Ready
from fednode.ledger.transactions import Mempool, decode_transaction
from fednode.sums.bodies import SumAck

STUDY = bytes(32)
NOW_MS = 1_700_000_000_000


class FakeChain:
    """A tip whose rules refuse every body of a kind in `refused`."""

    def __init__(self, *refused):
        self.height, self.refused, self.state = 5, refused, State.empty(RECORD_TABLE)
        self.pool = Mempool(lambda transaction: True, self.height)

    def read(self, data):
        return decode_transaction(data)

    def is_welcome(self, transaction):
        return self.pool.is_welcome(transaction)

    def verify(self, data, read=None):
        return read or decode_transaction(data)

    def adopt(self, transaction, public_key):
        return transaction

    def admit(self, transaction):
        return self.pool.add(transaction)

    def judge(self, transaction):
        ok = not isinstance(transaction.body, self.refused)
        return Receipt(transaction.txid, ok, "" if ok else Refusal.PHASE_CLOSED)


def traffic_of(chain):
    return Traffic(chain, bytes(32), MemberId(1), Ed25519Signer(Secret(b"s" * 32)))


def sends(effects):
    return [effect for effect in effects if isinstance(effect, do.SendToAll)]


def items(effects):
    return [item for effect in sends(effects) for item in decode_frame(effect.data).message.items]


def pause(traffic):
    """Let the gathering of transactions come to its end."""
    while traffic.flush():
        pass


def ack(number):
    return SumAck(STUDY, number, 0, bytes(32))


def test_what_a_later_nonce_made_worthless_is_signed_anew_and_sent_again():
    traffic = traffic_of(FakeChain())
    traffic.submit(ack(1), NOW_MS)
    pause(traffic)
    again = traffic.on_block((), 1000 * NOW_MS + 7, NOW_MS + 50)
    assert len(sends(again)) == 1
    assert len(traffic.outbox) == 1


def test_a_message_of_a_phase_that_ended_without_it_is_given_up():
    """An acknowledgement is needed from a quorum only, so the slowest member's comes too late in every round."""
    traffic = traffic_of(FakeChain(SumAck))
    for number in range(2 * MAX_PENDING):
        assert traffic.submit(ack(number), NOW_MS + number)
        pause(traffic)
        assert traffic.on_block((), 1000 * (NOW_MS + number) + 7, NOW_MS + number) == []
        assert len(traffic.outbox) == 0


def test_what_belongs_to_no_phase_is_kept_even_while_the_rules_refuse_it():
    traffic = traffic_of(FakeChain(Ready, Memo))
    traffic.submit(Ready(STUDY, bytes(32), bytes(32)), NOW_MS)
    traffic.submit(Memo("audited"), NOW_MS + 1)
    pause(traffic)
    again = traffic.on_block((), 1000 * (NOW_MS + 1) + 7, NOW_MS + 50)
    assert (len(sends(again)), len(items(again))) == (1, 2)
    assert len(traffic.outbox) == 2


def test_what_comes_close_behind_another_is_gathered_into_one_frame():
    traffic = traffic_of(FakeChain())
    first = traffic.submit(ack(1), NOW_MS)
    assert len(items(first)) == 1  # nothing waits for company
    assert Asked(do.Own.CORE, StartTimer(do.CoreTimer.GATHER, GATHER_MS)) in first
    for number in range(2, 12):
        assert sends(traffic.submit(ack(number), NOW_MS)) == []
    rest = traffic.flush()
    assert (len(sends(rest)), len(items(rest))) == (1, 10)
    assert Asked(do.Own.CORE, StartTimer(do.CoreTimer.GATHER, GATHER_MS)) in rest
    assert traffic.flush() == []
    assert len(items(traffic.submit(ack(12), NOW_MS + 100))) == 1
