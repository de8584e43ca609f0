"""What simulated federations of whole nodes share: keys, a tiny study, genesis, seeded entropy, a fake worker."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
from nacl import bindings

from fednode import crypto
from fednode.core import traffic
from fednode.crypto import Ed25519Signer, Secret
from fednode.ids import MemberId
from fednode.learn import jobs as work
from fednode.learn import measures
from fednode.learn.algorithms.averaging import FedAvg
from fednode.learn.layout import vector_plan
from fednode.learn.models.logistic import Logistic
from fednode.learn.rows import Rows
from fednode.learn.study import Optimiser, StopRule, StudySpec, Timeouts, tensors_of
from fednode.learn.tables.kind import LabelColumn, NumberColumn, Tables, claim_statistics
from fednode.learn.tables.verdicts import Verdict
from fednode.ledger.genesis import Genesis, GenesisStudy, make_genesis
from fednode.rounds.terms import study_proposal
from fednode.smpc import dealing as smpc_keys
from tests.support.cards import make_cards
from tests.support.patches import applied
from tests.support.seeds import Stream, seed_of

GENESIS_MS = 1_700_000_000_000
TRAINING_ROUNDS = 2
ROWS = 12


def tiny_study() -> StudySpec:
    """Two numbers and three classes: 9 parameters, two measures of a model; short deadlines."""
    columns = (
        NumberColumn("age", "years", 0, 100_000_000, ()), NumberColumn("pressure", "", 0, 200_000_000, ()),
        LabelColumn("finding", ("none", "mild", "severe"), None, ()),
    )
    model, data = Logistic(), Tables(columns)
    return StudySpec(
        "tiny", "", model, tensors_of(model, data), data, FedAvg(), Optimiser("sgd", 50_000, 0, 0, 4), 1,
        TRAINING_ROUNDS, 1 << 24, "hidden", 127, 1, ("auc",), StopRule(0, 0),
        Timeouts(start_after_s=3, train_timeout_s=8, phase_timeout_s=4),
    )


@lru_cache
def tiny_genesis(count: int) -> Genesis:
    """The chain's beginning: the study is agreed on."""
    proposal = study_proposal(tiny_study())
    return make_genesis("whole", make_cards(count), [GenesisStudy(proposal.terms, proposal.spec)], GENESIS_MS)


@lru_cache
def keys_of(count: int) -> dict[MemberId, tuple[Ed25519Signer, Secret[bytes]]]:
    """Signing key of every member, and the secret that its coins come from."""
    return {
        MemberId(number): (Ed25519Signer(Secret(seed_of(card.name, "sign"))), Secret(seed_of(card.name, "coin")))
        for number, card in enumerate(tiny_genesis(count).members, 1)
    }


def do_work(job: work.Job, member: int) -> work.Answer:
    """Answer as a worker would, without training: the update depends on the job and the member alone."""
    match job:
        case work.CheckData():
            return work.DataChecked((Verdict("", "ok", "", 0, 0),), ROWS, ROWS)
        case work.ComputeStatistics(spec, _):
            return work.StatisticsComputed(claim_statistics(spec.data.columns, _rows(member), None).tobytes())
        case work.Evaluate(spec, _, _, _):
            metrics = measures.Metrics(ROWS, member, ROWS << 16)
            return work.Evaluated(metrics, measures.claim_quality(metrics, None).tobytes())
        case work.Train() as train:
            size = vector_plan(train.spec).length
            draw = np.random.default_rng([train.round_number, member, *train.model.hash])
            delta = (draw.uniform(-0.3, 0.3, size)).astype("<f4")
            metrics = measures.Metrics(ROWS, member, ROWS << 16)
            claims = measures.claim_quality(metrics, None).tobytes()
            return work.Trained(delta.tobytes(), ROWS + member, claims, 1, 1)
        case _:
            return work.Failed("input", "nothing simulated asks for this")


def _rows(member: int) -> Rows:
    draw = np.random.default_rng(member)
    return Rows(draw.uniform(0, 1, (ROWS, 2)), draw.integers(0, 3, ROWS))


@contextmanager
def repeatable(*seed: object) -> Iterator[None]:
    """Make sealed boxes a function of the seed, and check every signature and frame once instead of once per node."""
    ephemeral = Stream("sealed boxes", *seed)

    def seal(recipient: bytes, message: bytes) -> bytes:
        secret = ephemeral.random_bytes(32)
        public = bindings.crypto_scalarmult_base(secret)
        nonce = hashlib.blake2b(public + recipient, digest_size=24).digest()
        return public + bindings.crypto_box_easy(message, nonce, recipient, secret)

    patches = (
        (smpc_keys, "seal", seal),
        (crypto, "is_raw_signature_valid", lru_cache(20_000)(crypto.is_raw_signature_valid)),
        (traffic, "decode_frame", lru_cache(2_000)(traffic.decode_frame)),
        (crypto, "base_times", lru_cache(2_000)(crypto.base_times)),
    )
    with applied(patches):
        yield
