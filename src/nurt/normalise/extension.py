"""Cut an extension off a phone: the desk behind a switchboard's number, as the languages of Europe write it."""

from __future__ import annotations

import re

_WORDS = (
    *("wewnętrzny", "wewnetrzny", "wewn", "wew", "nr wewn", "nr wew", "w"),  # Polish
    *("extension", "extn", "ext", "xtn", "x"),  # English
    *("durchwahl", "nebenstelle", "klappe", "dw", "nst", "app", "apparat", "kl"),  # German
    *("klapka", "linka"),  # Czech, Slovak
    *("mellék", "mellek", "belső", "belso", "m"),  # Hungarian
    *("interior", "interno", "interne", "intern", "int"),  # Romanian, Italian, French, Dutch, Scandinavian
    *("poste",),  # French
    *("extensión", "anexo", "ramal", "extensão", "extensao"),  # Spanish, Portuguese
    *("doorkiesnummer", "toestel", "tst"),  # Dutch
    *("внутрішній", "внутренний", "внутр", "вн", "додатковий", "дод", "добавочный", "доб", "вътрешен", "вътр"),
    *("vidinis", "vid", "iekšējais", "iekš", "sisenumber", "sise"),  # Lithuanian, Latvian, Estonian
    *("kućni", "kucni", "lokal", "lok"),  # Croatian, Slovene, Danish
    *("anknytning", "ankn", "alanumero", "alanro"),  # Swedish, Finnish
    *("εσωτερικό", "εσωτ", "εσ", "dahili"),  # Greek, Turkish
)
_LETTERS = "|".join(sorted(map(re.escape, {word.casefold() for word in _WORDS}), key=len, reverse=True))
_EXTENSION = re.compile(
    r"(?P<number>.*\d)"
    rf"[\s)\].,;:/\-–—(]*(?:(?:{_LETTERS})\b[\s.:)\-#]*(?:nr|no|č|n[°º])?[\s.:#]*|(?:{_LETTERS})(?=\d)|#\s*|;ext=)"
    r"(?P<extension>\d{1,7})[\s)\].#]*",
    re.DOTALL,
)


def without_extension(text: str) -> tuple[str, str]:
    """Cut a text into a number and its extension's digits; empty: there is none.

    A word that is not one of an extension stays in the number, so that nothing is taken for an extension by chance.
    """
    found = _EXTENSION.fullmatch(text.casefold())
    return (text, "") if found is None else (found["number"], found["extension"])
