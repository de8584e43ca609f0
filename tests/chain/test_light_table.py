"""What a verifier is given, and the verdict it must reach: proof, checkpoint, trusting period, clock, order of steps.

The chain: founders 1 to 4 at day 0; member 4 leaves and member 3 gets a new key with block 10; `now` is day 400.
Whoever holds the keys of those who left, or old keys, may sign anything; whatever option a verifier is given, it
believes no more than without it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import pytest

from fednode.audit.proofs import PROOF_FORMAT, Base, Finality, Proof, Trust, verify_proof
from fednode.chain.block import Header, compute_block_hash, compute_params_hash
from fednode.chain.checkpoint import Checkpoint, make_checkpoint, prove_in_log
from fednode.chain.light import LightBlock, LightRules, one_third
from fednode.chain.state import hash_leaf
from fednode.chain.vote import NO_VIEW, PRECOMMIT, Certificate, Member, MemberSet, sign_bytes
from fednode.crypto import Domain, Ed25519Signer, Secret
from fednode.errors import Rejected
from fednode.ids import NO_HASH
from fednode.ledger.versions import VERSIONS
from tests.ledger.world import make_test_genesis
from tests.support.seeds import seed_of

DAY_MS = 24 * 3600 * 1000
NOW_MS = 400 * DAY_MS
GENESIS = make_test_genesis(4)
KEYS = {signer.public_key: signer for signer in (
    Ed25519Signer(Secret(seed_of(*seed)))
    for seed in [*((card.name, "sign") for card in GENESIS.members), *(("table", n) for n in range(8))]
)}
OWN = [Ed25519Signer(Secret(seed_of("table", n))).public_key for n in range(8)]
FOUNDERS = GENESIS.member_set
OLD = [FOUNDERS.keys[member] for member in FOUNDERS.ids]
NOW = MemberSet((Member(1, OLD[0]), Member(2, OLD[1]), Member(3, OWN[3]), Member(5, OWN[5])))
"""Members since block 11: number 3 has a new key, 4 left, 5 came."""
LEFT = MemberSet((Member(1, OWN[1]), Member(2, OWN[2]), Member(3, OLD[2]), Member(4, OLD[3])))
"""What thieves of the keys that left might call the members."""


def make(
    height: int, day: float, members: MemberSet, keys: list[bytes], after: MemberSet | None = None,
    parent: bytes = NO_HASH, version: int = 1,
) -> LightBlock:
    """Return a block of a height, made on a day and signed with these keys by those of the set that have them."""
    after = after or members
    header = Header(
        version, GENESIS.chain_id, height, int(day * DAY_MS), parent, *[bytes(32)] * 4, members.hash, after.hash,
        compute_params_hash(1), bytes(32), members.ids[0], 0,
    )
    block_hash = compute_block_hash(header)
    message = sign_bytes(GENESIS.chain_id, PRECOMMIT, height, 0, NO_VIEW, block_hash)
    signing = [(place, member) for place, member in enumerate(members.members) if member.sign_key in keys]
    signatures = tuple(KEYS[member.sign_key].sign(Domain.PRECOMMIT, message) for _, member in signing)
    bits = sum(1 << place for place, _ in signing)
    return LightBlock(header, Certificate(height, 0, block_hash, bytes([bits]), signatures), members, after)


CHANGE = make(10, 10, FOUNDERS, OLD, NOW)
RECENT = make(390, 390, NOW, [*OLD, *OWN])
GENUINE = make(400, 399, NOW, [*OLD, *OWN])
OTHER_RECENT = make(390, 390.5, NOW, [*OLD, *OWN])
ENDS = {
    "genuine": GENUINE,
    "by 3 of 4 now": make(400, 399, NOW, [*OLD[:2], OWN[3]]),
    "by 2 of 4 now": make(400, 399, NOW, OLD[:2]),
    "by 2 founders and 2 strangers": make(400, 399, MemberSet((
        Member(1, OLD[0]), Member(2, OLD[1]), Member(7, OWN[6]), Member(8, OWN[7]))), [*OLD[:2], OWN[6]]),
    "by old keys": make(400, 399, LEFT, [OLD[2], OLD[3], OWN[1]]),
    "by 3 old founders' keys": make(400, 399, FOUNDERS, OLD[1:]),
    "of version 2": make(400, 399, NOW, [*OLD, *OWN], version=2),
    "of version 0": make(400, 399, NOW, [*OLD, *OWN], version=0),
    "of tomorrow": make(400, 401, NOW, [*OLD, *OWN]),
}


def checkpoint_of(block: LightBlock, size: int | None = None) -> Checkpoint:
    """Return the checkpoint of a block in a log that holds GENUINE's hash at its height and others below."""
    height = block.header.height
    leaves = [hash_leaf(height.to_bytes(32, "big")) for height in range(1, height + 1)]
    leaves[height - 1] = hash_leaf(compute_block_hash(block.header))
    return make_checkpoint(block.header, leaves)


CHECKPOINTS = {"none": None, "recent": checkpoint_of(RECENT), "old": checkpoint_of(CHANGE)}


def proof_of(way: str, end: LightBlock) -> Proof:
    """Return the proof that leads to a block in some order of steps."""
    bases = {"recent": RECENT, "old": CHANGE, "other": OTHER_RECENT}
    start, _, order = way.partition(": ")
    steps = {
        "change, end": (CHANGE, end), "end": (end,), "end, change": (end, CHANGE), "change, change, end":
        (CHANGE, CHANGE, end), "change, recent, end": (CHANGE, RECENT, end), "recent, end": (RECENT, end),
        "change": (CHANGE,), "nothing": (),
    }[order]
    if start == "genesis":
        finality = Finality(GENESIS, None, steps)
    else:
        finality = Finality(None, Base(bases[start].header, bases[start].next_members), steps)
    return Proof(PROOF_FORMAT, GENESIS.chain_id, end.header, finality, None)


@dataclass(frozen=True)
class Row:
    """One line of the table. `days`: the trusting period, none if 0. `at`: the day by the verifier's clock."""

    way: str
    end: str
    checkpoint: str
    days: int
    at: float
    verdict: str

    @property
    def name(self) -> str:
        return f"{self.way} / {self.end} / {self.checkpoint} / {self.days} d / day {self.at}"


PERIOD, FEW, BELOW, END, BASE, FUTURE = (
    "older than the trusting period", "trusted members signed it", "not above the trusted one",
    "lead to another block", "not the checkpoint's", "from the future",
)
TABLE = [Row(*row) for row in (
    # way                        end                               checkpoint days at   verdict
    ("genesis: change, end", "genuine", "none", 0, 400, "holds"),
    ("genesis: change, end", "by 3 of 4 now", "none", 0, 400, "holds"),
    ("genesis: change, end", "by 2 of 4 now", "none", 0, 400, FEW),
    ("genesis: change, end", "by 2 founders and 2 strangers", "none", 0, 400, FEW),
    ("genesis: change, end", "by old keys", "none", 0, 400, FEW),
    ("genesis: change, end", "by 3 old founders' keys", "none", 0, 400, FEW),
    ("genesis: change, end", "of version 2", "none", 0, 400, "version 2"),
    ("genesis: change, end", "of version 0", "none", 0, 400, "version 0"),
    ("genesis: change, end", "of tomorrow", "none", 0, 400, FUTURE),
    ("genesis: end", "genuine", "none", 0, 400, FEW),  # two of the founders are left: the change is shown, or no trust
    ("genesis: end", "by 2 founders and 2 strangers", "none", 0, 400, FEW),
    # the option: never more than without it
    ("genesis: end", "by 2 founders and 2 strangers", "none", 30, 400, PERIOD),
    ("genesis: end", "by 2 founders and 2 strangers", "none", 36_500, 400, FEW),
    ("genesis: end", "by 3 old founders' keys", "none", 30, 400, PERIOD),  # keys that left: worth nothing any more
    ("genesis: change, end", "genuine", "none", 30, 400, PERIOD),
    ("genesis: change, end", "genuine", "none", 36_500, 400, "holds"),
    ("genesis: change, end", "by 2 of 4 now", "none", 36_500, 400, FEW),
    # order of the steps
    ("genesis: end, change", "by 3 old founders' keys", "none", 0, 400, BELOW),
    ("genesis: change, change, end", "genuine", "none", 0, 400, BELOW),
    ("genesis: change, recent, end", "genuine", "none", 0, 400, "holds"),
    ("genesis: change", "genuine", "none", 0, 400, END),
    ("genesis: nothing", "genuine", "none", 0, 400, END),
    # the clock
    ("genesis: change, end", "genuine", "none", 0, 398.9, FUTURE),
    ("genesis: change, end", "genuine", "none", 0, 5000, "holds"),
    ("recent: end", "genuine", "recent", 30, 398, FUTURE),  # a clock set back does not make trust young again
    # from a checkpoint
    ("recent: end", "genuine", "recent", 0, 400, "holds"),
    ("recent: end", "genuine", "recent", 30, 400, "holds"),
    ("recent: end", "genuine", "recent", 30, 420.1, PERIOD),
    ("recent: end", "genuine", "recent", 10, 400, PERIOD),  # to the day and no further
    ("recent: end", "by 2 of 4 now", "recent", 30, 400, FEW),
    ("recent: end", "by 2 founders and 2 strangers", "recent", 30, 400, FEW),
    ("recent: end", "by old keys", "recent", 30, 400, FEW),
    ("recent: end", "by 3 old founders' keys", "recent", 30, 400, FEW),
    ("recent: end", "of version 2", "recent", 0, 400, "version 2"),
    ("old: end", "genuine", "old", 0, 400, "holds"),
    ("old: end", "genuine", "old", 30, 400, PERIOD),
    ("old: recent, end", "genuine", "old", 30, 400, PERIOD),  # steps on the way do not renew it
    ("other: end", "genuine", "recent", 0, 400, BASE),
    ("recent: end", "genuine", "old", 0, 400, BASE),
    ("recent: end", "genuine", "none", 0, 400, BASE),
    ("genesis: change, end", "genuine", "recent", 0, 400, "does not refer to this checkpoint"),
)]


def verdict(row: Row, rules: LightRules) -> str:
    """Return what a verifier says."""
    checkpoint = CHECKPOINTS[row.checkpoint]
    trust = Trust(None if checkpoint is not None else GENESIS.chain_id, checkpoint)
    try:
        verify_proof(proof_of(row.way, ENDS[row.end]), trust, int(row.at * DAY_MS), rules)
    except Rejected as error:
        return error.reason
    return "holds"


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_the_table(row: Row) -> None:
    found = verdict(row, LightRules(VERSIONS, row.days * DAY_MS if row.days else None))
    assert row.verdict in found


def test_no_option_lets_more_through() -> None:
    """Every input: with a trusting period, and with any share of signers for it, nothing holds that did not without."""
    ways = sorted({row.way for row in TABLE})
    for way, end, checkpoint, at in product(ways, ENDS, CHECKPOINTS, (398.9, 400.0, 430.0)):
        plain = verdict(Row(way, end, checkpoint, 0, at, ""), LightRules(VERSIONS))
        for days in (1, 30, 36_500):
            strict = verdict(Row(way, end, checkpoint, days, at, ""), LightRules(VERSIONS, days * DAY_MS))
            assert strict != "holds" or plain == "holds", (way, end, checkpoint, at, days)
            if way.startswith("genesis"):
                rules = LightRules(VERSIONS, days * DAY_MS, overlap=one_third)
                lax = verdict(Row(way, end, checkpoint, days, at, ""), rules)
                assert lax == strict, "from the genesis it is always a quorum"


def test_a_checkpoint_that_names_the_block_needs_no_period() -> None:
    """Nobody can write a second history of what a trusted checkpoint already holds."""
    for way in ("genesis: change, end", "genesis: end"):
        proof, own = proof_of(way, GENUINE), checkpoint_of(GENUINE)
        alone = replace(proof, finality=None)
        rules = LightRules(VERSIONS, DAY_MS)
        assert verify_proof(alone, Trust(None, own), NOW_MS + 90 * DAY_MS, rules).anchors == ("checkpoint",)
        for wrong in (replace(own, time_ms=own.time_ms + 1), replace(own, block_hash=bytes(32))):
            with pytest.raises(Rejected, match="two histories"):
                verify_proof(alone, Trust(None, wrong), NOW_MS, rules)
    both = verify_proof(proof_of("genesis: change, end", GENUINE), Trust(GENESIS.chain_id, own), NOW_MS, rules)
    assert both.anchors == ("checkpoint", "genesis")


def test_a_log_that_holds_the_block_needs_no_period() -> None:
    leaves = [hash_leaf(height.to_bytes(32, "big")) for height in range(1, 401)]
    leaves[389], leaves[399] = (hash_leaf(compute_block_hash(block.header)) for block in (RECENT, GENUINE))
    trusted, log = make_checkpoint(GENUINE.header, leaves), prove_in_log(leaves, 390)
    proof = Proof(PROOF_FORMAT, GENESIS.chain_id, RECENT.header, None, log)
    late = NOW_MS + 90 * DAY_MS
    assert verify_proof(proof, Trust(None, trusted), late, LightRules(VERSIONS, DAY_MS)).anchors == ("checkpoint",)
    with pytest.raises(Rejected, match="another root"):
        verify_proof(replace(proof, header=OTHER_RECENT.header), Trust(None, trusted), late, LightRules(VERSIONS))
