"""One member sends whatever it likes, well signed or not. Nobody crashes, and the others' study ends."""

from __future__ import annotations

import contextlib
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fednode.chain import sync
from fednode.chain.block import BlockContext, Execution, assemble
from fednode.chain.consensus.messages import ConsensusMessage, Decision, Proposal
from fednode.chain.vote import NO_VIEW, PROPOSAL, Evidence, Vote, domain_of, sign_bytes
from fednode.core import effects as do
from fednode.core import traffic
from fednode.errors import Rejected
from fednode.ids import NO_HASH, Hash, Height, MemberId, View
from fednode.ledger import bodies as tx
from fednode.ledger.studies.bodies import StudyPause
from fednode.ledger.studies.records import StudyStatus, get_round
from fednode.ledger.transactions import sign_transaction
from fednode.smpc.messages import ChunkRef
from fednode.sums import bodies
from fednode.sums.phase import Phase
from tests.core.hostile import Draw, mutate
from tests.node.world import Node, World

HONEST = (1, 2, 3)
LIAR = 4


def current_values(world: World, draw: Draw) -> None:
    """Let the liar know what is going on: study, round, phase, keys, digests, hashes."""
    core = world[1].live()
    draw.blobs = [*draw.blobs[:5], world.study, world.genesis.chain_id, core.replica.tip.block_hash]
    draw.numbers = [*draw.numbers[:10], core.chain.height, core.chain.height + 1]
    record = get_round(core.chain.state, world.study)
    if record is not None:
        draw.numbers += [record.number, record.attempt.number, record.phase.number, record.phase.step]
        draw.blobs += [root for _, root, _ in record.attempt.committed]
        draw.blobs += [chunk.digest for chunk in record.attempt.chunks if chunk.digest]
        draw.blobs += [scalar for _, scalar in record.attempt.own_b]
        if record.attempt.list_digest:
            draw.blobs.append(record.attempt.list_digest)


def aim(world: World, draw: Draw, body: tx.Body) -> tx.Body:
    """Point most bodies at the open phase, so that the rules look further than at the study's name."""
    record = get_round(world[1].live().chain.state, world.study)
    changes: dict[str, object] = {}
    if hasattr(body, "study") and draw.random.random() < 0.95:
        changes["study"] = world.study
    if record is not None and hasattr(body, "attempt") and draw.random.random() < 0.9:
        changes |= {"round": record.number, "attempt": record.attempt.number}
    if record is not None and hasattr(body, "phase_no"):
        changes["phase_no"] = record.phase.number
    if record is not None and isinstance(body, bodies.Roster):
        changes["step"] = record.phase.step
    return replace(body, **changes)


def run_with_liar(world: World, act: object, every_ms: int = 7, limit_ms: int = 240_000) -> None:
    """Let the honest run their study while `act()` happens again and again."""
    assert callable(act)

    def again() -> None:
        act()
        world.after(every_ms, again)

    world.after(every_ms, again)
    world.after(limit_ms // 4, lambda: world.begin_without(LIAR))  # it may never say that it is ready
    world.run(lambda: world.life().status in (StudyStatus.FINISHED, StudyStatus.PAUSED), limit_ms)
    assert all(world[n].core is not None for n in HONEST)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_well_signed_nonsense_in_transactions(seed: int) -> None:
    """Every kind of body, signed by a member, with fields drawn from what is going on."""
    world = World(rounds=2, seed=seed).start()
    liar, draw, nonce = world[LIAR], Draw(seed), [10**15]
    liar.tamper = lambda effect: [] if isinstance(effect, do.SendToAll) and effect.data[0] == 3 else [effect]
    told = [0]

    def act() -> None:
        current_values(world, draw)
        try:
            body = aim(world, draw, draw.value(tx.Body))
            if isinstance(body, StudyPause):
                return  # any member may
            nonce[0] += 1
            until = Height(world[1].height + draw.random.choice((1, 5, 5000)))
            signed = sign_transaction(liar.signer, world.genesis.chain_id, liar.number, nonce[0], until, body)
        except Rejected:
            return
        told[0] += 1
        for to in HONEST:
            world.send_raw(LIAR, to, traffic.TRANSACTIONS.frame(traffic.Transactions((signed.data,))))

    run_with_liar(world, act)
    assert told[0] > 50
    assert not any(reason for n in HONEST for _, reason in world[n].dropped), "an honest member was cut off"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_well_signed_nonsense_in_consensus(seed: int) -> None:
    world = World(rounds=2, seed=seed).start()
    liar, draw = world[LIAR], Draw(seed)
    if seed % 2:
        liar.tamper = lambda effect: []

    def act() -> None:
        current_values(world, draw)
        core = world[1].live()
        draw.numbers += [int(core.replica.state.view), int(core.replica.state.view) + 1]
        try:
            message = _sign(world, liar, draw.value(ConsensusMessage))
            data = traffic.CONSENSUS.frame(message)
        except Rejected:
            return
        for to in draw.random.sample(HONEST, draw.random.randint(1, 3)):
            world.send_raw(LIAR, to, data)

    run_with_liar(world, act)
    tips = {world[n].disk.store.get_block(world[1].height - 3).hash for n in HONEST}
    assert len(tips) == 1


def _vote(world: World, liar: Node, vote: Vote) -> Vote:
    message = sign_bytes(
        world.genesis.chain_id, vote.kind, vote.height, vote.view, vote.valid_view, vote.value
    )
    return replace(vote, sender=liar.number, signature=liar.signer.sign(domain_of(vote.kind), message))


def _sign(world: World, liar: Node, message: object) -> object:
    """Sign what can be signed in the liar's name."""
    if isinstance(message, Vote):
        return _vote(world, liar, message)
    if isinstance(message, Proposal):
        vote = _vote(world, liar, replace(message.vote, value=message.block.hash, kind=PROPOSAL))
        return replace(message, vote=vote)
    if hasattr(message, "votes"):
        return replace(message, votes=tuple(_vote(world, liar, vote) for vote in message.votes))
    return message


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_blocks_with_nonsense_in_them_are_voted_down(seed: int) -> None:
    """The liar leads its views with well-formed, well-signed blocks that no state allows."""
    world = World(rounds=1, seed=seed).start()
    liar, draw = world[LIAR], Draw(seed)
    liar.tamper = lambda effect: []
    sent = [0]

    def act() -> None:
        core = world[1].live()
        tip, view = core.replica.tip, draw.random.randrange(5)
        if tip.proposer(view) != liar.number:
            return
        body = aim(world, draw, draw.value(tx.Body))
        place = liar.number, 10**15 + draw.random.randrange(10**6), Height(tip.height + draw.random.choice((1, 90)))
        try:
            signed = sign_transaction(liar.signer, world.genesis.chain_id, *place, body).data
        except Rejected:
            return
        junk = draw.random.choice(((signed,), (signed, signed), (b"junk",), (signed[:-1],), (), (bytes(60_000),) * 9))
        context = BlockContext(tip.chain_id, Height(tip.height + 1), tip.time_ms + 1, liar.number, ())
        root = Hash(draw.random.choice((NO_HASH, core.chain.state.root)))
        done = Execution(junk, root, root, root, tip.members)
        block = assemble(tip, context, done, core.replica.certificate)
        vote = _vote(world, liar, Vote(PROPOSAL, Height(tip.height + 1), View(view), NO_VIEW, block.hash, liar.number,
                                       bytes(64)))
        sent[0] += 1
        for to in HONEST:
            world.send_raw(LIAR, to, traffic.CONSENSUS.frame(Proposal(vote, block)))

    run_with_liar(world, act)
    assert sent[0] > 3


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_changed_bytes_of_real_frames(seed: int) -> None:
    """Whatever the liar would send, with a few bytes changed: rejected, or harmless."""
    world = World(rounds=2, seed=seed)
    drawn = random.Random(seed)

    def damage(effect: do.Effect) -> list[do.Effect]:
        if drawn.random() < 0.5:
            return [effect]
        match effect:
            case do.SendFrame(to, data):
                return [effect, _raw(world, to, mutate(drawn, data))]
            case do.SendToAll(data):
                return [effect, *(_raw(world, MemberId(to), mutate(drawn, data)) for to in HONEST)]
            case do.SendBlob(to, header, data):
                return [effect, do.SendBlob(to, mutate(drawn, header), data), do.SendBlob(to, header, bytes(data)[:-4])]
            case do.Announce(data):
                return [effect, do.Announce(mutate(drawn, data))]
        return [effect]

    world[LIAR].tamper = damage
    world.start()
    world.run(lambda: world.life().status == StudyStatus.FINISHED, 240_000)
    assert sum(len(world[n].rejected) for n in HONEST) > 20
    assert all(sender == LIAR for n in HONEST for sender, _ in world[n].rejected)


def _raw(world: World, to: MemberId, data: bytes) -> do.Effect:
    """Send bytes past the checks of the world, which are about honest nodes."""
    world.send_raw(LIAR, to, data)
    return do.log("raw")


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_catching_up_from_a_liar(seed: int) -> None:
    """A newcomer that asks the liar first gets changed blocks; it ends with the real chain all the same."""
    world = World(seed=seed).start(1, 2, LIAR).rest()
    for number in range(40):
        transaction = world.submit(1, tx.Memo(f"line {number}"))
        world.run(lambda t=transaction: t.txid in world[LIAR].receipts)
    drawn = random.Random(seed)

    def forge(effect: do.Effect) -> list[do.Effect]:
        if not isinstance(effect, do.ServeBlocks):
            return [effect]
        decisions = [Decision(*item) for item in world[LIAR].disk.store.blocks(effect.first, effect.last)]
        place = drawn.randrange(len(decisions))
        block, certificate = decisions[place].block, decisions[place].certificate
        match drawn.randrange(5):
            case 0:
                block = replace(block, transactions=(*block.transactions, b"more"))
            case 1:
                block = replace(block, header=replace(block.header, state_root=NO_HASH))
            case 2:
                certificate = replace(certificate, signatures=tuple(reversed(certificate.signatures)))
            case 3:
                decisions = decisions[::-1] if len(decisions) > 1 else []
            case _:
                block = decisions[0].block
        if decisions and place < len(decisions) and block.header.height == certificate.height:
            decisions[place] = Decision(block, certificate)
        return [do.SendFrame(effect.to, traffic.SYNC.frame(sync.BlockRangeResponse(tuple(decisions))))]

    world[LIAR].tamper = forge
    world.start(3)
    world.run(lambda: world[3].height == world[1].height, 60_000)
    assert world.are_equal()
    assert all(member == LIAR for member, _ in world[3].dropped)


@pytest.mark.slow
def test_double_votes_are_written_down_once_and_stop_nothing() -> None:
    world = World(rounds=1).start().rest()
    liar = world[LIAR]
    height = Height(world[1].height + 1)
    votes = [
        _vote(world, liar, Vote(2, height, View(0), NO_VIEW, bytes([n]) * 32, liar.number, bytes(64))) for n in (1, 2)
    ]
    piece = Evidence(*votes)
    for to in HONEST:
        for vote in votes:
            world.send_raw(LIAR, to, traffic.CONSENSUS.frame(vote))
        world.send_raw(LIAR, to, traffic.CONSENSUS.frame(piece))
    world.run(lambda: world.life().status == StudyStatus.FINISHED).rest(20_000)
    written = [
        e for h in range(1, world[1].height + 1) for e in world[1].disk.store.get_block(h).evidence
    ]
    assert len(written) == 1 and written[0].sender == LIAR
    height_then = world[1].height
    world.stop(2)
    world.start(2).rest()
    for to in HONEST:  # told again, to one that has just come back as well
        for vote in votes:
            world.send_raw(LIAR, to, traffic.CONSENSUS.frame(vote))
    world.rest(30_000)
    assert world[1].height == height_then, "old evidence makes new blocks"


# --- bytes ------------------------------------------------------------------------------------------------------

@given(st.binary(max_size=300))
def test_any_bytes_are_a_frame_or_rejected(data: bytes) -> None:
    for decode in (traffic.decode_frame, traffic.decode_header):
        with contextlib.suppress(Rejected):
            decode(data)


@given(st.integers(0, 2**32), st.sampled_from([1, 2, 3, 4]))
def test_frames_of_any_content_survive_the_way(seed: int, kind: int) -> None:
    draw = Draw(seed)
    forms = {1: ConsensusMessage, 2: sync.SyncMessage, 3: traffic.Transactions, 4: traffic.Want}
    try:
        value = draw.value(forms[kind])
        data = traffic.CLASSES[kind].frame(value)
    except Rejected:
        return
    frame = traffic.decode_frame(data)
    assert frame == traffic.Frame(traffic.CLASSES[kind], value)
    with contextlib.suppress(Rejected):
        traffic.decode_frame(mutate(draw.random, data))


@given(st.integers(0, 2**32))
def test_headers_of_any_content_survive_the_way(seed: int) -> None:
    draw = Draw(seed)
    header = draw.value(traffic.BlobHeader)
    assert traffic.decode_header(traffic.encode_header(header)) == header


@pytest.mark.slow
def test_chunk_names_that_make_no_sense_are_not_read() -> None:
    world = World(rounds=1).start()
    world.run(lambda: get_round(world[1].live().chain.state, world.study) is not None)
    core = world[1].live()
    seen: set[bool] = set()
    for _ in range(40):
        for ref in (ChunkRef(0, 1, 4, 0), ChunkRef(0, 1, 4, 3), ChunkRef(0, 2, 0, 65535), ChunkRef(9, 1, 4, 0)):
            for size in (0, 1, 4, 8, 2**40):
                header = traffic.encode_header(traffic.ChunkHeader(world.study, 0, ref, b"x" * 512))
                accepted = core.accepts_blob(MemberId(LIAR), header, size)
                seen.add(accepted)
                if accepted:
                    core.blob(MemberId(LIAR), header, memoryview(bytes(size)), world.now_ms)
        world.rest(5)
    world.run(lambda: world.life().status in (StudyStatus.FINISHED, StudyStatus.PAUSED))
    assert Phase.KEYS < Phase.RESULT and seen <= {True, False}
