"""Commands of `fednode chain` for those who trust nobody: proof, verify-proof, checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from fednode.cli.ask import ask_for
from fednode.cli.chain_files import own_chain_id
from fednode.cli.chain_source import now_ms, open_source, open_stopped
from fednode.cli.proof_files import parse_claim, read_checkpoint, read_json
from fednode.cli.reading import read_genesis
from fednode.cli.show import print_json, print_value
from fednode.cli.site import Site, command, format_option, group, pass_site, site_options
from fednode.desk.control_client import NotRunning
from fednode.desk.questions import Question
from fednode.errors import FednodeError, Rejected, Unavailable, UsageError, VerificationFailed
from fednode.home.files import PUBLIC_FILE, write_atomic
from fednode.json_form import to_json
from fednode.ledger.versions import VERSIONS

if TYPE_CHECKING:
    from fednode.audit.proofs import Proof, Proven
    from fednode.chain.checkpoint import Checkpoint, Consistency
    from fednode.chain.store import LedgerStore
    from fednode.desk.audit import Prover
    from fednode.ids import MemberId

T = TypeVar("T")
DAY_MS = 24 * 3600 * 1000

output_option = click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help="File to write (default: print it).",
)
checkpoint_option = click.option(
    "--checkpoint", type=click.Path(path_type=Path), metavar="FILE",
    help="Make it for somebody who has this checkpoint and not the chain id.",
)


# --- proof -----------------------------------------------------------------------------------------------------

@group("proof")
def proof() -> None:
    """Prove single facts of the chain to others.

    Prove a transaction, a record of the state or a header to somebody who runs no node.
    """


@proof.command(
    "tx", example="fednode chain proof tx 3f2a...64 digits... -o tx.json\nfednode chain verify-proof tx.json"
)
@click.argument("txid", metavar="ID")
@checkpoint_option
@output_option
@format_option
@site_options
@pass_site
def proof_tx(site: Site, txid: str, checkpoint: Path | None, output: Path | None, as_json: bool) -> None:
    """Prove that a transaction is in a block.

    The proof tells also what the rules said to it.
    """
    _give(site, {"kind": "tx", "id": txid}, checkpoint, output, as_json)


@proof.command(
    "state",
    example="fednode chain proof state report heart 3 -o report.json\nfednode chain proof state members\n"
    "fednode chain proof state study heart --format json",
)
@click.argument("key", nargs=-1, required=True, metavar="KEY...")
@checkpoint_option
@output_option
@format_option
@site_options
@pass_site
def proof_state(
    site: Site, key: tuple[str, ...], checkpoint: Path | None, output: Path | None, as_json: bool
) -> None:
    """Prove a record of the state, or its absence.

    Prove a record of the state after the latest block, or that there is none.

    KEY is one of: chain, members, studies, study S, spec S, round S, report S ROUND, nonce MEMBER, hex HEX.
    """
    _give(site, {"kind": "state", "key": " ".join(key)}, checkpoint, output, as_json)


@proof.command("header", example="fednode chain proof header 17 -o header.json\n"
               "fednode chain proof header 17 --checkpoint trusted.json -o header.json")
@click.argument("height", type=click.IntRange(1))
@checkpoint_option
@output_option
@format_option
@site_options
@pass_site
def proof_header(site: Site, height: int, checkpoint: Path | None, output: Path | None, as_json: bool) -> None:
    """Prove a block's header.

    Prove a block's header: by certificates from the genesis on, and by its place in the log of all blocks.
    """
    _give(site, {"kind": "header", "height": height}, checkpoint, output, as_json)


@proof.command(
    "consistency", example="fednode chain proof consistency old.json -o grown.json\n"
    "fednode chain verify-proof grown.json --checkpoint old.json"
)
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path), required=False)
@output_option
@format_option
@site_options
@pass_site
def proof_consistency(site: Site, old: Path, new: Path | None, output: Path | None, as_json: bool) -> None:
    """Prove that one checkpoint continues another.

    Prove that the chain at checkpoint NEW, or at its end, continues the one at checkpoint OLD.
    """
    from fednode.chain.checkpoint import check_consistency
    from fednode.desk.proof_questions import CHAIN_CONSISTENCY

    ends = read_checkpoint(old), None if new is None else read_checkpoint(new)
    heights: dict[str, Any] = {"old": ends[0].height, "new": None if ends[1] is None else ends[1].height}
    found, source = _make(
        site, CHAIN_CONSISTENCY, heights, lambda prover, store: prover.consistency(heights["old"], heights["new"])
    )
    try:
        check_consistency(found, *ends)
    except Rejected as error:
        raise VerificationFailed(f"this chain does not continue the checkpoint: {error.reason}") from None
    what = f"the log of {found.new_size} blocks continues that of {found.old_size}"
    _put(found, {"proves": what, "chain": found.chain_id.hex(), "source": source}, output, as_json)


def _give(site: Site, args: dict[str, Any], checkpoint: Path | None, output: Path | None, as_json: bool) -> None:
    """Get a proof, check it as its reader will, and write it."""
    from fednode.audit.proofs import Trust, verify_proof
    from fednode.chain.light import LightRules
    from fednode.desk.proof_questions import CHAIN_PROOF

    known = None if checkpoint is None else read_checkpoint(checkpoint)
    args = {**args, "since": None if known is None else int(known.height)}
    found, source = _make(site, CHAIN_PROOF, args, partial(_prove, args))
    chain_id = read_genesis(site.load().values.genesis_path).chain_id
    try:
        proven = verify_proof(found, Trust(chain_id, known), now_ms(), LightRules(VERSIONS))
        _check_asked(args, proven)
    except Rejected as error:
        raise VerificationFailed(f"no proof for this can be made here: {error.reason}") from None
    _put(found, {**describe(proven), "source": source}, output, as_json)


def _check_asked(args: Mapping[str, Any], proven: Proven) -> None:
    """Raise `Rejected` unless the proof is about what was asked for."""
    height, transaction = args.get("height"), proven.transaction
    if (
        proven.proof.kind != args["kind"]
        or (height is not None and height != proven.proof.header.height)
        or (transaction is not None and transaction.txid.hex() != args["id"].lower())
    ):
        raise Rejected(f"the answer is about another {args['kind']} than was asked for")


def _put(made: object, shown: Mapping[str, Any], output: Path | None, as_json: bool) -> None:
    """Write the proof to the file and tell what it proves, or print the proof itself."""
    import json

    if output is None:
        print_json(made)
        return
    data = (json.dumps(to_json(made), indent=1) + "\n").encode()
    write_atomic(output, data, PUBLIC_FILE)
    shown = {"file": str(output), "bytes": len(data), **shown}
    if as_json:
        print_json(shown)
    else:
        print_value(shown)


def _make(
    site: Site, question: Question[T], args: dict[str, Any], make: Callable[[Prover, LedgerStore], T]
) -> tuple[T, str]:
    """Ask the daemon, or make it from the store while none runs; return it, and where it came from."""
    from fednode.desk.audit import Prover

    try:
        return ask_for(site, question, **args), "daemon"
    except NotRunning as error:
        if "sign" in question.name:
            raise Unavailable(f"a checkpoint is signed by the daemon, which holds the key, and {error}") from None
    with open_stopped(site) as (store, genesis):
        return make(Prover(store, genesis), store), "store"


def _prove(args: dict[str, Any], prover: Prover, store: LedgerStore) -> Proof:
    """Make the proof that a daemon would."""
    from fednode.desk.audit import parse_txid, state_key

    since, now = args["since"], now_ms()
    match args["kind"]:
        case "tx":
            return prover.transaction(parse_txid(args["id"]), since, now)
        case "header":
            return prover.header(args["height"], since, now)
        case _:
            state = store.load_state()
            return prover.state(state_key(args["key"].split(" "), state), state, int(store.tip.height), since, now)


# --- verify-proof ----------------------------------------------------------------------------------------------

@command(
    "verify-proof",
    example="fednode chain verify-proof tx.json --chain-id 3f2a...64 digits...\n"
    "fednode chain verify-proof header.json --checkpoint trusted.json --trusting-days 30 --format json\n"
    "fednode chain verify-proof trusted.json --genesis genesis.toml",
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--chain-id", metavar="HEX", help="The chain it must be of (default: that of this home's genesis).")
@click.option("--genesis", type=click.Path(path_type=Path), metavar="FILE", help="A genesis file to trust.")
@click.option("--checkpoint", type=click.Path(path_type=Path), metavar="FILE", help="A checkpoint to trust.")
@click.option("--trusting-days", type=click.IntRange(1, 36_500), metavar="N",
              help="Trust genesis or checkpoint for so long after its time, then refuse to go on from it.")
@format_option
@pass_site
def verify_proof_command(
    site: Site, file: Path, chain_id: str | None, genesis: Path | None, checkpoint: Path | None,
    trusting_days: int | None, as_json: bool,
) -> None:
    """Check a proof or a checkpoint, with no node.

    Check a proof, a checkpoint or a consistency proof, with no node, against a chain id or a checkpoint.
    """
    known = None if checkpoint is None else read_checkpoint(checkpoint)
    wanted = None if known is not None and chain_id is None else own_chain_id(site, chain_id)
    founded = None if genesis is None else read_genesis(genesis)
    if founded is not None:
        if chain_id is not None and wanted != founded.chain_id:
            raise UsageError(f"{genesis} is the genesis of chain {founded.chain_id.hex()}, not of the one you named")
        wanted = founded.chain_id
    found = parse_claim(read_json(file), str(file))
    keys = _own_keys(site, found)
    try:
        shown = _checked(found, wanted, known, trusting_days)
        if shown["kind"] == "checkpoint":
            shown |= _signed_by(cast("Checkpoint", found), keys, None if founded is None else founded.member_set.keys)
    except Rejected as error:
        raise VerificationFailed(f"{file} does not hold: {error.reason}") from None
    shown = {"ok": True, "file": str(file), **shown}
    if as_json:
        print_json(shown)
    else:
        print_value(shown)


def _checked(
    found: Proof | Checkpoint | Consistency, wanted: bytes | None, known: Checkpoint | None, trusting_days: int | None
) -> dict[str, Any]:
    """Return what a file proves; raise `Rejected` if it does not."""
    from fednode.audit.proofs import Trust, verify_proof
    from fednode.chain.checkpoint import Checkpoint, Consistency, check_consistency
    from fednode.chain.light import LightRules

    if wanted is not None and found.chain_id != wanted:
        raise Rejected(f"it is of chain {found.chain_id.hex()}, not of chain {wanted.hex()}")
    if trusting_days is not None and isinstance(found, Checkpoint | Consistency):
        raise UsageError("--trusting-days is for proofs that go on from a block; this file is none, leave it out")
    if isinstance(found, Checkpoint):
        if known is not None and known.height != found.height:
            text = f"checkpoints of blocks {known.height} and {found.height} say nothing of each other"
            raise UsageError(f"{text}; 'fednode chain proof consistency' makes the file that joins them")
        if known is not None and known.content() != found.content():
            raise Rejected("the two checkpoints of one height differ: two histories of one chain exist")
        return {"kind": "checkpoint", **describe_checkpoint(found)}
    if isinstance(found, Consistency):
        if known is None:
            raise UsageError("a consistency proof is checked against a checkpoint of one of its ends; add --checkpoint")
        is_new = known.log_size == found.new_size
        check_consistency(found, None if is_new else known, known if is_new else None)
        return {"kind": "consistency", "chain_id": found.chain_id.hex(), "old_size": found.old_size,
                "old_root": found.old_root.hex(), "new_size": found.new_size, "new_root": found.new_root.hex(),
                "anchors": ["checkpoint"]}
    if wanted is None and known is None:
        raise UsageError("there is nothing to check the proof against; give --chain-id, --genesis or --checkpoint")
    rules = LightRules(VERSIONS, None if trusting_days is None else trusting_days * DAY_MS)
    return describe(verify_proof(found, Trust(wanted, known), now_ms(), rules))


def _signed_by(
    found: Checkpoint, own: Mapping[MemberId, bytes] | None, founders: Mapping[MemberId, bytes] | None
) -> dict[str, Any]:
    """Return who signed a checkpoint; the founders' keys are known to be the members' only at the first block."""
    from fednode.chain.checkpoint import check_signatures

    signers = [int(member) for member in check_signatures(found, founders if own is None else own)]
    return {"signers": signers, "are_keys_known": own is not None or (founders is not None and found.height == 1)}


def _own_keys(site: Site, found: Proof | Checkpoint | Consistency) -> Mapping[MemberId, bytes] | None:
    """Return the keys of the members at a checkpoint's height as this home's chain has them, if it has one."""
    from fednode.chain.checkpoint import Checkpoint

    if not isinstance(found, Checkpoint):
        return None
    try:
        with open_source(site) as source:
            if source.genesis.chain_id != found.chain_id:
                return None
            return source.members_at(found.height if found.height <= source.last else source.last + 1).keys
    except FednodeError:
        return None  # an auditor has no node


def describe(proven: Proven) -> dict[str, Any]:
    """Return what a proof has shown, for people and programs."""
    from fednode.desk.audit import key_words
    from fednode.desk.views import report_view, transaction_view, utc_text
    from fednode.ledger.record_table import RECORD_TABLE
    from fednode.ledger.studies.records import RoundReport

    header, found = proven.proof.header, proven.proof
    shown: dict[str, Any] = {
        "kind": found.kind, "chain_id": found.chain_id.hex(), "height": int(header.height),
        "block_hash": proven.block_hash.hex(), "time": utc_text(header.time_ms), "anchors": list(proven.anchors),
        "signers": [int(member) for member in proven.signers],
    }
    if found.log is not None:
        shown |= {"log_size": found.log.size, "log_root": found.log.root.hex()}
    if proven.transaction is not None and proven.receipt is not None:
        shown["transaction"] = to_json(transaction_view(proven.transaction, int(header.height), proven.receipt))
    if found.state is not None:
        key, record = found.state.key, proven.record
        readable: object = None
        if record is not None:
            try:
                found_record = RECORD_TABLE.decode(key, record)
                shown_record = report_view(found_record) if isinstance(found_record, RoundReport) else found_record
                readable = to_json(shown_record)
            except Rejected:
                readable = record.hex()  # of a kind that a later version knows
        shown |= {"key": key_words(key), "is_there": record is not None, "record": readable}
    return shown


# --- checkpoint ------------------------------------------------------------------------------------------------

@command(
    "checkpoint",
    example="fednode chain checkpoint --sign -o today.json\n"
    "fednode chain checkpoint --sign --add today.json -o signed-by-two.json --format json",
)
@click.option("--at", "height", type=click.IntRange(1), metavar="H", help="Block to take (default: the latest).")
@click.option("--sign", is_flag=True, help="Sign it with this hospital's key; the daemon does it.")
@click.option("--add", type=click.Path(path_type=Path), metavar="FILE",
              help="Take the block of this checkpoint, and its signatures over.")
@output_option
@format_option
@pass_site
def checkpoint(
    site: Site, height: int | None, sign: bool, add: Path | None, output: Path | None, as_json: bool
) -> None:
    """Put on record where the chain is.

    It records height, block hash, and the root of the log over all block hashes.
    """
    from fednode.chain.checkpoint import add_signatures, check_signatures
    from fednode.desk.proof_questions import CHAIN_CHECKPOINT, CHAIN_SIGN_CHECKPOINT

    other = None if add is None else read_checkpoint(add)
    at = height if other is None else int(other.height)
    question = CHAIN_SIGN_CHECKPOINT if sign else CHAIN_CHECKPOINT
    made, source = _make(site, question, {"height": at}, lambda prover, store: prover.checkpoint(at))
    try:
        if other is not None:
            if other.content() != made.content():
                raise Rejected("it names another block or log than this chain has: two histories of one chain exist")
            made = add_signatures(other, made.signatures)
        check_signatures(made)
    except Rejected as error:
        raise VerificationFailed(f"the checkpoint does not hold: {error.reason}") from None
    signers = [int(signature.member) for signature in made.signatures]
    _put(made, {**describe_checkpoint(made), "signers": signers, "source": source}, output, as_json)


def describe_checkpoint(found: Checkpoint) -> dict[str, Any]:
    """Return a checkpoint without its signatures."""
    from fednode.desk.views import utc_text

    return {"chain_id": found.chain_id.hex(), "height": int(found.height), "block_hash": found.block_hash.hex(),
            "time": utc_text(found.time_ms), "log_size": found.log_size, "log_root": found.log_root.hex()}


COMMANDS = (proof, verify_proof_command, checkpoint)
