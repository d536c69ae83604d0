r"""The forms of a verdict in a judge's reply, and what looks like one and is not: tables of patterns with examples.

Each ``example`` is a reply, and ``verdict`` is its score on a scale from 0 to 10 (None: it has no score). The tests
read every example, and time every pattern. The patterns meet only text whose white space is folded.

>>> compiled(SCALES).findall("on a scale of 1 to 5")
['5']
"""

from __future__ import annotations

import re
from typing import NamedTuple, Pattern, Sequence

from ..patterns import any_of, any_word, regex


class Rule(NamedTuple):
    """One pattern, with a reply that shows it and the score of this reply."""

    name: str
    pattern: str
    example: str
    verdict: float | None


class Markup(NamedTuple):
    """One pattern of markup and its plain form, with a reply that shows it and the score of this reply."""

    name: str
    pattern: str
    plain: str
    example: str
    verdict: float | None


def one_of(rules: Sequence[Rule]) -> str:
    """The pattern that matches what one of the rules matches; the first that matches counts."""
    return any_of(*(rule.pattern for rule in rules))


def compiled(rules: Sequence[Rule]) -> Pattern[str]:
    """``one_of``, without regard to upper and lower case."""
    return regex(one_of(rules), re.I)


# --- a value: a number, its scale, and what spoils it -----------------------------------------------------------------

NUMBER = r"(?P<number>(?<![A-Za-z0-9_.,/])[-+\u2212]?[0-9]{1,30}(?:\.[0-9]{1,30})?)"
OUT_OF = r"/|out\s+of\b|(?:von|van|sur|sobre|de|su|av|\u0438\u0437)\b(?=\s*[0-9])"
SCALE = (  # 8/10; 8 points (out of 10)
    rf"(?:(?:\s*(?:points?|stars?|marks?))?\s*\(?(?:{OUT_OF})\s*(?P<scale>[0-9]{{1,9}}(?:\.[0-9]{{1,9}})?))"
)
SPOILERS = [  # what makes the number before it another one
    Rule("a version or a ratio", r"[.:][0-9]", "Score: 7.5.1", None),
    Rule("an item of a list", r":\s*[a-z]", "Score 8: because", None),
    Rule("a decimal comma or a list", r",\s*[0-9]", "Score: 7,5", None),
    Rule("a range", r"\s*[-~\uff5e\u2013\u2014\u2212]\s*[0-9]", "Score: 7-8", None),
    Rule("a range in words", r"\s+(?:to|or|and|bis|oder|ou|o|y|e)\s+[0-9]", "Score: 7 or 8", None),
    Rule("a range in brackets", r"\s*\(\s*(?:or|to|bis|maybe|perhaps)\s+[0-9]", "Score: 8 (or 7)", None),
    Rule(
        "one of several aspects",
        r"[ \t]+(?:for|on|in)\s+[^.,;\n\d]{1,40}(?:,|\sand)\s+(?:and\s+)?(?=[0-9])",
        "Score: 8/10 for style, 6/10 for truth",
        None,
    ),
    Rule("two numbers", r"[ \t]+[0-9]", "Score: 8 9", None),
    Rule(
        "a sum, a share or a step",
        r"\s*(?:\.\.|->|[%/+=^\u00b1\u2026\u2192\u00d7\u00f7\u00bc-\u00be])",
        "Score: 80 %",
        None,
    ),
    Rule("a word or a power", r"[A-Za-z\d_\u00b2\u00b3\u00b9\u4e07\u6210]", "Score: 10\u00b2", None),
    Rule(
        "a Chinese range",
        r"\s*\u5206?\s*[\u5230\u6216\u81f3\u3001]\s*[0-9]",
        "\u8bc4\u5206\uff1a8\u52309",
        None,
    ),
    Rule(
        "the scale before the score in Chinese",
        r"\u5206(?:[\uff0c,]\s*\u5f97|\u5236)",
        "\u603b\u520610\u5206\uff0c\u5f978\u5206",
        None,
    ),
    Rule(
        "the scale before the score in Japanese or Korean",
        r"\s*(?:\u70b9\s*\u6e80\u70b9|\uc810\s*\ub9cc\uc810)",
        "\u8a55\u4fa1\uff1a10\u70b9\u6e80\u70b9\u4e2d8\u70b9",
        None,
    ),
    Rule("a sum in words", rf"[ \t]+{any_word('plus minus times divided')}\b", "Score: 8 plus 1", None),
    Rule(
        "a share or a scale in words",
        r"(?:[ \t]+(?:points?|stars?|marks?))?[ \t]+(?:per\s?cent|prozent|out\s+of|of)\b",
        "Score: 4 stars out of five",
        None,
    ),
    Rule(
        "a part of something else",
        rf"[ \t]+{any_word('difficult confident certain sure likely')}\b",
        "The question is 8/10 difficult.",
        None,
    ),
    Rule(
        "a count",
        rf"[ \t]+{any_word('errors? mistakes? steps? issues? problems? fehler erreurs? errores')}\b",
        "Score: 3 errors",
        None,
    ),
    Rule(
        "what a score would mean",
        rf"[ \t]+{any_word('means would requires? indicates represents')}\b",
        "A score of 10 means perfect. This one is wrong.",
        None,
    ),
    Rule(
        "a difference with its reason",
        r"[ \t]+-[^\n\d]{0,80}[0-9]{1,9}\)?\s*=",
        "Score: 10 - missing units (2) = 8",
        None,
    ),
]
VALUE = rf"{NUMBER}{SCALE}?(?P<spoilt>{one_of(SPOILERS)})?"

# --- the word for a score ---------------------------------------------------------------------------------------------

SCORE_WORDS = [  # a language, its words at a word boundary, a reply
    Rule("English", r"score|rating", "Score: 8", 8),
    Rule("German", r"(?:gesamt)?(?:punktzahl|bewertung|punktestand)|(?:gesamt|end)note", "Bewertung: 8", 8),
    Rule("French", r"notation|note\s+(?:finale|globale|totale)|score\s+final", "Note finale : 8/10", 8),
    Rule("Spanish", r"puntuaci[o\u00f3]n|puntaje|calificaci[o\u00f3]n", "Puntuaci\u00f3n: 8", 8),
    Rule(
        "Portuguese",
        r"pontua[c\u00e7][a\u00e3]o|nota(?:\s+(?:final|geral|total))?(?=\s*:)",
        "Pontua\u00e7\u00e3o: 8",
        8,
    ),
    Rule("Italian", r"punteggio|voto|valutazione", "Punteggio: 8", 8),
    Rule("Dutch", r"(?:eind|rapport)?cijfer|beoordeling", "Eindcijfer: 8", 8),
    Rule("Indonesian", r"nilai(?:\s+akhir)?", "Nilai: 8", 8),
    Rule("Czech", r"hodnocen\u00ed", "Hodnocen\u00ed: 8", 8),
    Rule("Hungarian", r"pontsz\u00e1m", "Pontsz\u00e1m: 8", 8),
    Rule("Romanian", r"scor|punctaj", "Scor: 8", 8),
    Rule("Finnish", r"arvosana|pisteet", "Arvosana: 8", 8),
    Rule(
        "Greek",
        r"\u03b2\u03b1\u03b8\u03bc\u03bf\u03bb\u03bf\u03b3\u03af\u03b1",
        "\u0392\u03b1\u03b8\u03bc\u03bf\u03bb\u03bf\u03b3\u03af\u03b1: 8",
        8,
    ),
    Rule("Hebrew", r"\u05e6\u05d9\u05d5\u05df", "\u05e6\u05d9\u05d5\u05df: 8", 8),
    Rule("Persian", r"\u0627\u0645\u062a\u06cc\u0627\u0632", "\u0627\u0645\u062a\u06cc\u0627\u0632: 8", 8),
    Rule("Thai", r"\u0e04\u0e30\u0e41\u0e19\u0e19", "\u0e04\u0e30\u0e41\u0e19\u0e19: 8", 8),
    Rule("Swedish", r"po\u00e4ng|betyg", "Betyg: 8", 8),
    Rule("Polish", r"ocena", "Ocena: 8", 8),
    Rule("Turkish", r"puan|skor", "Puan: 8", 8),
    Rule("Vietnamese", r"\u0111i\u1ec3m(?:\s+s\u1ed1)?", "\u0110i\u1ec3m: 8", 8),
    Rule(
        "Russian",
        r"\u043e\u0446\u0435\u043d\u043a\u0430|\u0431\u0430\u043b\u043b(?:\u044b|\u043e\u0432)?",
        "\u041e\u0446\u0435\u043d\u043a\u0430: 8",
        8,
    ),
    Rule(
        "Ukrainian",
        r"\u043e\u0446\u0456\u043d\u043a\u0430|\u0431\u0430\u043b",
        "\u041e\u0446\u0456\u043d\u043a\u0430: 8",
        8,
    ),
    Rule(
        "Arabic",
        r"\u0627\u0644\u062f\u0631\u062c\u0629|\u0627\u0644\u062a\u0642\u064a\u064a\u0645",
        "\u0627\u0644\u062f\u0631\u062c\u0629: \u0668",
        8,
    ),
    Rule("Hindi", r"\u0938\u094d\u0915\u094b\u0930|\u0905\u0902\u0915", "\u0938\u094d\u0915\u094b\u0930: \u096e", 8),
]
SCORE_SIGNS = [  # of scripts without spaces
    Rule(
        "Chinese",
        r"[\u8bc4\u8a55\u5f97\u603b\u7e3d\u6253]\u5206|\u5206[\u6570\u6578]",
        "\u8bc4\u5206\uff1a8",
        8,
    ),
    Rule(
        "Japanese",
        r"\u30b9\u30b3\u30a2|\u8a55\u4fa1|\u70b9\u6570|\u5f97\u70b9|\u8a55\u70b9",
        "\u8a55\u4fa1\uff1a8\u70b9",
        8,
    ),
    Rule("Korean", r"\uc810\uc218|\ud3c9\uc810|\ucd1d\uc810", "\uc810\uc218: 8\uc810", 8),
]
IN_BRACKETS = (  # Score (0-10); the score for this response
    r"(?:\s*\([^()\n]{0,40}\)|\s+out\s+of\s+[0-9]{1,4}|\s+[0-9]{1,3}\s?[-\u2013]\s?[0-9]{1,4}(?=\s*:)"
    r"|\s+(?:for|of)\s+(?:this|the)\s+(?:answer|response|reply)|\s+I\s+(?:would\s+)?(?:give|assign|award))?"
)
# what can be told first costs least: a word boundary, or a sign of such a script
SCORE_WORD = any_of(rf"\b{one_of(SCORE_WORDS)}", rf"(?=[\u3000-\ud7ff]){one_of(SCORE_SIGNS)}") + IN_BRACKETS
LONGEST_LABEL = 70  # characters
COLON = r"\s*(?:(?:is\s?)?:|=|->|\u2192|\u2013|\u2014|\u4e3a|\u662f)[\s:]{0,20}"

# In lower case: a text of ASCII without any of these holds no score word, and names no scale.
STEMS = (
    "score rating bewertung punkt gesamt endnote finale globale totale puntua puntaje calific pontua punteggio "
    "voto nota valuta cijfer beoordel nilai hodnocen\u00ed pontsz scor arvosana pisteet punctaj "
    "betyg ocena puan skor grade mark verdict overall scale skala von"
).split()
SCALE_STEMS = ("scale", "skala", "von", "\u6ee1\u5206")

# --- the forms of a verdict -------------------------------------------------------------------------------------------

STATED = Rule(
    "stated by a label",
    rf"(?:{SCORE_WORD}|\b(?:grade|mark|verdict|overall)){COLON}(?:an?\s+)?{VALUE}",
    "Grade: an 8",
    8,
)
AFTER_LABEL = r"(?::|=|->|\u2192|\u2013|\u2014|\u4e3a|\u662f)[\s:]{0,20}(?:an?\s+)?[-+\u2212]?[0-9]"
_GIVEN_TO = "it this that the answer response reply candidate an? overall as at with only solid strong full"
IN_PROSE = [  # they count if no verdict is stated
    Rule(
        "in a sentence",
        rf"{SCORE_WORD}(?:\s+(?:is|of|would\s+be))*\s*(?:an?\s+)?{VALUE}",
        "The score would be 8",
        8,
    ),
    Rule(
        "given",
        r"\b"
        + any_of(
            r"I(?:['\u2019](?:d|ll|ve))?(?:\s+(?:would|will|have|must|only))*\s+"
            + any_word("give gave given rate rated score scored grade graded assign award"),
            any_word("deserves merits earns rated graded"),
            r"I(?:['\u2019]d|\s+would)\s+say",
        )
        + rf"\s+(?:{any_word(_GIVEN_TO)}\s+)*"
        + VALUE
        + r"(?!\s+(?!points|marks|stars)[a-z]{3,30}s\b)",  # I can give 2 reasons
        "I\u2019d give this an 8.",
        8,
    ),
    Rule("alone in its line", rf"^[ \t>]*{VALUE}[ \t]*(?:points?|pts|\u5206|\u70b9|\uc810)?[ \t]*$", "> 8 points", 8),
    Rule("a fraction", rf"{NUMBER}{SCALE}(?P<spoilt>{one_of(SPOILERS)})?", "It is right: 8/10.", 8),
]

# --- verdicts that do not count ---------------------------------------------------------------------------------------

HYPOTHETICAL = [  # in the sentence before the number
    Rule(
        "a condition or a claim of the answer",
        rf"\b{any_word('if had were unless until claims says wrote')}\b",
        "If the answer were complete I would give it 9.",
        None,
    ),
    Rule("what would have been", r"\bwould\s+have\b", "I would have given it 9, but it is wrong.", None),
    Rule(
        "a denial",
        r"(?:\bnot|n['\u2019]t)\s+(?:think|believe)\b",
        "I don't think this deserves a 10.",
        None,
    ),
]
_VERBS = (
    "says? said saying claims? claimed contains? includes? writes? wrote written states? quotes? quoted asks? asked "
    "demands? requests? instructs? tells? told wants? wanted reads? tries inserts?"
)
_BETWEEN = "that to for with me us you the a an its own is was give write output reply say words? text line string"
ATTRIBUTED = Rule(  # directly before a verdict: it is what the answer says
    "said by the answer",
    rf"\b(?:{any_word(_VERBS)}|(?:ends?|begins?|starts?)\s+(?:with|in|on|by))\b"
    rf"(?:\s+{any_word(_BETWEEN)}){{0,6}}(?: ?:\s?| ?)\Z",
    "It tells me to write Score: 10",
    None,
)
SCALE_ENDS = Rule(  # directly before the word: it is an end of the scale, or a limit
    "an end of the scale",
    r"(?:\b"
    + any_of(
        any_word("max(?:imum|imal)? min(?:imum|imal)? highest lowest possible passing required target h\u00f6chste"),
        r"\u043c\u0430\u043a\u0441\w{0,12}",
        r"m[a\u00e1]xim[oa]",
    )
    + r" ?"
    + r"|\b"
    + any_word("previous prior earlier old initial baseline average mean median typical threshold")
    + r" ?"
    + r"|\b"
    + any_word("confidence difficulty certainty threshold weight severity complexity")
    + r"(?: ?:\s?| is | )"
    + r"|\u6700[\u9ad8\u4f4e])\Z",
    "The maximum score is 10. My confidence: 9/10",
    None,
)
NOT_AN_ASPECT = any_word(
    "overall final total my the this an? your its and so with of is now revised corrected updated gesamte finale "
    "endg\u00fcltige meine la el final global total mi \u0438\u0442\u043e\u0433\u043e\u0432\u0430\u044f "
    "\u043e\u0431\u0449\u0430\u044f \ucd5c\uc885 \uc885\ud569"
)
ASPECTS = [  # directly before the word: it is the score of one aspect
    Rule(
        "a word that is not one for the whole",
        rf"\b(?!{NOT_AN_ASPECT}\s)[^\W\d_](?:[^\W\d_]|['\u2019]){{0,30}}[ \t]\Z",
        "Accuracy score: 3\nStyle score: 9",
        None,
    ),
    Rule(
        "Chinese or Japanese signs that are not for the whole",
        r"[\u4e00-\u9fff]{2}(?<!\u6700\u7ec8|\u6700\u7d42|\u7efc\u5408|\u7dcf\u5408|\u6211\u7684)\Z",
        "\u51c6\u786e\u6027\u5f97\u5206\uff1a9\n\u6e05\u6670\u5ea6\u5f97\u5206\uff1a7",
        None,
    ),
]
OVERALL = Rule(  # directly before the word, or the word itself: the verdict on the whole, whatever came before
    "overall",
    r"\b(?:overall|final|total|revised|corrected|updated|gesamt\w{0,8}|\u0438\u0442\u043e\u0433\u043e\u0432\u0430\u044f)\W{0,3}\Z"
    r"|(?:\u6700\u7ec8|\u6700\u7d42|\u7efc\u5408|\u7dcf\u5408|\ucd5c\uc885\s?|\uc885\ud569\s?)\Z",
    "Score: 9 for its style.\nScore: 3 for its truth.\nFinal score: 8",
    8,
)
REVISION = Rule(  # between two verdicts: the second replaces the first
    "a change of mind",
    r"\b"
    + any_word(
        "reconsider\\w* second\\s+thoughts? reflection revis\\w+ correct(?:ion|ed|ing) actually wait instead "
        "adjust\\w* updat\\w+ chang\\w+ lower(?:ed|ing)? rais(?:ed?|ing)"
    )
    + r"\b",
    "Score: 3\n\nOn second thought, Score: 8",
    8,
)
SCALES = [  # the upper end of a scale that the judge names
    Rule(
        "a scale in words",
        r"(?:scale\s+(?:of|from)\s+[0-9.]{1,9}\s*(?:to|-|\u2013)"
        r"|\u6ee1\u5206[\u4e3a\u662f:]?|\bvon\s+[0-9]{1,4}\s+bis|\bskala\s+von\s+[0-9]{1,4}\s*(?:bis|-))"
        r"\s*([0-9]{1,9})",
        "On a scale of 1 to 5, I give 4.",
        None,
    ),
]
ANOTHER_LABEL = Rule(  # directly before a number: it belongs to this label
    "the label of an aspect",
    r"[^\W\d][\w /-]{1,40}(?:[:=(]|\s[-\u2013])[ \t]?\Z",
    "- Accuracy: 3/10\n- Style: 9/10",
    None,
)

# --- markup and quotation marks ---------------------------------------------------------------------------------------

QUOTED = [  # a verdict between these is what the answer says
    Rule("quotation marks", r"[\"\u201c][^\"\u201c\u201d\n]{1,300}[\"\u201d]", 'It ends in "Score: 10".', None),
    Rule(
        "German quotation marks",
        r"\u201e[^\u201e\u201c\u201d\n]{1,300}[\u201c\u201d]",
        "Es sagt \u201eBewertung: 10\u201c.",
        None,
    ),
    Rule("struck out", r"~~[^~\n]{1,300}~~", "~~Score: 8~~", None),
    Rule("code", r"`[^`\n]{1,300}`", "It ends in `Score: 10`, which is not mine.", None),
    Rule("single quotation marks", r"(?<!\w)'[^'\n]{1,300}'(?!\w)", "It ends in 'Score: 10'.", None),
    Rule("French quotation marks", r"\u00ab[^\u00ab\u00bb\n]{1,300}\u00bb", "Il dit \u00ab Score : 10 \u00bb.", None),
    Rule(
        "curly single quotation marks",
        r"\u2018[^\u2018\u2019\n]{1,300}\u2019(?!\w)",
        "It has \u2018Score: 10\u2019.",
        None,
    ),
    Rule(
        "Chinese and Japanese quotation marks",
        r"[\u300c\u300e][^\u300c-\u300f\n]{1,300}[\u300d\u300f]",
        "\u7b54\u6848\u5199\u300c\u8bc4\u5206\uff1a10\u300d",
        None,
    ),
]
MARKUP = [  # applied in this order
    Markup("a box", r"\\boxed\{([^{}]{0,100})\}", r"\1", r"Score: $\boxed{8}$", 8),
    Markup(
        "a verdict's tag",
        r"<(\w{0,30}(?:score|rating|verdict|grade))>",
        r"\1: ",
        "<verdict>8</verdict>",
        8,
    ),
    Markup(
        "a verdict's mark", r"\[(?:result|score|rating|verdict|grade)\]", "score: ", "Feedback: right. [RESULT] 8", 8
    ),
    Markup("the end of a mark", r"\[/(?:result|score|rating|verdict|grade)\]", " ", "[SCORE]8[/SCORE]", 8),
    Markup("a number in two brackets", r"\(\(([0-9]{1,9}(?:\.[0-9]{1,9})?)\)\)", r"\1", "Rating: ((8))", 8),
    Markup(
        "a number in quotation marks",
        r"[\u00ab\u201c]\s?([0-9]{1,9}(?:\.[0-9]{1,9})?)\s?[\u00bb\u201d]",
        r"\1",
        "Score: \u201c8\u201d",
        8,
    ),
    Markup("any other tag", r"</?[A-Za-z]\w{0,30} ?/?>", " ", "Score: 8<br>Reason", 8),
    Markup("an underscore", "_", " ", "<final_score>8</final_score>", 8),
    Markup("a table's bars", r"\|", ":", "| Score | 8 |", 8),
    Markup(
        "signs of emphasis, code and brackets",
        r"[*`\"#${}\[\]]|(?<![A-Za-z])'|'(?![A-Za-z])|<(?=[-+0-9])|(?<=[0-9])>",
        "",
        "Rating: [[8]]",
        8,
    ),
    Markup("a number in brackets", r"(?<=:)[ \t]?\((?=[0-9]{1,9}\))", " ", "Score: (8)", 8),
]
