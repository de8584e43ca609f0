"""Successors: who signs them, what they rest on, what they carry; and that nothing else makes one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from fednode.chain.vote import Member, MemberSet
from fednode.crypto import Ed25519Signer, Secret
from fednode.errors import GenesisError
from fednode.ids import Height, MemberId, quorum
from fednode.ledger.carry import CARRIED, CHAIN_ENDED, NOT_CARRIED
from fednode.ledger.genesis import (
    Genesis,
    check_genesis,
    genesis_to_toml,
    make_successor,
    parse_genesis,
)
from fednode.ledger.members.identity import make_identity_card
from fednode.ledger.members.reading import ORIGIN_KEY, get_members, get_membership
from fednode.ledger.members.records import OriginRecord, UsedKey
from fednode.ledger.record_table import RECORD_TABLE
from fednode.ledger.studies.records import StudyStatus, get_report, get_round, get_spec, get_studies, get_study
from fednode.ledger.succession import Consent, check_against, make_consent, make_origin, needed_consents
from fednode.ledger.sums.course import BlockTime
from fednode.sums.phase import Phase
from tests.audit.chain import RoundWorld, play, play_changes
from tests.ledger.sum_world import World
from tests.support.seeds import seed_of

NONCE = bytes(range(16))
LATER_MS = 10**9


def consent_of(world: RoundWorld, member: int, height: int | None = None, nonce: bytes = NONCE) -> Consent:
    """What a member signs that holds the chain up to a height, the last one if not given."""
    tip = world.maker.tip
    if height is not None and height < tip.height:
        tip = world.blocks[height - 1].tip if height else replace(tip, height=Height(0), block_hash=bytes(32))
    certificate = world.store.get_certificate(tip.height) if tip.height else None
    name = next(record.name for record in get_members(world.state) if record.member == member)
    signer = world.signers[MemberId(member)]
    seeds = "renewed" if signer.public_key == Ed25519Signer(Secret(seed_of("renewed", "sign"))).public_key else name
    network = Ed25519Signer(Secret(seed_of(seeds, "network")))
    card = make_identity_card(name, (), signer, network)
    return make_consent(tip, certificate, MemberId(member), card, signer, nonce)


def succeed(world: RoundWorld, consents: Sequence[Consent]) -> Genesis:
    tip = world.maker.tip
    origin = make_origin(
        consents, tip, world.store.get_certificate(tip.height), world.state, world.store.get_members
    )
    return make_successor("next", origin, LATER_MS)


@pytest.fixture(scope="module")
def changed() -> RoundWorld:
    """Five numbers were given, one member left, one replaced its keys."""
    return play_changes()


@pytest.fixture(scope="module")
def open_round() -> RoundWorld:
    """A round was done and another one is open."""
    world = play(1)
    world.go_to(Phase.REVEAL)
    return world


def test_every_kind_of_record_is_carried_or_not() -> None:
    """A new kind of record has to be put on one of the lists: would its loss let something happen twice?"""
    assert set(RECORD_TABLE.rows) == CARRIED | NOT_CARRIED and not CARRIED & NOT_CARRIED


def test_a_successor_keeps_numbers_revoked_keys_studies_and_rosters(changed: RoundWorld) -> None:
    members = [record.member for record in get_members(changed.state)]
    genesis = succeed(changed, [consent_of(changed, member) for member in reversed(members)])
    assert [number for number, _ in genesis.numbered] == members and members != list(range(1, len(members) + 1))
    assert genesis.chain_id != changed.chain_id
    before, after = changed.state, genesis.first_state()
    old_tip = changed.maker.tip
    record = after.read(ORIGIN_KEY, OriginRecord)
    assert record == OriginRecord(old_tip.chain_id, old_tip.height, old_tip.block_hash)
    assert [(r.member, r.sign_key) for r in get_members(after)] == [(r.member, r.sign_key) for r in get_members(before)]
    revoked = [key for key, _ in before.items() if key.startswith(b"usedkey/")]
    assert revoked and all(after.read(key, UsedKey) == before.read(key, UsedKey) for key in revoked)
    assert get_membership(after).next_member == get_membership(before).next_member
    assert get_studies(after) == get_studies(before)
    for study in get_studies(before):
        assert get_spec(after, study) == get_spec(before, study)
        was, now = get_study(before, study), get_study(after, study)
        assert was is not None and now is not None
        is_open = get_round(before, study) is not None
        assert (now.model_hash, now.rounds_done) == (was.model_hash, was.rounds_done)
        assert now.next_round == was.next_round + is_open
        for number in range(was.next_round):
            assert get_report(after, study, number) == get_report(before, study, number)


def test_an_open_round_ends_and_what_was_unmasked_stays_pinned(open_round: RoundWorld) -> None:
    current = open_round.round
    assert current.is_unmasked
    genesis = succeed(open_round, [consent_of(open_round, member) for member in (1, 2, 4)])
    state, study = genesis.first_state(), open_round.study
    assert get_round(state, study) is None
    report, record = get_report(state, study, current.number), get_study(state, study)
    assert report is not None and report.reason == CHAIN_ENDED and report.is_unmasked
    assert record is not None and StudyStatus(record.status) == StudyStatus.WAITING
    assert record.pin == current.attempt.included and record.next_round == current.number + 1
    assert record.ready == ()
    assert {key.split(b"/")[0] for key, _ in state.items()} <= CARRIED | {b"chain", b"origin", b"members"}


def test_a_file_holds_all_of_it(changed: RoundWorld) -> None:
    genesis = succeed(changed, [consent_of(changed, record.member) for record in get_members(changed.state)])
    again = parse_genesis(genesis_to_toml(genesis))
    assert again == genesis and again.first_state().root == genesis.first_state().root
    check_against(again.origin, changed.maker.tip, changed.state, changed.store.get_members)


def test_it_rests_on_the_highest_end_that_a_signer_holds(open_round: RoundWorld) -> None:
    consents = [consent_of(open_round, 1, height=0), consent_of(open_round, 2, height=3), consent_of(open_round, 3)]
    origin = succeed(open_round, consents).origin
    assert origin is not None and origin.height == open_round.maker.tip.height
    later = succeed(open_round, consents[:2]).origin
    assert later is not None and later.height == origin.height, "what a signer has fetched since counts"
    early, store = open_round.blocks[1].tip, open_round.store
    with pytest.raises(GenesisError, match="holds block"):
        make_origin(consents, early, store.get_certificate(2), open_round.state, store.get_members)
    genesis = succeed(open_round, consents)
    for height, words in ((2, "fetch what is missing"), (3, "fetch what is missing")):
        with pytest.raises(GenesisError, match=words):
            tip = open_round.blocks[height - 1].tip
            check_against(genesis.origin, tip, open_round.state, open_round.store.get_members)


def test_so_many_must_sign_that_the_others_are_no_quorum(open_round: RoundWorld) -> None:
    with pytest.raises(GenesisError, match="1 of 4 members have signed and 2 are needed"):
        succeed(open_round, [consent_of(open_round, 1)])
    assert len(succeed(open_round, [consent_of(open_round, 1), consent_of(open_round, 4)]).members) == 2
    for count in range(1, 101):
        members = MemberSet(tuple(Member(MemberId(i), i.to_bytes(32, "big")) for i in range(1, count + 1)))
        needed = needed_consents(members)
        assert count - needed < quorum(count) <= count - needed + 1


Change = Callable[[RoundWorld, list[Consent]], list[Consent]]
BAD: dict[str, tuple[Change, str]] = {
    "twice": (lambda w, c: [*c, c[0]], "given twice"),
    "of two minds": (lambda w, c: [*c, consent_of(w, 1, nonce=bytes(16))], "given twice"),
    "another chain": (lambda w, c: [replace(c[0], chain_id=bytes(32)), *c[1:]], "not signed by its key"),
    "not signed": (lambda w, c: [replace(c[0], signature=bytes(64)), *c[1:]], "not signed by its key"),
    "another's number": (lambda w, c: [replace(c[0], member=MemberId(2)), *c[1:]], "not signed by its key"),
    "no proof": (lambda w, c: [_signed(w, 1, replace(c[0], certificate=None)), *c[1:]], "does not prove the block"),
    "another block's proof": (
        lambda w, c: [_signed(w, 1, replace(c[0], certificate=w.store.get_certificate(2))), *c[1:]],
        "does not prove the block",
    ),
    "a forged proof": (lambda w, c: [_signed(w, 1, _with_forged_votes(c[0])), *c[1:]], "is not certified"),
    "a stranger": (lambda w, c: [_signed(w, 2, replace(c[0], card=c[1].card)), *c[2:]], "is no member"),
}


def _signed(world: RoundWorld, member: int, consent: Consent) -> Consent:
    signer = world.signers[MemberId(member)]
    tip = replace(world.maker.tip, height=consent.height, block_hash=consent.block_hash, chain_id=consent.chain_id)
    return make_consent(tip, consent.certificate, consent.member, consent.card, signer, consent.nonce)


def _with_forged_votes(consent: Consent) -> Consent:
    assert consent.certificate is not None
    forged = tuple(bytes(64) for _ in consent.certificate.signatures)
    return replace(consent, certificate=replace(consent.certificate, signatures=forged))


@pytest.mark.parametrize("name", BAD)
def test_what_makes_no_successor(open_round: RoundWorld, name: str) -> None:
    change, words = BAD[name]
    consents = [consent_of(open_round, member) for member in (1, 2, 3)]
    with pytest.raises(GenesisError, match=words):
        succeed(open_round, change(open_round, consents))


def test_an_edited_successor_is_refused(open_round: RoundWorld) -> None:
    genesis = succeed(open_round, [consent_of(open_round, member) for member in (1, 2, 3)])
    origin = genesis.origin
    edits = {
        "not those that signed": replace(genesis, members=genesis.members[:2]),
        "highest end": replace(genesis, origin=replace(origin, height=origin.height - 1)),
        "not in order": replace(genesis, origin=replace(origin, carried=origin.carried[::-1])),
        "belongs to the old chain": replace(genesis, origin=replace(origin, carried=((b"chain", b"x"),))),
        "cannot be read": replace(genesis, origin=replace(origin, carried=((origin.carried[0][0], b"\xff"),))),
        "another chain": replace(genesis, origin=replace(origin, chain_id=bytes(32))),
    }
    for words, edited in edits.items():
        with pytest.raises(GenesisError, match=words):
            check_genesis(edited)
    fewer = replace(genesis, origin=replace(origin, carried=origin.carried[1:]))
    check_genesis(fewer)
    with pytest.raises(GenesisError, match="something else than the old chain holds"):
        check_against(fewer.origin, open_round.maker.tip, open_round.state, open_round.store.get_members)
    assert origin.certificate is not None
    forged = replace(origin.certificate, signatures=tuple(bytes(64) for _ in origin.certificate.signatures))
    uncertified = replace(genesis, origin=replace(origin, certificate=forged))
    check_genesis(uncertified)
    with pytest.raises(GenesisError, match="is not certified"):
        check_against(uncertified.origin, open_round.maker.tip, open_round.state, open_round.store.get_members)
    with pytest.raises(GenesisError, match="succeeds none"):
        check_against(open_round.genesis.origin, open_round.maker.tip, open_round.state, open_round.store.get_members)


def test_the_study_goes_on_where_it_was() -> None:
    """On the successor the members play the next round by the ordinary rules."""
    old = play(1)
    genesis = succeed(old, [consent_of(old, member) for member in (1, 2, 3, 4)])
    new = World(terms_of_keys=dict.fromkeys((1, 2, 3, 4), 1))  # whose chains the old one has seen
    new.genesis, new.chain_id, new.state = genesis, genesis.chain_id, genesis.first_state()
    new.at = BlockTime(0, genesis.time_ms)
    assert new.life.rounds_done == 1
    new.ready_all()
    report = new.finish_round()
    assert report.number == old.life.next_round + 1, "the round that was open is over"
    assert report.counted == (1, 2, 3, 4)


def test_a_study_that_has_not_begun_waits_for_those_who_go_on_only() -> None:
    world = RoundWorld()
    assert world.life.hospitals == (1, 2, 3, 4) and world.life.beginning is not None
    world.block((1, world.ready(1)))
    genesis = succeed(world, [consent_of(world, member) for member in (1, 3, 4)])
    found = get_study(genesis.first_state(), world.study)
    assert found is not None and found.hospitals == (1, 3, 4) and found.ready == ()
    assert found.beginning is not None and found.beginning.since_height == 0


def test_a_study_begins_anew_on_a_successor_by_votes_of_its_own() -> None:
    old = RoundWorld()
    for member in (1, 2, 3):
        assert old.post(member, old.ready(member)).ok
    old.begin_without(4, voters=(1, 2))
    assert old.life.beginning is not None and old.life.beginning.voters(4) == (1, 2)
    genesis = succeed(old, [consent_of(old, member) for member in (1, 2, 3, 4)])
    new = World(terms_of_keys=dict.fromkeys((1, 2, 3, 4), 1))  # whose chains the old one has seen
    new.genesis, new.chain_id, new.state = genesis, genesis.chain_id, genesis.first_state()
    new.at = BlockTime(0, genesis.time_ms)
    new.ready_all(1, 2, 3)
    new.begin_without(4, voters=(3,))
    assert new.life.status == StudyStatus.WAITING and not new.is_round_open
    new.begin_without(4, voters=(1, 2))
    assert new.round.expected == (1, 2, 3)


@pytest.mark.parametrize(("name", "network", "words"), [
    (None, None, None), ("St. Renewed", None, None), ("of 5", None, "look"), ("of 5, alike", None, "look"),
    (None, "of 5", "key"), (None, "revoked", "key"),
])
def test_a_card_takes_nothing_of_who_stays_out(
    changed: RoundWorld, name: str | None, network: str | None, words: str | None
) -> None:
    """Names and keys of others, here of member 5 that has not signed, and revoked keys, here of member 2 itself."""
    names = {record.member: record.name for record in get_members(changed.state)}
    told = {None: names[2], "of 5": names[5], "of 5, alike": f"{names[5].upper()}."}.get(name, name)
    keys = {None: ("renewed", "network"), "of 5": (names[5], "network"), "revoked": (names[2], "network")}[network]
    mine, signer = consent_of(changed, 2), changed.signers[MemberId(2)]
    card = make_identity_card(told, (), signer, Ed25519Signer(Secret(seed_of(*keys))))
    taken = make_consent(changed.maker.tip, mine.certificate, MemberId(2), card, signer, NONCE)
    consents = [taken, consent_of(changed, 1), consent_of(changed, 3)]
    if words is None:
        assert succeed(changed, consents).members[1] == card
        return
    with pytest.raises(GenesisError, match=f"cannot stand on the ledger: .*{words}"):
        succeed(changed, consents)
