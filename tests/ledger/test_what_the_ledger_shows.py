"""Every field of every body and record says what it shows to somebody who reads the chain and has no key.

A new field without a class fails here: whoever adds it has to say why an export may show it. What the classes promise
is held elsewhere: hidden and digests by `tests/rounds/test_export.py`, weights by the rules of commits and results.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import get_args, get_type_hints

from fednode.codec import Range, Size
from fednode.ledger.bodies import Body
from fednode.ledger.record_table import RECORD_TABLE

PUBLIC = """
public by rule: who, when, what phase, what people decide and write, keys and addresses, the study's own terms
    StudyCreate terms spec
    StudyTerms rounds has_statistics weights weight_bound start_after_ms train_timeout_ms phase_timeout_ms
    StudyTerms target_accuracy_permyriad pause_after_failures proofs
    ProofTerms length statistics_words quality_words closing_words
    StudyVote study action
    StudyBegin study without
    StudyPause study reason
    Ready study seal_key
    Keys study round attempt next_key
    Acknowledge study round attempt wrong
    Answer study round attempt
    Commit study round attempt
    Roster study round attempt step missing
    Digest study round attempt
    SumAck study round attempt missing
    Reveal study round attempt
    Result study round attempt outcome reason wants_stop
    Expire study round attempt phase_no
    Gone study round attempt phase_no members
    Coin study round attempt
    ShareRoot study round attempt
    Proof study round attempt part sum_ok
    Recheck study round attempt withheld
    Redeal study round attempt holder
    Confirm study round attempt
    Expose study round attempt dealer
    Memo text
    MemberPropose card
    IdentityCard format name sign_key network_key addresses sign_proof network_proof
    MemberRemove member reason
    MemberApprove proposal
    MemberReport sign_key height state_root
    MemberRotate card new_signature
    MemberAddresses addresses
    RoleVote role holder is_grant
    VersionVote version from_height release
    ChainRecord chain_id name protocol_version genesis_ms
    MemberRecord member name sign_key network_key addresses
    MemberList members
    NonceRecord nonce
    SeenRecord study round attempt member
    StudyList studies
    SpecRecord spec
    OpenPhase number kind step opened_height opened_ms timeout_ms expected posted expire_votes is_reopened
    OpenPhase gone_votes
    ReadyEntry member seal_key coin_head ready_height absent_height
    Beginning since_height since_ms without
    Without member voters
    KeptOut members readmit_votes
    StudyRecord study terms creator created_height status reason approvals rejects resume_votes stop_votes ready join
    StudyRecord next_phase next_round has_statistics_sum rounds_done training_end stop_wishes failures_in_row pin
    StudyRecord coins kept_out beginning hospitals leashes
    Absence member phase attempt
    VoidAttempt attempt phase reason dropped
    PhaseSpan attempt phase step opened_height opened_ms closed_height closed_ms is_expired
    ChunkRecord owners reports is_settled
    Attempt number holders dealers complaints present qualified chunks left_out included acked sum_missing
    Attempt silent_b freeze_height freeze_block coin_index shared answered openers disputes redealt confirmed exposed
    RoundRecord study number kind members expected seal_keys pinned opened_height opened_ms phase attempt is_unmasked
    RoundRecord absent barred faulty voids spans next_keys coins ballots words
    RoundReport study number kind outcome reason expected counted absent barred faulty attempts voids phases
    RoundReport not_ready
    RoundReport is_unmasked fault_bound opened_height opened_ms closed_height closed_ms
    Coins opened heads mask_failures
    CoinHead member index
    Report height state_root accepted_height
    Approval height time_ms
    ProposalRecord number change member card reason proposer height approvals report approved is_here
    Membership next_member next_proposal changed_height proposals roots
    UsedKey member height
    RoleRecord role holder is_granted height votes
    RoleList roles
    VersionSpan version from_height
    VersionPlan version from_height release
    VersionProposal plan height voters
    VersionRecord spans plan open
    Offence height recorded_height
    FlagRecord member count offences
    OriginRecord chain_id height block_hash
"""

RANDOM = """
drawn at random and about nothing else: points, proofs of knowledge, links of chains, secrets of masks that are opened
    Ready coin_head
    Keys a_points b_points a_proof b_proof c_point c_proof
    Answer shares
    Reveal own_b a_shares b_shares
    Coin preimage
    Expose shared proof
    Attempt answers own_b a_shares b_shares
    Attempt links coin query_seed confirm_seed
    RoundReport coin
    CoinHead head link
"""

BLINDED = """
answers to proofs, each hidden by a blind of its own that is shared and never opened
    Proof data
    Confirm data
    Attempt unconfirmed
"""

DIGEST = """
digests of what holds 256 bits that the reader lacks: masked or salted vectors, salted sums and models, sealed boxes
    Commit root roots
    Digest digests
    SumAck list_digest
    ShareRoot bits_root proof_root
    Recheck chunks sketches
    Result sum_digest model_hash
    ChunkRecord digest
    Attempt list_digest
    RoundRecord start_model
    StudyRecord model_hash
    RoundReport start_model model_hash sum_digest
"""

HIDDEN = """
hidden by numbers that follow from the tails of the masked sum, which only its members have
    Reveal opening
    ShareRoot sketch
    Attempt openings sum_opened
"""

SEALED = """
encrypted for one member, by a key of the round that is deleted with it
    Keys sealed
    Redeal box
"""

WEIGHT = """
0 unless the study's weights are public, which the study says when it is approved
    Commit weight
    Attempt committed
    Result weight
    RoundReport weight
"""

MEASURED = """
measures over all hospitals of a round with held-out rows, three at least: what a study is approved to publish
    Result metrics
    StudyRecord metrics
    RoundReport metrics
    Metrics voices right loss_voices loss figures
    Figure name ppm voices
"""


def classes_of(*tables: str) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    for table in tables:
        meaning, *rows = table.strip().splitlines()
        for row in rows:
            name, *names = row.split()
            for field in names:
                assert (name, field) not in found, f"{name}.{field} has two classes"
                found[name, field] = meaning
    return found


def shown_fields() -> set[tuple[str, str]]:
    """Every field that a body or a record of the state can hold, at any depth."""
    found: set[tuple[str, str]] = set()
    seen: set[object] = set()

    def walk(kind: object) -> None:
        for part in get_args(kind):
            walk(part)
        if isinstance(kind, type) and is_dataclass(kind) and kind not in seen | {Range, Size}:
            seen.add(kind)
            found.update((kind.__name__, field.name) for field in fields(kind))
            for hint in get_type_hints(kind, include_extras=True).values():
                walk(hint)

    walk(Body)
    for _, record in RECORD_TABLE.rows.values():
        walk(record)
    return {(name, field) for name, field in found if name not in ("Range", "Size")}


def test_every_field_on_the_ledger_has_a_class() -> None:
    classes = classes_of(PUBLIC, RANDOM, BLINDED, DIGEST, HIDDEN, SEALED, WEIGHT, MEASURED)
    missing = sorted(shown_fields() - set(classes))
    assert not missing, "say what these show to a reader without keys, and see that it is true"
    stale = sorted(set(classes) - shown_fields())
    assert not stale, "these are gone"
