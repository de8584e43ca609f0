"""Broken rules of consensus and catch-up, each with the test that must notice it.

A variant replaces one piece of source. If its test passes on the broken source, the test proves nothing. Rules
that only a play of several members shows are in `tests/sim/mutants.py` as well.
"""

from __future__ import annotations

from tests.smpc.mutants import Mutant

REPLICA = "tests/ledger/consensus/test_replica.py::"
SCENARIO = "tests/ledger/consensus/test_scenarios.py::"
VOTES = "tests/ledger/consensus/test_votes.py::"
SIEVE = "tests/ledger/consensus/test_sieve.py::"
SIGNING = "tests/ledger/consensus/test_signing.py::"
MESSAGES = "tests/ledger/consensus/test_messages.py::"
SWEPT = "tests/ledger/consensus/test_swept.py::"
SYNC = "tests/ledger/test_sync.py::"

RULE_MUTANTS = [
    Mutant(
        "a later lock does not replace an earlier one",
        "ledger/consensus/view.py",
        "if action.lock is not None:\n                state.locked",
        "if action.lock is not None and state.locked_view == NO_VIEW:\n                state.locked",
        SCENARIO + "test_scenario[lock-is-replaced]",
    ),
    Mutant(
        "a later lock keeps the earlier value",
        "ledger/consensus/view.py",
        "state.locked_view, state.locked_value = action.lock.view, action.value",
        (
            "state.locked_view = action.lock.view\n"
            "                state.locked_value = state.locked_value if state.locked_value != NIL "
            "else action.value"
        ),
        SCENARIO + "test_scenario[lock-is-replaced]",
    ),
    Mutant(
        "f members move the others to a later view",
        "ledger/consensus/votes.py",
        "needed = self.members.fault_bound + 1\n        if len(self.latest)",
        "needed = self.members.fault_bound\n        if len(self.latest)",
        REPLICA + "test_alone_a_member_decides_within_one_event",
    ),
    Mutant(
        "q members are needed to move the others",
        "ledger/consensus/votes.py",
        "needed = self.members.fault_bound + 1\n        if len(self.latest)",
        "needed = self.members.quorum\n        if len(self.latest)",
        REPLICA + "test_leader_without_work_proposes_when_it_gets_some",
    ),
    Mutant(
        "a new block's time does not matter",
        "ledger/consensus/view.py",
        " and facts.is_timely(state.view) and",
        " and",
        REPLICA + "test_a_new_block_must_carry_a_time_near_the_clock[5100-False]",
    ),
    Mutant(
        "an invalid new block is prevoted",
        "ledger/consensus/view.py",
        "and facts.is_valid(value):\n        return Cast(PREVOTE, value)\n",
        "and True:\n        return Cast(PREVOTE, value)\n",
        SCENARIO + "test_scenario[framed-member]",
    ),
    Mutant(
        "q prevotes for nil are waited out",
        "ledger/consensus/view.py",
        "if state.step is Step.PREVOTE and facts.book.polka_value(state.view) == NIL:",
        "if False:",
        SCENARIO + "test_scenario[nil-ends-a-view]",
    ),
    Mutant(
        "q precommits for nil do not end a view",
        "ledger/consensus/view.py",
        "if state.step is not Step.IDLE and facts.book.has_nil_precommits(state.view):",
        "if False:",
        SCENARIO + "test_scenario[nil-ends-a-view]",
    ),
    Mutant(
        "an idle member is not woken by the votes of others",
        "ledger/consensus/view.py",
        "reached = -1 if state.step is Step.IDLE else state.view",
        "reached = state.view",
        REPLICA + "test_leader_without_work_proposes_when_it_gets_some",
    ),
    Mutant(
        "the propose timer is not heard",
        "ledger/consensus/view.py",
        "if timer is Timer.PROPOSE and state.step is Step.PROPOSE:",
        "if False:",
        SCENARIO + "test_scenario[forged-valid-view]",
    ),
    Mutant(
        "the prevote timer is not heard",
        "ledger/consensus/view.py",
        "if timer is Timer.PREVOTE and state.step is Step.PREVOTE:",
        "if False:",
        SCENARIO + "test_scenario[lock-is-replaced]",
    ),
    Mutant(
        "two values of one member are no evidence",
        "ledger/consensus/votes.py",
        "added = Added(True, make_evidence(earlier, vote))",
        "added = Added(True)",
        REPLICA + "test_double_votes_are_told_and_written_on_the_chain",
    ),
    Mutant(
        "two valid views for one value are no evidence",
        "ledger/consensus/votes.py",
        ("return Added(False, make_evidence(known, vote)) if known.contradicts(vote) else _KNOWN\n        earlier"),
        "return _KNOWN\n        earlier",
        VOTES + "test_another_echo_is_a_double_vote_too",
    ),
    Mutant(
        "any number of values of one member is kept",
        "ledger/consensus/votes.py",
        "if sum(vote.sender in others for others in self.by_value.values()) >= MAX_VALUES:",
        "if False:",
        VOTES + "test_a_third_value_is_noise_but_its_polka_counts",
    ),
    Mutant(
        "q precommits for nil count as a decision",
        "ledger/consensus/votes.py",
        "ballot.won is not None and ballot.won != NIL:",
        "ballot.won is not None:",
        VOTES + "test_nil_votes_make_no_polka_to_pass_on_but_end_a_view",
    ),
    Mutant(
        "the newest later vote gives way to an older one",
        "ledger/consensus/votes.py",
        "if known.view > vote.view:",
        "if known.view < vote.view:",
        VOTES + "test_of_far_views_only_each_members_newest_is_kept_and_counted_on_arrival",
    ),
    Mutant(
        "a second vote of a later view is no evidence",
        "ledger/consensus/votes.py",
        "return Added(False, make_evidence(same, vote)) if same.contradicts(vote) else _KNOWN",
        "return _KNOWN",
        VOTES + "test_a_double_vote_far_ahead_is_evidence_as_well",
    ),
    Mutant(
        "later votes are not counted when their view comes",
        "ledger/consensus/votes.py",
        "            for vote in self._later.pop(sender).values():\n                self.add(vote)",
        "            self._later.pop(sender)",
        VOTES + "test_of_far_views_only_each_members_newest_is_kept_and_counted_on_arrival",
    ),
    Mutant(
        "a member counts only where it is",
        "ledger/consensus/votes.py",
        "if latest >= place) >= self.members.quorum",
        "if latest == place) >= self.members.quorum",
        VOTES + "test_a_later_vote_counts_as_any_vote_of_every_earlier_place",
    ),
    Mutant(
        "old precommits for a block are forgotten",
        "ledger/consensus/votes.py",
        (
            "if place[1] == PREVOTE or (ballot.by_value.pop(NIL, None) is not None and not "
            "ballot.by_value):\n"
            "                del"
        ),
        "if True:\n                del",
        VOTES + "test_old_views_keep_only_precommits_for_blocks",
    ),
    Mutant(
        "whoever has voted later is not known to have",
        "ledger/consensus/votes.py",
        "if self.latest.get(vote.sender, (-1, 0)) < place:",
        "if vote.sender not in self.latest:",
        REPLICA + "test_a_height_that_was_begun_ends_with_an_empty_block_at_the_latest",
    ),
    Mutant(
        "a proposal out of turn is taken",
        "ledger/consensus/facts.py",
        "if vote.sender != self.tip.proposer(vote.view):",
        "if False:",
        REPLICA + "test_proposal_out_of_turn_is_reported",
    ),
    Mutant(
        "a new block built by another member is taken",
        "ledger/consensus/facts.py",
        "if vote.valid_view == NO_VIEW and header.proposer != vote.sender:",
        "if False:",
        REPLICA + "test_proposal_out_of_turn_is_reported",
    ),
    Mutant(
        "a clock that ran ahead stops the chain",
        "ledger/consensus/facts.py",
        "if time_ms == self.tip.time_ms + 1:",
        "if False:",
        REPLICA + "test_one_millisecond_after_the_parent_is_always_in_time",
    ),
    Mutant(
        "a block may come from the future",
        "ledger/consensus/facts.py",
        "<= time_ms <= now_ms + MAX_FUTURE_MS",
        "<= time_ms",
        REPLICA + "test_a_new_block_must_carry_a_time_near_the_clock[5100-False]",
    ),
    Mutant(
        "a block may be of any age",
        "ledger/consensus/facts.py",
        "return now_ms - MAX_PAST_MS - PAST_PER_VIEW_MS * view <= time_ms <=",
        "return time_ms <=",
        REPLICA + "test_a_new_block_must_carry_a_time_near_the_clock[-61000-False]",
    ),
    Mutant(
        "two proposals of one view are no evidence",
        "ledger/consensus/facts.py",
        "return make_evidence(earlier.vote, vote) if earlier.vote.contradicts(vote) else None",
        "return None",
        REPLICA + "test_two_proposals_of_one_view_are_evidence",
    ),
    Mutant(
        "a later proposal of a view takes the place of the first",
        "ledger/consensus/facts.py",
        ("return make_evidence(earlier.vote, vote) if earlier.vote.contradicts(vote) else None\n        self._pro"),
        "pass\n        self._pro",
        REPLICA + "test_two_proposals_of_one_view_are_evidence",
    ),
    Mutant(
        "a leader with a valid block builds another",
        "ledger/consensus/driver.py",
        "block = self._build() if valid is None else valid.block",
        "block = self._build()",
        REPLICA + "test_a_repeated_proposal_travels_with_its_polka",
    ),
    Mutant(
        "a block is proposed again without its prevotes",
        "ledger/consensus/driver.py",
        (
            "        if valid is not None:\n"
            "            self.effects.append(ask.Broadcast(valid.polka))\n"
            "        proposal"
        ),
        "        proposal",
        REPLICA + "test_a_repeated_proposal_travels_with_its_polka",
    ),
    Mutant(
        "one offender fills the room for evidence",
        "ledger/consensus/driver.py",
        "waiting < MAX_PENDING_PER_MEMBER and",
        "True and",
        REPLICA + "test_many_offences_of_one_member_keep_no_proof_against_another_out",
    ),
    Mutant(
        "evidence against the accused begins blocks of its own",
        "ledger/consensus/driver.py",
        "return any(piece.sender not in accused for piece in self.evidence.values())",
        "return bool(self.evidence)",
        REPLICA + "test_an_idle_chain_does_not_grow_by_what_one_member_signs_twice",
    ),
    Mutant(
        "a block may be as old as its parent",
        "ledger/consensus/driver.py",
        "time_ms = max(self.now_ms, tip.time_ms + 1)",
        "time_ms = self.now_ms",
        REPLICA + "test_more_work_begins_the_next_height_after_other_events_had_a_chance",
    ),
    Mutant(
        "a height that was begun never ends without work",
        "ledger/consensus/driver.py",
        "or self.state.view >= len(tip.members))",
        "or False)",
        REPLICA + "test_a_height_that_was_begun_ends_with_an_empty_block_at_the_latest",
    ),
    Mutant(
        "the lock is not taken up after a restart",
        "ledger/consensus/driver.py",
        ("        self.state.locked_view, self.state.locked_value = View(record.locked_view), record.locked_value\n"),
        "",
        SCENARIO + "test_scenario[amnesia]",
    ),
    Mutant(
        "the last vote is not taken up after a restart",
        "ledger/consensus/driver.py",
        "            self.own[vote.kind] = vote\n            self.facts.book.add(vote)",
        "            pass",
        REPLICA + "test_a_restart_goes_on_where_the_record_stands",
    ),
    Mutant(
        "found evidence is kept to oneself",
        "ledger/consensus/driver.py",
        "        if is_own:\n            self.effects.append(ask.Broadcast(piece))\n",
        "",
        REPLICA + "test_double_votes_are_told_and_written_on_the_chain",
    ),
    Mutant(
        "no early message is kept",
        "ledger/consensus/recovery.py",
        "        return [(message, peer) for _, message, peer in early.values()]",
        "        return []",
        REPLICA + "test_votes_for_a_later_height_are_kept_and_catch_up_is_told_once",
    ),
    Mutant(
        "late precommits are not in the certificate",
        "ledger/consensus/recovery.py",
        (
            "            self._late.setdefault(vote.sender, vote)\n"
            "            self.known.setdefault(vote.sender, vote.signature)\n"
            "        is_under_way"
        ),
        "            pass\n        is_under_way",
        REPLICA + "test_a_late_precommit_joins_the_certificate_silently",
    ),
    Mutant(
        "heavy answers are given without end",
        "ledger/consensus/recovery.py",
        "if last is not None and abs(now_ms - last) < ANSWER_GAP_MS:",
        "if False:",
        REPLICA + "test_who_still_votes_gets_the_decision_once_in_a_while",
    ),
    Mutant(
        "who lacks one block is only told where the chain ends",
        "ledger/consensus/recovery.py",
        "if height == self._tip.height and self._block is not None and certificate is not None:",
        "if False:",
        REPLICA + "test_who_still_votes_gets_the_decision_once_in_a_while",
    ),
    Mutant(
        "the same height is news again and again",
        "ledger/consensus/recovery.py",
        "if self._told.get(peer, 0) >= height:",
        "if False:",
        REPLICA + "test_votes_for_a_later_height_are_kept_and_catch_up_is_told_once",
    ),
    Mutant(
        "a missing block is asked of one holder only",
        "ledger/consensus/recovery.py",
        "return others[count // 2 % len(others)]",
        "return others[0]",
        REPLICA + "test_another_holder_is_asked_when_nothing_came",
    ),
    Mutant(
        "a summary is answered with what is there already",
        "ledger/consensus/recovery.py",
        "if not bits >> places[vote.sender] & 1]",
        "]",
        REPLICA + "test_a_summary_is_answered_with_what_the_peer_lacks",
    ),
    Mutant(
        "votes of the height after next are not looked at",
        "ledger/consensus/sieve.py",
        "is_of_use = lowest <= height <= lowest + 2 or",
        "is_of_use = lowest <= height <= lowest + 1 or",
        SIEVE + "test_votes_that_count_are_checked[2]",
    ),
    Mutant(
        "votes of any height are checked",
        "ledger/consensus/sieve.py",
        "is_of_use = lowest <= height <= lowest + 2 or",
        "is_of_use = True or",
        SIEVE + "test_votes_out_of_reach_cost_no_signature_check[-9]",
    ),
    Mutant(
        "own signatures out of reach are not looked at",
        "ledger/consensus/sieve.py",
        " or any(vote.sender == replica.member for vote in votes)",
        "",
        SIEVE + "test_a_signature_of_this_member_is_always_checked",
    ),
    Mutant(
        "a decision of a far height is checked",
        "ledger/consensus/sieve.py",
        ("return Worth.CHECK if height == lowest + 1 else Worth.OUT_OF_REACH\n        case BlockResponse"),
        "return Worth.CHECK\n        case BlockResponse",
        SIEVE + "test_decisions_of_the_past_say_nothing_and_of_the_future_only_where_their_sender_is",
    ),
    Mutant(
        "an old decision is checked again",
        "ledger/consensus/sieve.py",
        "            if height <= lowest:\n                return Worth.NOTHING\n",
        "",
        SIEVE + "test_decisions_of_the_past_say_nothing_and_of_the_future_only_where_their_sender_is",
    ),
    Mutant(
        "a block that nobody asked for is checked",
        "ledger/consensus/sieve.py",
        "return Worth.CHECK if replica.awaits(message.block.hash) else Worth.NOTHING",
        "return Worth.CHECK",
        SIEVE + "test_blocks_that_nobody_asked_for_are_not_looked_into",
    ),
    Mutant(
        "a proposal out of turn is checked",
        "ledger/consensus/sieve.py",
        ('    if vote.sender != replica.tip.proposer(vote.view):\n        raise Rejected("proposal out of turn")\n'),
        "",
        SIEVE + "test_proposals_out_of_turn_are_no_honest_members",
    ),
    Mutant(
        "a known proposal is checked again",
        "ledger/consensus/sieve.py",
        "return Worth.NOTHING if replica.has_proposal(vote) else Worth.CHECK",
        "return Worth.CHECK",
        SIEVE + "test_a_proposal_that_is_here_is_not_checked_again",
    ),
    Mutant(
        "a second vote at one place is signed",
        "ledger/consensus/signing.py",
        "if (height, view, kind) <= record.place:\n            return None\n        signature",
        "if (height, view, kind) < record.place:\n            return None\n        signature",
        SIGNING + "test_identical_bytes_return_the_stored_signature",
    ),
    Mutant(
        "a newer signature of ours stops nobody",
        "ledger/consensus/signing.py",
        "if place > record.place or (",
        "if (",
        REPLICA + "test_a_certificate_with_a_signature_we_do_not_remember_stops_us",
    ),
]
