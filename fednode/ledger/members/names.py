"""Names of hospitals: which are allowed, and which look like another's. Pure, the same for every member.

Security assumption: people choose by name. Names that a person cannot tell apart never stand beside each other, and no
name holds what does not show.

All members must come to the same verdict, whatever their Python: everything here is read from Unicode 3.2, which every
Python carries unchanged; characters that came later are in no name. After UTS 39 (Unicode Security Mechanisms), cut to
what hospitals need: letters of one script in a word, and `skeletons` for what looks alike. Stricter than UTS 39: case,
spaces, punctuation and marks on letters do not tell two names apart.
"""

from __future__ import annotations

from typing import Final

from fednode.texts import UNICODE, does_show

_SCRIPTS = (
    "LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "HEBREW", "ARABIC", "DEVANAGARI", "BENGALI", "GURMUKHI", "GUJARATI",
    "TAMIL", "TELUGU", "KANNADA", "MALAYALAM", "SINHALA", "THAI", "LAO", "TIBETAN", "GEORGIAN", "ETHIOPIC", "KHMER",
    "HANGUL", "HIRAGANA", "KATAKANA", "CJK", "BOPOMOFO",
)
"""Scripts in which a name may be written: first words of their characters' names."""

_TOGETHER = (
    frozenset({"CJK", "HIRAGANA", "KATAKANA"}), frozenset({"CJK", "HANGUL"}), frozenset({"CJK", "BOPOMOFO"}),
)
"""Scripts that one word may mix, as UTS 39 does (highly restrictive); Latin words may stand beside any."""

_MARKS = range(0x300, 0x370)
"""Marks on letters of alphabets; those of other scripts are vowels, and stay."""

_LATIN_TWINS: Final = str.maketrans({
    # Cyrillic, Greek and Armenian: small letters, and what capitals become
    "а": "a", "в": "b", "е": "e", "к": "k", "м": "m", "н": "h", "о": "o", "р": "p", "с": "c", "т": "t", "у": "y",
    "х": "x", "ѕ": "s", "і": "l", "ј": "j", "һ": "h", "ԁ": "d", "ь": "b", "г": "r", "п": "n",
    "ү": "y", "ғ": "f", "з": "e", "ѵ": "v", "ԍ": "g", "є": "e", "ю": "lo", "ы": "bl",
    "α": "a", "β": "b", "γ": "y", "ε": "e", "ζ": "z", "η": "n", "ι": "l", "κ": "k", "μ": "m", "ν": "v", "ο": "o",
    "ρ": "p", "σ": "o", "ς": "c", "τ": "t", "υ": "u", "χ": "x", "ω": "w",
    "օ": "o", "ո": "n", "ս": "u", "հ": "h", "ք": "p", "ց": "g", "լ": "l", "զ": "q", "յ": "j", "ա": "w",
    # Latin and digits among themselves
    "0": "o", "1": "l", "i": "l", "ı": "l", "|": "l", "ø": "o", "đ": "d", "ħ": "h", "ł": "l", "ŧ": "t", "ß": "ss",
    "æ": "ae", "œ": "oe", "ð": "d", "þ": "p", "ɑ": "a", "ɡ": "g", "ɩ": "l", "ʋ": "v", "ƅ": "b", "ƽ": "s", "ǀ": "l",
})

_CAPITAL_TWINS: Final = str.maketrans(
    "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧ" "АВЕКМНОРСТУХЅІЈ", "abezhlkmnoptyx" "abekmhopctyxslj"
)
"""Greek and Cyrillic capitals that look like Latin ones, where their small letters look like others or like none."""

_PAIRS: Final = (("rn", "m"), ("vv", "w"), ("cl", "d"))
"""Two letters that look like one in many typefaces."""


def name_fault(name: str) -> str | None:
    """Return what is wrong with a hospital's name by itself, None if nothing is. Total over texts."""
    if not _skeleton(name) or name != name.strip():
        return "it must hold letters or digits, and no space at its ends"
    if any(not does_show(sign) for sign in name):
        return "it holds a character that does not show, or that Unicode 3.2 does not know"
    for word in name.replace("-", " ").replace("'", " ").split():
        scripts = {script for sign in word if (script := _script(sign)) is not None}
        if "" in scripts or (len(scripts) > 1 and not any(scripts <= together for together in _TOGETHER)):
            return "letters of different scripts stand in one word"
    return None


def skeletons(name: str) -> frozenset[str]:
    """Return what a person sees of a name, as it is and in other case: names that share one are not told apart."""
    return frozenset(_skeleton(form) for form in (name, name.upper(), name.lower()))


def _skeleton(name: str) -> str:
    name = name.translate(_CAPITAL_TWINS)
    flat = UNICODE.normalize("NFKD", UNICODE.normalize("NFKD", name).casefold())
    letters = "".join(sign for sign in flat if ord(sign) not in _MARKS and UNICODE.category(sign)[0] in "LMN")
    seen = letters.translate(_LATIN_TWINS)
    for pair, one in _PAIRS:
        seen = seen.replace(pair, one)
    return seen


def _script(sign: str) -> str | None:
    """Return a letter's script, "" for one that is none of those in names, None for signs of all scripts."""
    if UNICODE.category(sign)[0] != "L":
        return None
    first = UNICODE.name(sign, "").partition(" ")[0].partition("-")[0]
    first = "CJK" if first == "IDEOGRAPHIC" else first
    return first if first in _SCRIPTS else ""
