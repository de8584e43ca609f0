"""What auditors ask a daemon for that proves itself: apart, because the forms bring the ledger with them."""

from __future__ import annotations

from fednode.audit.proofs import Proof
from fednode.chain.checkpoint import Checkpoint, Consistency
from fednode.desk.questions import Question

CHAIN_PROOF = Question("chain_proof", Proof)
CHAIN_CHECKPOINT = Question("chain_checkpoint", Checkpoint)
CHAIN_SIGN_CHECKPOINT = Question("chain_sign_checkpoint", Checkpoint)
CHAIN_CONSISTENCY = Question("chain_consistency", Consistency)
