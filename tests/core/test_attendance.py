"""Members tell of themselves: who votes, whose key runs twice, whose clock is wrong; a restart is none of these."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fednode.chain.block import Tip, genesis_tip
from fednode.core.attendance import (
    BEAT_MS,
    COPY_CLOCK_MS,
    FRESH_MS,
    MAX_CHECKS,
    MISSED_BLOCKS,
    TWIN_MS,
    Attendance,
    Identity,
)
from fednode.core.presence import Presence, decode_presence, encode_presence
from fednode.errors import Rejected
from fednode.ids import MemberId
from tests.sim.whole.parts import GENESIS_MS, keys_of, tiny_genesis

GENESIS = tiny_genesis(4)
TIP: Tip = genesis_tip(GENESIS.chain_id, GENESIS.member_set, GENESIS_MS)
NOW = GENESIS_MS + 3_600_000
SIGNERS = {member: signer for member, (signer, _) in keys_of(4).items()}
ONE, TWO, THREE, FOUR = (MemberId(number) for number in range(1, 5))


def attendance(member: MemberId, life: int, now_ms: int = NOW) -> Attendance:
    """A process of a member, just begun."""
    made = Attendance(Identity(GENESIS.chain_id, member, SIGNERS[member], bytes([life]) * 16))
    made.start(now_ms)
    return made


def say(who: Attendance, now_ms: int, is_signing: bool = True, tip: Tip = TIP) -> Presence:
    presence = who.speak(tip, is_signing, now_ms)
    assert presence is not None
    return presence


def test_a_presence_reads_back_and_holds_for_its_member_only() -> None:
    presence = say(attendance(TWO, 1), NOW)
    assert decode_presence(encode_presence(presence)) == presence
    here = attendance(ONE, 1)
    with pytest.raises(Rejected, match="somebody else"):
        here.hear(THREE, presence, TIP, NOW)
    forged = Presence(replace(presence.said, is_signing=False), presence.signature)
    assert here.hear(TWO, forged, TIP, NOW) == []
    assert not here.heard(NOW), "a signature that does not hold says nothing"
    with pytest.raises(Rejected, match="another chain"):
        here.hear(TWO, Presence(replace(presence.said, chain_id=bytes(32)), presence.signature), TIP, NOW)


def test_who_votes_is_who_says_so_lately() -> None:
    here = attendance(ONE, 1)
    here.hear(TWO, say(attendance(TWO, 1), NOW), TIP, NOW)
    here.hear(THREE, say(attendance(THREE, 1), NOW, is_signing=False), TIP, NOW)
    assert here.voting(NOW) == {TWO}
    assert here.heard(NOW) == {TWO, THREE}
    assert here.voting(NOW + FRESH_MS + 1) == frozenset()


def meet(here: Attendance, speakers: list[tuple[Attendance, int]]) -> list[Presence]:
    """Let processes speak at times; return what the last of them brings about."""
    found: list[Presence] = []
    for speaker, at_ms in speakers:
        found = here.hear(speaker.me, say(speaker, at_ms), TIP, at_ms)
    return found


def test_a_copy_is_proven_to_both_machines_and_neither_says_that_it_votes() -> None:
    here, original = attendance(ONE, 1), attendance(THREE, 1)
    copy = attendance(THREE, 2, NOW + 7_000)
    assert meet(here, [(original, NOW), (original, NOW + 5_000), (copy, NOW + 8_000)]) == []
    proofs = meet(here, [(original, NOW + 10_000)])
    assert len(proofs) == 2 and here.twins(NOW + 10_000) == (THREE,)
    for machine in (original, copy):
        for proof in proofs:
            machine.hear(ONE, proof, TIP, NOW + 10_100)
        assert machine.is_twin(NOW + 10_100)
        assert not say(machine, NOW + 10_200).said.is_signing
        assert not machine.is_twin(NOW + 10_100 + TWIN_MS + 1), "it ends a while after the other one does"


@given(st.lists(st.integers(0, 20), min_size=1, max_size=6), st.integers(-600_000, 600_000), st.integers(1, 60_000))
def test_restarts_are_never_taken_for_a_copy(beats: list[int], step_ms: int, pause_ms: int) -> None:
    """Each process ends before the next begins, whatever the machine's clock does in between."""
    here, now_ms, clock_ms = attendance(ONE, 1), NOW, 0
    last: Presence | None = None
    for life, count in enumerate(beats, 1):
        process = attendance(THREE, life, now_ms + clock_ms)
        if last is not None and last.said.time_ms <= now_ms + clock_ms:
            process.hear(ONE, last, TIP, now_ms)
            assert not process.is_twin(now_ms), "our own earlier process is no copy"
        for beat in range(count + 1):
            last = say(process, now_ms + clock_ms + beat * BEAT_MS)
            assert here.hear(THREE, last, TIP, now_ms + beat * BEAT_MS) == []
        now_ms += count * BEAT_MS + pause_ms
        clock_ms += step_ms
    assert here.twins(now_ms) == ()


def test_only_the_holder_of_the_key_can_make_a_process_pause() -> None:
    here, copy = attendance(ONE, 1), attendance(ONE, 2, NOW + 1)
    genuine = say(copy, NOW + 5_000)
    here.hear(FOUR, Presence(genuine.said, bytes(64)), TIP, NOW + 5_000)
    assert not here.is_twin(NOW + 5_000)
    here.hear(FOUR, genuine, TIP, NOW + 5_000)
    assert here.is_twin(NOW + 5_000)


def test_words_of_a_copy_that_has_stopped_hold_nobody_back() -> None:
    """A member keeps all that a copy said, and brings it again and again, in any order, for as long as it likes."""
    here, copy = attendance(ONE, 1), attendance(ONE, 2, NOW + 1)
    kept = [say(copy, NOW + beat * BEAT_MS) for beat in range(1, 40)]
    stopped_ms = NOW + 40 * BEAT_MS
    for word in (kept[0], kept[-1]):
        here.hear(TWO, word, TIP, stopped_ms)
    assert here.is_twin(stopped_ms)
    for at_ms in range(stopped_ms + TWIN_MS + 1, stopped_ms + 3 * COPY_CLOCK_MS, 3 * BEAT_MS):
        for word in (kept[at_ms % len(kept)], kept[-1]):
            here.hear(FOUR, word, TIP, at_ms)
        assert not here.is_twin(at_ms)


@pytest.mark.parametrize("ahead_ms", [COPY_CLOCK_MS // 2, 2 * COPY_CLOCK_MS, 30 * 86_400_000])
def test_words_of_an_earlier_process_whose_clock_was_ahead_count_once_and_not_for_ever(ahead_ms: int) -> None:
    """Its clock was set right between the two: every word of it looks newer than the start of this process."""
    earlier = attendance(ONE, 1, NOW + ahead_ms)
    kept = [say(earlier, NOW + ahead_ms + beat) for beat in range(1, 4)]
    here, held = attendance(ONE, 2, NOW), 0
    for at_ms in range(NOW, NOW + 4 * COPY_CLOCK_MS, TWIN_MS + 1):
        for word in kept * 2:
            here.hear(FOUR, word, TIP, at_ms)
        held += here.is_twin(at_ms)
    assert held == (ahead_ms < 4 * COPY_CLOCK_MS), "the words that look newest, once"


def test_behind_is_what_f_plus_1_others_say() -> None:
    here, high = attendance(ONE, 1), replace(TIP, height=40)
    here.hear(TWO, say(attendance(TWO, 1), NOW, tip=high), TIP, NOW)
    here.beat(TIP, False, NOW)
    assert here.behind_ms(NOW + 60_000) == 0, "one may lie"
    here.hear(THREE, say(attendance(THREE, 1), NOW, tip=high), TIP, NOW)
    here.beat(TIP, False, NOW)
    assert here.height_of_others(TIP, NOW) == 40 and here.behind_ms(NOW + 20_000) == 20_000
    here.on_block((TWO, THREE), NOW + 19_000)
    assert here.behind_ms(NOW + 20_000) == 1_000, "blocks come"


@pytest.mark.parametrize(("ahead_ms", "wanted"), [(0, 0), (90_000, 90_000), (-90_000, -90_000)])
def test_this_clock_is_wrong_when_most_others_agree_on_another_time(ahead_ms: int, wanted: int) -> None:
    here = attendance(ONE, 1, NOW + ahead_ms)
    for member, odd_ms in ((TWO, 10), (THREE, -20), (FOUR, 3_600_000)):
        here.hear(member, say(attendance(member, 1), NOW + odd_ms), TIP, NOW + ahead_ms)
    found = here.clocks(NOW + ahead_ms, 5_000)
    assert found is not None and abs(found.offset_ms - wanted) < 100 and (found.agreeing, found.others) == (2, 3)
    assert FOUR in [member for member, _ in found.astray]


def test_who_speaks_too_often_costs_no_more_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    here, checks = attendance(ONE, 1), 0

    def count(*args: object) -> None:
        nonlocal checks
        checks += 1

    monkeypatch.setattr("fednode.core.attendance.verify_presence", count)
    for life in range(200):
        here.hear(TWO, say(attendance(TWO, life), NOW), TIP, NOW)
    assert checks == MAX_CHECKS
    here.hear(THREE, say(attendance(THREE, 1), NOW), TIP, NOW)
    here.hear(TWO, say(attendance(TWO, 7), NOW + BEAT_MS), TIP, NOW + BEAT_MS)
    assert checks == MAX_CHECKS + 2, "others are heard, and so is it a beat later"
    here.hear(FOUR, say(here, NOW), TIP, NOW)
    assert checks == MAX_CHECKS + 2, "our own word costs nothing"


def test_who_says_that_it_votes_and_signs_no_block_does_not_count() -> None:
    here = attendance(ONE, 1)
    for member in (TWO, THREE):
        here.hear(member, say(attendance(member, 1), NOW), TIP, NOW)
    for _ in range(MISSED_BLOCKS - 1):
        here.on_block((ONE, TWO, FOUR), NOW)
    assert here.voting(NOW) == {TWO, THREE} and not here.unheard(NOW)
    here.on_block((ONE, TWO), NOW)
    assert here.voting(NOW) == {TWO} and here.unheard(NOW) == {THREE}
    here.on_block((ONE, TWO, THREE), NOW)
    assert here.voting(NOW) == {TWO, THREE}, "one signature is enough"
    for _ in range(MISSED_BLOCKS):
        here.on_block((ONE, TWO), NOW)
    here.hear(THREE, say(attendance(THREE, 2), NOW + 1), TIP, NOW + 1)
    assert THREE in here.voting(NOW + 1), "a process that has just begun is taken at its word"
