"""Words beside a number: units, magnitudes, numerals, and words that leave the number as it is.

>>> unit_of("square centimeters"), unit_of("miles per hour"), unit_of("dozens")
('cm^2', 'mi/h', '')
>>> dimension_of("cm"), MAGNITUDES["lakh"]
('length', 100000)
"""

from __future__ import annotations

import functools
import re

from ..patterns import regex

_UNITS = {  # dimension: units, each with its spellings; plural forms and case are dealt with elsewhere
    "length": "mm millimeter millimetre, cm centimeter centimetre, dm decimeter, m meter metre, "
    "km kilometer kilometre, in inch inches, ft foot feet, yd yard, mi mile, nm nanometer, \u00b5m micrometer micron, "
    "ly lightyear, au",
    "mass": "mg milligram, g gram gramme, kg kilogram kilo, t tonne ton, lb lbs pound, oz ounce, u amu",
    "time": "s sec second, min minute, h hr hour, day, wk week, month, yr year, ms millisecond, decade, century",
    "money": "dollar usd buck, cent penny pence, euro eur, gbp sterling, rs rupee inr, yuan rmb cny, yen jpy, won, "
    "peso, franc",
    "volume": "ml milliliter millilitre, l liter litre, gal gallon, cup, tbsp tablespoon, tsp teaspoon, pint, quart",
    "angle": "degree deg, rad radian",
    "temperature": "\u00b0c celsius, \u00b0f fahrenheit, k kelvin",
    "speed": "mph, kph",
    "energy": "j joule, kj kilojoule, cal calorie, kcal, ev, kwh, n newton, w watt, kw kilowatt, v volt, a ampere amp, "
    "ohm, hz hertz, pa pascal, kpa, atm, mol mole",
    "": "unit",
}
_SPELLINGS = {
    spelling: group.split()[0]
    for groups in _UNITS.values()
    for group in groups.split(", ")
    for spelling in group.split()
}
_DIMENSIONS = {group.split()[0]: dimension for dimension, groups in _UNITS.items() for group in groups.split(", ")}
_SAME_UNIT = {"mph": "mi/h", "kph": "km/h"}
_DEGREES = regex(r"\b(?:degrees?|deg)\s*(?:of\s+)?(celsius|fahrenheit|centigrade|c|f)\b", re.I)

MAGNITUDES = {
    "hundred": 100,
    "thousand": 1000,
    "million": 10**6,
    "mln": 10**6,
    "mn": 10**6,
    "billion": 10**9,
    "bln": 10**9,
    "bn": 10**9,
    "trillion": 10**12,
    "tn": 10**12,
    "quadrillion": 10**15,
    "dozen": 12,
    "lakh": 10**5,
    "lac": 10**5,
    "crore": 10**7,
    "\u5341": 10,
    "\u767e": 100,
    "\u5343": 1000,
    "\u4e07": 10**4,
    "\u4ebf": 10**8,
}
_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
NUMERALS = {word: number for number, word in enumerate(_ONES)}
NUMERALS.update({word: 10 * number for number, word in enumerate(_TENS, 2)})

# A number keeps its value beside these.
HARMLESS = frozenset(
    "a an the this that these those there here it its he she they we you i his her their our your my in on at of for "
    "to from with by into onto per each every is are was were be been being will would can could may does do did has "
    "have had get gets got make makes made take takes took need needs needed give gives gave left remaining remain "
    "remains total totals altogether overall all both also now then so thus therefore hence because since as which "
    "who whom whose when where while after before during until and exactly just only final answer result solution "
    "correct value number amount sum day daily week weekly month monthly year yearly hour hourly minute second time "
    "today tomorrow yesterday again together respectively indeed such one still already long tall high wide deep old "
    "away later earlier people person man men woman women child children student friend boy girl kid worker member "
    "guest player customer thing item object piece way combination arrangement permutation sequence possibility "
    "choice solution root square sq cubic unit point page book pen pencil apple orange banana egg cookie cake candy "
    "flower tree car bike ball toy box bag bottle glass ticket card coin game lap mile trip class room house animal "
    "dog cat bird fish length width height area volume perimeter speed distance age price cost profit weight "
    "answer".split()
)
CHANGES = frozenset(  # beside these a number is another number, whatever the question says
    "half halves third quarter fourth fifth sixth seventh eighth ninth tenth hundredth thousandth twice double triple "
    "time? plus minus squared cubed factorial point percent percentage modulo mod base not nor neither or versus vs "
    "except without negative root power dozen score gross".split()
)
COMPARES = frozenset(
    "times more less fewer over under above below than least most between about nearly almost up".split()
)


@functools.lru_cache(maxsize=16_384)
def stem(word: str) -> str:
    """A word without its ending, so that "boxes" and "box" are one word.

    >>> stem("Boxes"), stem("cities"), stem("glass"), stem("bolts")
    ('box', 'city', 'glass', 'bolt')
    """
    word = word.lower()
    if word.endswith(("ies", "ie")) and len(word) > 4:
        return word.rpartition("ie")[0] + "y"  # cookies and cookie are one word
    if word.endswith(("xes", "ches", "shes", "sses", "zes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") and len(word) > 2 else word


HARMLESS, CHANGES = (words | frozenset(map(stem, words)) for words in (HARMLESS, CHANGES))


@functools.lru_cache(maxsize=4096)
def unit_of(phrase: str) -> str:
    """The unit that a phrase names, in its short form; "" if the phrase is not a unit.

    >>> unit_of("km/h"), unit_of("cubic feet"), unit_of("degrees Celsius"), unit_of("m^2"), unit_of("apples")
    ('km/h', 'ft^3', '\xb0c', 'm^2', '')
    """
    phrase = _DEGREES.sub(lambda degrees: "\u00b0" + degrees[1][0].lower(), phrase.strip(" ."))
    phrase = re.sub(r"[{}~]|\\[,; ]?", "", phrase)
    above, *below = re.split(r"\s*/\s*|\s+per\s+|\s+an?\s+", phrase)
    parts = [_plain_unit(part) for part in (above, *below)]
    found = "/".join(parts) if all(parts) and len(parts) < 4 else ""
    return _SAME_UNIT.get(found, found)


def leading_unit(phrase: str) -> str:
    """The unit that a phrase begins with; "" if there is none.

    >>> leading_unit("km/h on average"), leading_unit("dollars left")
    ('km/h', 'dollar')
    """
    words = phrase.split()[:5]
    prefixes = (" ".join(words[:size]) for size in range(len(words), 0, -1))
    return next(filter(None, map(unit_of, prefixes)), "")


def _plain_unit(phrase: str) -> str:
    """A unit without a fraction bar: "square metres", "cm^2", "cm"; "" if it is not a unit."""
    match = re.fullmatch(
        r"(?:(square|sq\.?|cubic|cu\.?)\s+)?([A-Za-z\u00b5\u00b0]{1,12})\.?(?:\^?([23])|\s+(squared|cubed))?", phrase
    )
    if match is None:
        return ""
    before, name, power, after = match.groups()
    base = _SPELLINGS.get(name.lower()) or _SPELLINGS.get(stem(name), "")
    if len(name) == 1 and name not in ("m", "g", "s", "h", "l", "L", "t", "J", "N", "W", "V", "K", "A"):
        return ""
    word = (before or after or "")[:2].lower()
    exponent = power or {"sq": "2", "cu": "3"}.get(word, "")
    return f"{base}^{exponent}" if base and exponent else base


def dimension_of(unit: str) -> str:
    """The dimension of a unit in its short form; of "cm^2" it is the dimension of "cm" with its exponent."""
    base, _, exponent = unit.partition("^")
    return _DIMENSIONS.get(base, unit) + exponent
