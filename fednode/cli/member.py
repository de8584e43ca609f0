"""`fednode member`: the hospitals of the federation, and the votes on who belongs to it."""

from __future__ import annotations

from pathlib import Path

import click

from fednode.cli.ask import ask_for
from fednode.cli.card import check_addresses
from fednode.cli.daemon import print_members
from fednode.cli.names import complete_members
from fednode.cli.show import cell, print_json, print_pairs, print_table, word
from fednode.cli.site import Site, confirm, format_option, group, pass_site, passphrase_option, site_options, yes_option
from fednode.cli.stored import ask_or_read
from fednode.desk import questions
from fednode.desk.outcomes import Final
from fednode.desk.read_models import OutlookView
from fednode.dialling import as_multiaddr


@group("member")
def member() -> None:
    """The hospitals, and votes on who belongs.

    The hospitals of the federation, and the votes on who belongs to it.
    """


@member.command("list", example="fednode member list")
@format_option
@site_options
@pass_site
def list_members(site: Site, as_json: bool) -> None:
    """Show who is a member and who can be reached.

    Who can be reached from here is known while the daemon runs.
    """
    found = ask_or_read(site, questions.MEMBER_LIST, lambda node: node.member_list())
    if as_json:
        print_json(found)
    else:
        print_members(found)


@member.command("request", example="fednode member request\nfednode member request --output emma-card.toml")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Where to write the card.")
@passphrase_option
@format_option
@site_options
@pass_site
def request(site: Site, output: Path | None, passphrase_file: Path | None, as_json: bool) -> None:
    """Write the card with which a hospital joins.

    Write the card with which this hospital asks to join a running federation.

    Send it to any member, who hands it in with 'fednode member invite'. Then get the federation's genesis file and run
    'fednode start --join': the daemon follows the chain, reports what it computed, and becomes a member once enough
    others approve.
    """
    from fednode.cli.card import write_card
    from fednode.cli.keys import print_fingerprint
    from fednode.cli.passphrase import unlock

    values = site.load().values
    unlocked = unlock(site, passphrase_file)
    path = output or values.home.card
    write_card(path, values, unlocked)
    if as_json:
        print_json({"card": str(path), "fingerprint": unlocked.public.fingerprint, "sign": unlocked.public.sign.hex()})
        return
    click.echo(f"identity card: {path}")
    print_fingerprint(unlocked.public)
    click.echo("send the card to a member, read the fingerprint to the others, then run 'fednode start --join'")


@member.command("invite", example="fednode member invite emma-card.toml")
@click.argument("card", type=click.Path(path_type=Path, dir_okay=False))
@yes_option
@format_option
@site_options
@pass_site
def invite(site: Site, card: Path, yes: bool, as_json: bool) -> None:
    """Propose a hospital as a new member.

    Propose the hospital of an identity card as a new member.

    It may follow the chain from then on; it votes and trains only after q members have approved.
    """
    from fednode.errors import GenesisError
    from fednode.home.files import read_bounded
    from fednode.home.keystore import PublicKeys
    from fednode.ledger.members.identity import parse_card

    text = read_bounded(card, 16_384, "identity card", GenesisError).decode(errors="replace")
    found = parse_card(text)
    public = PublicKeys(found.sign_key, found.network_key)
    if not yes:
        print_pairs([("name", found.name), ("fingerprint", public.fingerprint)])
    confirm("Have you compared the fingerprint with that hospital?", yes)
    _tell(ask_for(site, questions.MEMBER_INVITE, card=text), as_json)


@member.command("proposals", example="fednode member proposals")
@format_option
@site_options
@pass_site
def proposals(site: Site, as_json: bool) -> None:
    """Show the open votes on members.

    Show the open votes: who would join or leave, who approves, and whether the candidate follows the chain.
    """
    found = ask_or_read(site, questions.MEMBER_PROPOSALS, lambda node: node.member_proposals())
    if as_json:
        print_json(found)
        return
    if not found:
        click.echo("no open proposals")
        return
    rows = []
    for open_ in found:
        observing = "-" if open_.name is None else "yes" if open_.is_observing else "NOT YET"
        if open_.approved_height is not None:
            observing = f"approved at block {open_.approved_height}, HAS NOT COME YET"
        rows.append((
            str(open_.proposal), open_.change, f"{open_.member} {open_.name or ''}".strip(), observing,
            f"{len(open_.approvals)} of {open_.needed}", open_.fingerprint or open_.reason or "-",
        ))
    print_table(["proposal", "change", "member", "follows", "votes", "fingerprint or reason"], rows)


@member.command("approve", example="fednode member approve 3\nfednode member approve 'St. Emma' --yes")
@click.argument("proposal")
@yes_option
@format_option
@site_options
@pass_site
def approve(site: Site, proposal: str, yes: bool, as_json: bool) -> None:
    """Vote for an open proposal.

    Vote for an open proposal, given by its number or the candidate's name. Compare the fingerprint before.

    Tells who signs now, and how many members there will be and must sign. Asks if those are too few. With q votes the
    candidate's daemon may come in, by itself, within 100 blocks and one day; else the votes are void.
    """
    is_sure = _foretell(ask_for(site, questions.MEMBER_OUTLOOK, proposal=proposal), yes, as_json)
    _tell(ask_for(site, questions.MEMBER_APPROVE, proposal=proposal, yes=is_sure), as_json)


@member.command("revoke", example="fednode member revoke 4 --reason 'closed for good' --yes")
@click.argument("who", metavar="MEMBER", shell_complete=complete_members)
@click.option("--reason", default="", metavar="TEXT", help="What the others read before they vote.")
@yes_option
@format_option
@site_options
@pass_site
def revoke(site: Site, who: str, reason: str, yes: bool, as_json: bool) -> None:
    """Vote to remove a member.

    Vote for removing a member; the first such vote opens the proposal.

    With q votes the member is refused by ledger and transport from the next height on. Never below four members. Tells
    before who signs now, and how many must sign afterwards.
    """
    is_sure = _foretell(ask_for(site, questions.MEMBER_OUTLOOK, member=who), yes, as_json)
    confirm(f"Vote for removing member {who}?", yes)
    _tell(ask_for(site, questions.MEMBER_REVOKE, member=who, reason=reason, yes=is_sure), as_json)


def _foretell(outlook: OutlookView, yes: bool, as_json: bool) -> bool:
    """Say what the vote would lead to; return whether it is to be cast although too few would sign."""
    if not as_json or not outlook.is_enough:
        click.echo(outlook.says, err=True)
    if outlook.is_enough:
        return yes
    confirm("Vote for it although it stops the chain?", yes)
    return True


@member.command("address", example="fednode member address /dns4/anna.example/tcp/7700")
@click.argument("addresses", nargs=-1, required=True)
@format_option
@site_options
@pass_site
def address(site: Site, addresses: tuple[str, ...], as_json: bool) -> None:
    """Announce where this hospital is reached.

    Announce on the ledger where the others reach this hospital from now on.
    """
    addresses = tuple(map(as_multiaddr, addresses))
    check_addresses(addresses, "give the address the others reach this daemon by")
    _tell(ask_for(site, questions.MEMBER_ADDRESS, addresses=" ".join(addresses)), as_json)


def _tell(done: Final, as_json: bool) -> None:
    if as_json:
        print_json(done)
    else:
        print_pairs((word(key), cell(key, value)) for key, value in vars(done).items())
