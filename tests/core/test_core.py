"""Whole nodes in memory: transactions become final, late and lost nodes come back, nothing signed is ever forgotten."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from fednode.chain import sync
from fednode.chain.block import MAX_TRANSACTIONS_BYTES
from fednode.chain.consensus.messages import BlockRequest, VoteSummary
from fednode.core import effects as do
from fednode.core import traffic
from fednode.core.traffic import _frames
from fednode.effects import Asked, Compute
from fednode.errors import Refused, Rejected
from fednode.ids import Hash, Height, MemberId
from fednode.ledger.application import MAX_VERIFIED_BYTES
from fednode.ledger.bodies import Memo
from fednode.ledger.members.bodies import MemberApprove, MemberRemove
from fednode.ledger.members.reading import get_members, get_membership, get_nonce
from fednode.ledger.studies.bodies import Outcome, StudyAction, StudyCreate, StudyPause, StudyVote
from fednode.ledger.studies.records import StudyStatus, get_report
from fednode.ledger.transactions import sign_transaction
from fednode.p2p.wire_limits import MAX_FRAME_BYTES
from fednode.smpc.jobs import SumChunks
from fednode.smpc.messages import ChunkRef
from tests.ledger.world import TERMS
from tests.node.world import Node, World, transactions_in


def memo(number: int) -> Memo:
    return Memo(f"line {number}")


def proposal(number: int) -> StudyCreate:
    """A proposal nobody can read, as large as they come."""
    return StudyCreate(TERMS, number.to_bytes(4, "big") * 8000)


def is_transactions(effect: do.Effect) -> bool:
    return isinstance(effect, do.SendToAll | do.SendFrame) and bool(transactions_in(effect.data))


def leader(world: World) -> int:
    """Who leads the first view of the next height."""
    return world[1].live().replica.tip.proposer(0)  # type: ignore[arg-type]


# --- transactions -----------------------------------------------------------------------------------------------

def test_transaction_of_any_member_is_final_on_all() -> None:
    world = World().start().rest()
    for number in (1, 2, 3, 4):
        transaction = world.submit(number, memo(number))
        world.run(lambda tx=transaction: all(tx.txid in node.receipts for node in world.nodes.values()))
        assert all(node.receipts[transaction.txid].ok for node in world.nodes.values())
    world.rest()
    assert world.are_equal() and world[1].height == 4
    assert all(len(node.live().traffic.outbox) == 0 and not len(node.live().chain.pool) for node in world.up())


def test_idle_chain_stays_idle() -> None:
    world = World().start().rest(5_000)
    for node in world.nodes.values():
        node.lists.clear()
    world.rest(120_000)
    assert all(node.height == 0 for node in world.nodes.values())
    busy = [e for node in world.nodes.values() for effects in node.lists for e in effects]
    # Every 10 s a status to each of three and a timer; every 5 s a presence to each and a timer, and every other
    # presence is gossiped; nothing else happens.
    assert len(busy) < 4 * (12 * 4 + 24 * 4 + 12) + 12, f"{len(busy)} effects in two idle minutes"


def test_request_that_the_ledger_would_refuse_is_refused_at_once() -> None:
    world = World(rounds=1).start().rest(20)
    with pytest.raises(Refused, match="the ledger would refuse this"):
        world[1].live().submit(StudyVote(world.study, StudyAction.RESUME), world.now_ms)
    assert len(world[1].live().traffic.outbox) == 0


def test_same_request_twice_is_refused_while_it_is_on_its_way() -> None:
    world = World().start(1).rest()
    world.submit(1, memo(1))
    with pytest.raises(Refused, match="on its way already"):
        world.submit(1, memo(1))


def test_who_has_signed_a_succession_signs_no_transaction_either() -> None:
    """Keys replaced on the old chain afterwards would make the one consent worthless; a study there goes on without."""
    world = World(rounds=1)
    world.nodes[MemberId(4)].disk.has_consented = True
    world.start().rest()
    with pytest.raises(Refused, match="signs nothing more on this one"):
        world.submit(4, memo(1))
    last = world.submit(1, memo(2))
    world.run(lambda: all(last.txid in node.receipts for node in world.nodes.values()))
    state = world[4].live().chain.state
    assert get_nonce(state, MemberId(4)) == 0 and get_nonce(state, MemberId(3)) > 0, "the others are ready"


def test_overtaken_transaction_is_signed_anew_and_not_lost() -> None:
    world = World().start().rest()
    sender = next(n for n in world.nodes if n != leader(world))
    node = world[sender]
    node.tamper = lambda effect: [] if is_transactions(effect) else [effect]
    first = world.submit(sender, memo(1))
    node.tamper = None
    second = world.submit(sender, memo(2))
    world.run(lambda: second.txid in node.receipts)
    world.run(lambda: len(node.live().traffic.outbox) == 0).rest()
    store = node.disk.store
    written = [t.body for h in range(1, node.height + 1) for t in _transactions(node, h)]
    assert sorted(body.text for body in written) == ["line 1", "line 2"]  # type: ignore[union-attr]
    assert store.find_transaction(second.txid) is not None
    assert first.nonce < second.nonce


def _transactions(node: Node, height: int) -> list:
    from fednode.ledger.transactions import decode_transaction

    block = node.disk.store.get_block(height)
    assert block is not None
    return [decode_transaction(data) for data in block.transactions]


def test_lost_transaction_is_sent_again() -> None:
    world = World().start().rest()
    sender = next(n for n in world.nodes if n != leader(world))
    node = world[sender]
    node.tamper = lambda effect: [] if is_transactions(effect) else [effect]
    transaction = world.submit(sender, memo(1))
    world.rest(500)
    node.tamper = None
    world.run(lambda: transaction.txid in node.receipts, 5_000)


def test_request_made_without_a_quorum_is_done_when_there_is_one() -> None:
    world = World().start(1, 2).rest()
    transaction = world.submit(1, memo(1))
    world.rest(50_000)
    assert world[1].height == 0
    world.start(3)
    world.run(lambda: transaction.txid in world[1].receipts)


def test_transaction_that_only_one_was_given_reaches_all() -> None:
    """A dishonest member tells one other only. That one may not keep quiet about it for ever."""
    world = World().start().rest()
    liar, told = world[4], next(n for n in (1, 2, 3) if n != leader(world))
    liar.tamper = lambda effect: []  # what it does is up to the test
    core = liar.live()
    transaction = sign_transaction(
        liar.signer, world.genesis.chain_id, liar.number, 1, Height(core.chain.height + 50), memo(1)
    )
    world.send_raw(4, told, traffic.TRANSACTIONS.frame(traffic.Transactions((transaction.data,))))
    world.run(lambda: all(transaction.txid in world[n].receipts for n in (1, 2, 3)), 20_000)


@pytest.mark.slow
def test_phase_message_that_only_one_was_given_does_not_hold_the_round_open() -> None:
    """It keeps its one holder from voting the phase over; without its vote there is no quorum for that."""
    world = World(rounds=2)
    liar = world[4]

    def whisper(effect: do.Effect) -> list[do.Effect]:
        if isinstance(effect, do.SendToAll) and is_transactions(effect):
            ready = [t for t in transactions_in(effect.data) if type(t.body).__name__ == "Ready"]
            return [effect] if ready else [do.SendFrame(MemberId(1), effect.data)]
        if isinstance(effect, do.SendFrame | do.SendToAll) and effect.data[0] == traffic.CONSENSUS.code:
            return []
        return [effect]

    liar.tamper = whisper
    world.start()
    world.run(lambda: world.life().status == StudyStatus.FINISHED, 240_000)


def test_large_pool_is_given_to_a_newcomer_in_frames_that_pass() -> None:
    world = World().start(1, 2).rest()
    for number in range(8):
        world.submit(1, proposal(number))
        world.submit(2, proposal(100 + number))
    world.rest(20)
    assert world[1].live().chain.pool.size_bytes > 400_000
    world[1].lists.clear()
    world.start(3)
    world.run(lambda: not any(len(world[n].live().chain.pool) for n in (1, 2, 3)))
    sent = [e.data for effects in world[1].lists for e in effects if isinstance(e, do.SendFrame)]
    assert all(len(data) <= MAX_FRAME_BYTES for data in sent)
    assert all(len(frame) <= MAX_TRANSACTIONS_BYTES + 4096 for frame in _frames([bytes(60_000)] * 100))


# --- coming back ------------------------------------------------------------------------------------------------

@pytest.mark.slow
def test_empty_node_catches_up_and_takes_part() -> None:
    world = World().start(1, 2, 3).rest()
    for number in range(150):
        transaction = world.submit(1 + number % 3, memo(number))
        world.run(lambda tx=transaction: tx.txid in world[1].receipts)
    world.rest()
    assert world[1].height == 150
    world.start(4)
    world.run(lambda: world[4].height == world[1].height, 10_000)
    assert world.are_equal()
    batches = [[e.block.height for e in effects if isinstance(e, do.StoreBlock)] for effects in world[4].lists]
    assert max(map(len, batches)) > 1, "several blocks are adopted in one event"
    assert [height for batch in batches for height in batch] == list(range(1, 151)), "in their order, each once"
    transaction = world.submit(4, memo(1000))
    world.run(lambda: all(transaction.txid in node.receipts for node in world.nodes.values()))


@pytest.mark.slow
def test_catching_up_shows_the_studies_only_where_it_leads() -> None:
    """A node that was away for rounds does not train them all now."""
    world = World(rounds=6).start(1, 2, 3)
    world.begin_without(4)
    world.run(lambda: world.life().status == StudyStatus.FINISHED).rest()
    world.start(4)
    world.run(lambda: world[4].height == world[1].height).rest()
    worker = world[4].worker
    assert worker is not None and "Train" not in worker.asked
    assert world[4].disk.models.keys() >= {world.life().model_hash}


@pytest.mark.slow
@pytest.mark.parametrize("away_s", [2, pytest.param(30, marks=pytest.mark.slow)])
def test_isolated_node_returns_to_the_rounds(away_s: int) -> None:
    world = World(rounds=400).start()
    world.run(lambda: world.life().rounds_done >= 1)
    world.isolate(3)
    world.rest(1000 * away_s)
    assert world[1].height > world[3].height or away_s < 5  # the others may still be waiting for it, one phase long
    world.rejoin(3)
    begin = world.life().next_round
    world.run(lambda: world.life().next_round > begin + 1 and 3 in world.life().ready_members, 60_000)
    current = world.life().next_round
    world.run(lambda: world.life().next_round > current + 1)
    assert 3 in world.life().ready_members and world.life().failures_in_row == 0


@pytest.mark.slow
def test_two_of_four_gone_no_block_and_recovery_by_itself() -> None:
    world = World(rounds=400).start()
    world.run(lambda: world.life().rounds_done >= 1)
    world.stop(3)
    world.stop(4)
    world.rest(50)
    heights = [world[n].height for n in (1, 2)]
    world.rest(180_000)  # longer than the outbox keeps anything
    assert [world[n].height for n in (1, 2)] == heights or max(world[n].height for n in (1, 2)) == max(heights)
    world.start(4)
    done = world.life().rounds_done
    world.run(lambda: world.life().rounds_done > done + 2, 60_000)


@pytest.mark.slow
def test_all_gone_at_once_again_and_again() -> None:
    world = World(rounds=6, seed=5).start()
    for pause_ms in (300, 470, 810, 1130):
        world.rest(pause_ms)
        for number in world.nodes:
            world.stop(number)
        world.rest(100)
        world.start()
    world.run(lambda: world.life().status == StudyStatus.FINISHED).rest()
    assert world.are_equal()
    assert len({node.disk.models.keys() >= {world.life().model_hash} for node in world.up()}) == 1


def crash_run(index: int) -> None:
    world = World(seed=index).start().rest(50)
    victim = world[2]
    victim.crash_at.add(victim.effects_done + index)
    for number in range(4):
        transaction = world.submit(1, memo(number))
        world.run(lambda tx=transaction: tx.txid in world[1].receipts)
    world.run(lambda: victim.core is not None and victim.height == 4 and world.are_equal(), 30_000)
    assert not any(node.dropped for node in world.nodes.values())
    assert victim.live().replica.refusal is None, victim.live().replica.refusal


@pytest.mark.parametrize("index", range(1, 60, 14))
def test_crash_between_two_effects_and_restart(index: int) -> None:
    crash_run(index)


@pytest.mark.slow
def test_crash_at_every_effect() -> None:
    for index in range(1, 80):
        crash_run(index)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_crashes_of_any_members_in_the_middle_of_a_study(seed: int) -> None:
    """Any of them, all of them, several times each, between any two effects; sometimes on a bad line."""
    drawn = random.Random(seed)
    world = World(rounds=2, seed=seed, loss=drawn.choice((0, 0, 0.03)))
    for number in drawn.sample((1, 2, 3, 4), drawn.randint(1, 4)):
        world[number].crash_at.update(drawn.sample(range(1, 600), drawn.randint(1, 4)))
    world.start()
    world.run(lambda: bool(world.up()) and world.life(world.up()[0].number).status == StudyStatus.FINISHED, 600_000)
    world.run(lambda: len(world.up()) == 4 and world.are_equal(), 60_000).rest(5_000)
    for node in world.up():
        assert Hash(world.life(node.number).model_hash) in node.disk.models
        assert node.live().replica.refusal is None
        assert not node.disk.records, "secrets of closed rounds remain"
        assert not node.dropped, "an honest member was cut off"


@pytest.mark.slow
def test_lossy_network_only_costs_time() -> None:
    world = World(rounds=3, loss=0.1, seed=3).start()
    world.run(lambda: world.life().status == StudyStatus.FINISHED, 600_000).rest()
    assert world.life().rounds_done == 3
    assert not any(node.dropped for node in world.nodes.values())


# --- signing ----------------------------------------------------------------------------------------------------

def test_lost_sign_state_means_no_more_votes_and_one_clear_line() -> None:
    world = World()
    world[3].disk.record = None
    world.start().rest()
    told = [entry for entry in world[3].logs if entry.kind == "stopped-signing"]
    assert len(told) == 1 and "sign-state file is missing" in str(told[0].fields)
    assert world[3].live().replica.refusal is not None
    transaction = world.submit(3, memo(1))  # it may still ask, and the other three decide
    world.run(lambda: all(transaction.txid in node.receipts for node in world.nodes.values()))
    certificate = world[1].disk.store.get_certificate(1)
    assert MemberId(3) not in certificate.signers(world.genesis.member_set)


def test_node_restored_from_a_copy_stops_signing_when_it_sees_its_own_later_votes() -> None:
    world = World().start().rest()
    old = world[2].disk.record
    for number in range(3):
        transaction = world.submit(1, memo(number))
        world.run(lambda tx=transaction: tx.txid in world[2].receipts)
    world.rest()
    world.stop(2)
    world[2].disk.record = old
    world.start(2).rest()
    transaction = world.submit(1, memo(9))
    world.run(lambda: transaction.txid in world[1].receipts).rest()
    assert world[2].live().replica.refusal is not None
    assert "in use twice or the machine was restored" in str(world[2].live().replica.refusal)


# --- hostile frames ---------------------------------------------------------------------------------------------

def test_garbage_is_rejected_and_nothing_else_happens() -> None:
    world = World().start().rest(100)
    core = world[1].live()
    for data in (b"", b"\0", b"\x01", b"\x01\xff", b"\x02" + bytes(100), b"\x03\x90", b"\x04\xc0", b"\xff" * 2000):
        with pytest.raises(Rejected):
            core.frame(MemberId(4), data, world.now_ms)
        with pytest.raises(Rejected):
            core.announcement(MemberId(4), data, world.now_ms)
        assert not core.accepts_blob(MemberId(4), data, 100)
    transaction = world.submit(4, memo(1))
    world.run(lambda: transaction.txid in world[1].receipts)


@pytest.mark.slow
def test_requests_for_absent_things_are_answered_with_nothing() -> None:
    world = World(rounds=2).start()
    world.run(lambda: world.life().rounds_done == 1)
    core = world[1].live()
    place = world.study, world.life().next_round
    for attempt in (0, 1, 65535):
        for lane in (1, 2):
            for dealer in (0, 1, 2, 9, 65535):
                for chunk in (0, 3, 4, 65535):
                    want = traffic.WANT.frame(traffic.WantChunk(*place, ChunkRef(attempt, lane, dealer, chunk)))
                    core.frame(MemberId(4), want, world.now_ms)
    core.frame(MemberId(4), traffic.WANT.frame(traffic.WantChunk(bytes(32), 1, ChunkRef(0, 1, 1, 0))), world.now_ms)
    [serve] = core.frame(MemberId(4), traffic.WANT.frame(traffic.WantModel(bytes(32))), world.now_ms)
    assert serve == do.ServeModel(MemberId(4), bytes(32))  # type: ignore[arg-type]
    far = sync.BlockRangeRequest(Height(10**15), Height(10**15 + 63))
    [answer] = core.frame(MemberId(4), traffic.SYNC.frame(far), world.now_ms)
    assert isinstance(answer, do.SendFrame)
    for message in (VoteSummary(core.replica.tip.height + 1, 2**31 - 1, False, b"\xff" * 13, b"\xff"),
                    BlockRequest(core.replica.tip.height + 1, bytes(32)), BlockRequest(1, bytes(32))):
        core.frame(MemberId(4), traffic.CONSENSUS.frame(message), world.now_ms)
    world.run(lambda: world.life().status == StudyStatus.FINISHED)


def test_a_member_that_asks_for_the_chain_all_the_time_gets_its_share() -> None:
    world = World().start().rest()
    transaction = world.submit(1, memo(1))
    world.run(lambda: transaction.txid in world[1].receipts)
    ask = traffic.SYNC.frame(sync.BlockRangeRequest(Height(1), Height(64)))
    core = world[1].live()
    served = [core.frame(MemberId(4), ask, world.now_ms) for _ in range(1000)]
    assert sum(map(len, served)) == 40
    world.rest(2_000)
    assert len(core.frame(MemberId(4), ask, world.now_ms)) == 1
    assert len(core.frame(MemberId(3), ask, world.now_ms)) == 1


@pytest.mark.slow
def test_claims_to_be_far_ahead_hold_up_nobody() -> None:
    world = World(rounds=2).start()
    liar = world[4]

    def boast(effect: do.Effect) -> list[do.Effect]:
        if isinstance(effect, do.SendFrame) and effect.data[0] == traffic.SYNC.code:
            frame = traffic.decode_frame(effect.data)
            if isinstance(frame.message, sync.Status):
                return [do.SendFrame(effect.to, traffic.SYNC.frame(replace(frame.message, height=2**60)))]
            return []
        return [effect]

    liar.tamper = boast
    world.run(lambda: world.life().status == StudyStatus.FINISHED)
    world.stop(3)
    for number in range(10):
        transaction = world.submit(1, memo(number))
        world.run(lambda tx=transaction: tx.txid in world[1].receipts)
    world.start(3)
    world.run(lambda: world[3].height == world[1].height, 20_000)


@pytest.mark.slow
def test_model_that_is_not_what_it_is_called_costs_its_sender_the_connection() -> None:
    world = World(rounds=2).start(1, 2, 3)
    world.begin_without(4)
    world.run(lambda: world.life().status == StudyStatus.FINISHED).rest()
    forged = next(iter(world[1].disk.models.values()))

    def forge(effect: do.Effect) -> list[do.Effect]:
        if isinstance(effect, do.ServeModel):
            header = traffic.encode_header(traffic.ModelHeader(effect.hash))
            return [do.SendBlob(effect.to, header, forged[:-8] + bytes(8))]
        return [effect]

    world[1].tamper = forge
    world.start(4)
    world.run(lambda: world.life(4).model_hash in world[4].disk.models)
    assert all(member == 1 for member, _ in world[4].dropped)


@pytest.mark.slow
def test_memory_of_checked_transactions_is_bounded() -> None:
    """A member may sign as many large transactions as it likes; the pool takes a few, and checking keeps no more."""
    world = World().start().rest()
    core, liar = world[1].live(), world[4]
    for nonce in range(1, 1000):
        place = liar.number, nonce, Height(50)
        transaction = sign_transaction(liar.signer, world.genesis.chain_id, *place, proposal(nonce))
        core.frame(MemberId(4), traffic.TRANSACTIONS.frame(traffic.Transactions((transaction.data,))), world.now_ms)
    assert core.chain.pool.size_bytes <= 256 * 1024
    kept = core.chain._verified
    assert sum(map(len, kept)) == core.chain._verified_bytes <= MAX_VERIFIED_BYTES


@pytest.mark.slow
def test_pause_by_a_person_through_any_node() -> None:
    world = World(rounds=50).start()
    world.run(lambda: world.life().rounds_done == 1)
    world.submit(2, StudyPause(world.study, "audit"))
    world.run(lambda: world.life().status == StudyStatus.PAUSED)
    for number in (1, 3, 4):
        world.submit(number, StudyVote(world.study, StudyAction.RESUME))
    done = world.life().rounds_done
    world.run(lambda: world.life().rounds_done > done)


@pytest.mark.slow
def test_who_spoils_a_sum_is_named_and_kept_out_until_it_is_readmitted() -> None:
    """Through the daemon's own frames and blobs: every masked vector goes to everybody, in void attempts only."""
    def spoil(effect: do.Effect) -> list[do.Effect]:
        if isinstance(effect, Asked) and isinstance(effect.effect, Compute) and world.life(1).next_round == 1:
            number, job = effect.effect.number, effect.effect.job
            if isinstance(job, SumChunks):
                parts = tuple((chunk, (*data, b"\x01" + bytes(len(data[0]) - 1))) for chunk, data in job.chunks)
                return [Asked(effect.by, Compute(number, SumChunks(parts)))]
        return [effect]

    world = World(rounds=4)
    world[3].tamper = spoil
    world.start()
    world.run(lambda: world.life(1).next_round > 2, 600_000)
    state, study = world[1].live().chain.state, world.study
    report, later = get_report(state, study, 1), get_report(state, study, 2)
    assert report is not None and later is not None
    assert (report.outcome, report.faulty, report.counted) == (Outcome.OK, (3,), (1, 2, 4))
    assert (later.outcome, later.expected, later.absent, later.attempts) == (Outcome.OK, (1, 2, 4), (), 1)
    assert world.life(1).faulty_members == (3,)
    for number in (1, 2, 4):
        world.submit(number, StudyVote(study, StudyAction.READMIT))
    world.run(lambda: world.life(1).status == StudyStatus.FINISHED, 600_000)
    last = get_report(world[1].live().chain.state, study, world.life(1).next_round - 1)
    assert last is not None and last.counted == (1, 2, 3, 4) and world.life(1).kept_out is None
    assert not any(node.dropped for node in world.nodes.values()), "somebody was taken for hostile"


def test_what_is_committed_is_kept_in_the_store_only() -> None:
    """A decoded transaction takes five times its bytes; a hundred thousand of them would be most of a daemon."""
    world = World().start().rest()
    for number in range(20):
        transaction = world.submit(1 + number % 4, memo(number))
        world.run(lambda tx=transaction: all(tx.txid in node.receipts for node in world.nodes.values()))
    for node in world.nodes.values():
        chain = node.live().chain
        assert (len(chain._verified), chain._verified_bytes) == (0, 0)


# --- what is kept of rounds --------------------------------------------------------------------------------------

def vote_out(world: World, gone: int) -> None:
    """Let everybody but it vote a member out."""
    others = [number for number in world.nodes if number != gone]
    world.submit(others[0], MemberRemove(MemberId(gone)))
    world.run(lambda: all(get_membership(world[n].live().chain.state).proposals for n in others))
    number = get_membership(world[others[0]].live().chain.state).proposals[0].number
    for voter in others[1:]:
        world.submit(voter, MemberApprove(number))
    world.run(lambda: not any(is_member(world, gone, witness) for witness in others))


def is_member(world: World, member: int, witness: int) -> bool:
    return any(record.member == member for record in get_members(world[witness].live().chain.state))


@pytest.mark.parametrize("is_away", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_who_is_voted_out_in_the_middle_of_a_round_deletes_its_keys_and_its_update(is_away: bool) -> None:
    world = World(5, rounds=3).start()
    world.run(lambda: any(part == "input" for _, number, part in world[5].disk.records if number == 1))
    if is_away:
        world.stop(5)
    vote_out(world, 5)
    if is_away:
        assert world[5].disk.records
        world.start(5)
    world.run(lambda: not is_member(world, 5, 5)).rest(5_000)
    assert not world[5].disk.records, "nobody looks any more when these rounds close"


def test_what_is_kept_of_a_study_that_can_be_read_no_more_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("a rule nobody foresaw")

    world = World(rounds=3).start()
    world.run(lambda: any(part == "input" for _, number, part in world[4].disk.records if number == 1))
    studies = world[4].live().studies
    monkeypatch.setattr(studies.get(world.study), "_advance", fail)
    world.rest(5_000)
    assert studies.problem_of(world.study) is not None and not world[4].disk.records
