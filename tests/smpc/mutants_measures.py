"""Broken variants of what members claim beside their vectors: the statement, the sums, and what training ends by."""

from __future__ import annotations

from tests.smpc.mutants import Mutant

CLAIMS = "tests/proofs/test_measures.py::"
LEARN = "tests/learn/test_measures.py::"
LIARS = "tests/smpc/test_bound_liars.py::"
BOUND = "tests/smpc/test_bound.py::"
RULES = "tests/smpc/test_bound_rules.py::"
OPENED = "tests/ledger/test_rules_proofs.py::"
STUDY = "tests/ledger/test_rules_study.py::"
TARGET = STUDY + "test_training_ends_at_a_target_that_holds_whatever_f_members_claim"
WISHES = STUDY + "test_training_ends_when_a_quorum_wishes_it_and_a_wish_stands_until_the_next_word"
WISH = "tests/rounds/test_wish.py::"
ONE = CLAIMS + "test_one_column_that_lies_is_refused"

MEASURE_MUTANTS = [
    Mutant("parts need not add up to a voice", "proofs/measures.py",
           "field.subtract(field.total(parts), field.scale(block[:, 0], split.unit))",
           "field.subtract(field.total(parts), field.total(parts))",
           CLAIMS + "test_two_lies_do_not_cancel"),
    Mutant("the voice of a claim counts nothing", "proofs/norm.py",
           "return weights[:splits], weights[splits:]", "return weights[:splits] * np.uint64(0), weights[splits:]",
           ONE + "[0-parts1-0]"),
    Mutant("a second moment is not held against the mean", "proofs/norm.py",
           "return weights[:splits], weights[splits:]", "return weights[:splits], weights[splits:] * np.uint64(0)",
           ONE + "[1-parts3-0]"),
    Mutant("the square of a mean is left out", "proofs/norm.py",
           "squares = field.multiply(_plan_weights(statement, challenge)[1], means)", "squares = np.zeros_like(means)",
           CLAIMS + "test_what_rows_can_give_is_always_accepted_and_decodes_to_itself"),
    Mutant("the slack of a column is free", "proofs/measures.py",
           "moments.append(field.subtract(slack, field.scale(parts[:, 0], split.unit)))",
           "moments.append(field.subtract(field.scale(parts[:, 0], 0), field.scale(parts[:, 0], split.unit)))",
           CLAIMS + "test_what_rows_can_give_is_always_accepted_and_decodes_to_itself"),
    Mutant("all equations of a plan weigh alike", "proofs/norm.py",
           "field.powers(challenge, splits + moments, pow(", "field.powers(1, splits + moments, pow(",
           CLAIMS + "test_two_lies_do_not_cancel"),
    Mutant("the plan pays for the norm", "proofs/norm.py",
           "pow(challenge, statement.length + 1, MODULUS)", "1",
           CLAIMS + "test_the_plan_and_the_norm_do_not_pay_for_each_other"),
    Mutant("bits of claims are any numbers", "proofs/norm.py",
           "weights = field.powers(challenge, bits.size, challenge)",
           "weights = field.powers(challenge, bits.size, challenge)\n"
           "        weights[statement.norm_length :] = 0",
           LIARS + "test_a_false_statement_names_its_dealer_and_the_next_attempt_goes_on_without"
           "[a claim's bit is two and the next none-RealLedger]"),
    Mutant("impossible moments are shared", "proofs/measures.py",
           "if _slack_of(split, parts) < 0:", "if False:",
           CLAIMS + "test_impossible_claims_are_named_before_they_are_shared"),
    Mutant("two voices of one member are shared", "proofs/measures.py",
           "if sum(parts) not in (0, split.unit):", "if sum(parts) % split.unit:",
           CLAIMS + "test_impossible_claims_are_named_before_they_are_shared"),
    Mutant("a sum has room for half the members", "proofs/measures.py",
           "MEMBER_BITS: Final = 8", "MEMBER_BITS: Final = 7",
           CLAIMS + "test_the_largest_sums_of_every_width_are_exact"),
    Mutant("a word holds more than the field", "proofs/measures.py",
           "_WORD_BITS: Final = 63", "_WORD_BITS: Final = 66",
           CLAIMS + "test_the_largest_sums_of_every_width_are_exact"),
    Mutant("more voices than members count", "proofs/measures.py",
           "if rest or voices > members:", "if rest:",
           CLAIMS + "test_more_voices_than_members_and_bits_beside_the_parts_are_refused"),
    Mutant("parts of a voice count", "proofs/measures.py",
           "if rest or voices > members:", "if voices > members:",
           CLAIMS + "test_more_voices_than_members_and_bits_beside_the_parts_are_refused"),
    Mutant("bits beside the parts are not looked at", "proofs/measures.py",
           "if any(left):", "if False:",
           CLAIMS + "test_more_voices_than_members_and_bits_beside_the_parts_are_refused"),
    Mutant("a session takes any claims", "smpc/session.py",
           "if find_impossible(self._params.plan, event.claims) is not None:", "if False:",
           RULES + "test_claims_that_no_rows_give_never_enter_a_sum"),
    Mutant("the worker is believed its claims", "rounds/jobs.py",
           "    if impossible is not None:", "    if False:",
           "tests/rounds/test_conclude.py::test_a_worker_is_not_believed_what_no_rows_give"),
    Mutant("measures are not opened with the sketch", "smpc/disputes.py",
           ".opened_length])", ".entries + 1])", BOUND + "test_everyone_present[hidden-RealLedger]"),
    Mutant("an opening of any length is taken", "ledger/verdicts.py",
           "return field.from_bytes(data, OUTPUTS + 1 + words) is not None",
           "return field.from_bytes(data, len(data) // 8) is not None",
           OPENED + "test_openings_have_their_form"),
    Mutant("claims of a recorded vector are forgotten", "smpc/record.py",
           "return Input(found[:length], record.weight, found[length:])",
           "return Input(found[:length], record.weight, found[:0])",
           BOUND + "test_everybody_restarts_in_the_middle_of_a_phase"),
    Mutant("liars' voices are believed", "ledger/measured.py",
           "10_000 * (self.right - liars * SHARE_UNIT)", "10_000 * self.right", TARGET),
    Mutant("a target counts liars among the honest", "ledger/measured.py",
           "left = self.voices - liars", "left = self.voices", TARGET),
    Mutant("nobody may lie about a target", "ledger/round_life.py",
           "metrics.holds_without(record.fault_bound, target)", "metrics.holds_without(0, target)", TARGET),
    Mutant("f + 1 wishes end the training", "ledger/round_life.py",
           "if len(wishes) >= record.threshold:", "if len(wishes) > record.fault_bound:", WISHES),
    Mutant("a wish cannot be taken back", "ledger/round_life.py",
           "            wishes.discard(member)\n", "", WISHES),
    Mutant("members with other wishes disagree on the result", "ledger/round_rules.py",
           "encode(replace(result, wants_stop=False))", "encode(result)",
           STUDY + "test_wishes_do_not_divide_the_votes_on_a_result"),
    Mutant("a round tried again is one without progress", "rounds/wish.py",
           "if model == self._model:", "if False:",
           WISH + "test_a_round_that_is_tried_again_is_no_round_without_progress"),
    Mutant("rounding takes a variance below what rows have", "learn/measures.py",
           "min(mean, max(least, round(", "min(mean, max(0, round(",
           LEARN + "test_any_rows_give_possible_claims_and_the_mean_over_hospitals"),
]
