"""Other constants in what dealers prove: each weakens or breaks a proof that would still pass with itself."""

from __future__ import annotations

from tests.smpc.mutants import Mutant

CONSTANTS = "tests/sums/test_constants.py::"
LITERALS = CONSTANTS + "test_every_constant_is_what_the_documents_say"
BOUND = CONSTANTS + "test_the_bound_is_the_documented_one"
STRENGTH = CONSTANTS + "test_how_hard_a_sum_of_so_many_is_bound"
TOO_LONG = CONSTANTS + "test_a_vector_ten_percent_too_long_has_no_proof_and_one_a_percent_shorter_has"

CONSTANT_MUTANTS = [
    Mutant(
        "the norm bound is 1.6 instead of 1.44",
        "sums/norm.py",
        "gain = 36 * OUTPUTS",
        "gain = 40 * OUTPUTS",
        BOUND,
    ),
    Mutant(
        "a vector 10 % longer than the bound is proven",
        "sums/norm.py",
        "kappa2 = -(-gain * scale**2 // (25 * max_weight**2))",
        "kappa2 = -(-gain * scale**2 // (20 * max_weight**2))",
        TOO_LONG,
    ),
    Mutant(
        "rounding adds twice as much to the bound",
        "sums/norm.py",
        "-(-gain * length // 100)",
        "-(-gain * length // 50)",
        BOUND,
    ),
    Mutant(
        "the bound is rounded down",
        "sums/norm.py",
        "kappa2 = -(-gain * scale**2 // (25 * max_weight**2))",
        "kappa2 = gain * scale**2 // (25 * max_weight**2)",
        BOUND,
    ),
    Mutant(
        "the bound does not know how many folds there are",
        "sums/norm.py",
        "OUTPUTS * strength.rows",
        "OUTPUTS * 12",
        BOUND,
    ),
    Mutant(
        "the slack has a bit more", "sums/norm.py", "SLACK_BITS: Final = 62", "SLACK_BITS: Final = 63", LITERALS
    ),
    Mutant(
        "a call of the gadget has fewer products",
        "sums/norm.py",
        "PAIRS: Final = 32",
        "PAIRS: Final = 16",
        LITERALS,
    ),
    Mutant(
        "updates may be twice as long", "sums/bounds.py", "SCALE: Final = 1 << 23", "SCALE: Final = 1 << 24", LITERALS
    ),
    Mutant(
        "a sketch has half the numbers", "sums/bounds.py", "OUTPUTS: Final = 256", "OUTPUTS: Final = 128", LITERALS
    ),
    Mutant(
        "weights may be twice as large",
        "sums/bounds.py",
        "MAX_WEIGHT_BOUND: Final = (1 << 16) - 1",
        "MAX_WEIGHT_BOUND: Final = (1 << 17) - 1",
        LITERALS,
    ),
    Mutant(
        "few members prove once",
        "sums/bounds.py",
        "FEW: Final = Strength(4, 28, 2)",
        "FEW: Final = Strength(4, 28, 1)",
        STRENGTH + "[3-4-28-2]",
    ),
    Mutant(
        "few members fold once",
        "sums/bounds.py",
        "FEW: Final = Strength(4, 28, 2)",
        "FEW: Final = Strength(1, 28, 2)",
        STRENGTH + "[3-4-28-2]",
    ),
    Mutant(
        "forty members count as few",
        "sums/bounds.py",
        "((31, FEW), (127,",
        "((40, FEW), (127,",
        STRENGTH + "[32-8-29-3]",
    ),
    Mutant(
        "many members prove as often as some",
        "sums/bounds.py",
        "(256, Strength(12, 29, 5))",
        "(256, Strength(12, 29, 3))",
        STRENGTH + "[128-12-29-5]",
    ),
    Mutant(
        "some members fold as often as few",
        "sums/bounds.py",
        "(127, Strength(8, 29, 3))",
        "(127, Strength(4, 29, 3))",
        STRENGTH + "[32-8-29-3]",
    ),
    Mutant(
        "a row's loss has no bound to speak of",
        "sums/bounds.py",
        "MAX_ROW_LOSS: Final = 8",
        "MAX_ROW_LOSS: Final = 800",
        LITERALS,
    ),
    Mutant(
        "shares of rows are counted in fewer bits",
        "sums/bounds.py",
        "SHARE_BITS: Final = 16",
        "SHARE_BITS: Final = 15",
        LITERALS,
    ),
    Mutant(
        "a part of a claim may have more bits than a word takes",
        "sums/measures.py",
        "MAX_BITS: Final = 23",
        "MAX_BITS: Final = 24",
        LITERALS,
    ),
    Mutant(
        "sums of claims have room for fewer members",
        "sums/measures.py",
        "MEMBER_BITS: Final = 8",
        "MEMBER_BITS: Final = 7",
        LITERALS,
    ),
    Mutant(
        "the root of unity has half its order",
        "sums/field.py",
        "GENERATOR: Final = pow(7, 2**32 - 1, MODULUS)",
        "GENERATOR: Final = pow(7, 2**33 - 2, MODULUS)",
        LITERALS,
    ),
    Mutant(
        "a coin's chain may be longer",
        "sums/coin.py",
        "MAX_LINKS: Final = 1 << 16",
        "MAX_LINKS: Final = 1 << 17",
        LITERALS,
    ),
    Mutant(
        "keys of boxes and streams have half the bytes",
        "keystream.py",
        "\nKEY_BYTES = 16",
        "\nKEY_BYTES = 8",
        "tests/property/test_smpc_twins.py::test_any_part_of_a_stream_can_be_expanded_alone[3]",
    ),
]
