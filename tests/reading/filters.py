"""Filters made at random, each beside a naive judge of what it means; the judges know nothing of the parser."""

import math
import re
from collections.abc import Callable
from random import Random
from typing import Any

from aqrec.format._document import RunDocument
from aqrec.format._records import MetricSummary

__all__ = ["NOW", "document", "expression", "mutated"]

NOW = 1_700_000_000_000
DAY = 86_400_000
KEYS = ("a", "b.c", "val/loss", "my key", "it's", "из", "AND", "min")
TEXTS = ("", "x", "X", "xy", "a%b", "0.5", "1", "True", "None", "é_", "x\ny")
NUMBERS: tuple[float, ...] = (0, 1, -1, 0.5, 1e-3, 2**53 + 1, 1e308)
VALUES: tuple[Any, ...] = (
    *TEXTS,
    *NUMBERS,
    True,
    False,
    None,
    math.nan,
    math.inf,
    -math.inf,
    [1],
    {"k": "v"},
)
TIMES = (None, 0, 5, NOW - 8 * DAY, NOW - DAY, NOW - 3_600_000)
COMPARE = ("=", "!=", ">", ">=", "<", "<=")
REGEXES = ("", "x", "^x$", "[0-9]", "(?i)X.", "^(x|1)+$", "a.b", "e$")

Judge = Callable[[RunDocument], bool]
MISSING = object()


def document(random: Random) -> RunDocument:
    """Return a run with a few of everything."""

    def some(values: tuple[Any, ...]) -> dict[str, Any]:
        return {key: random.choice(values) for key in random.sample(KEYS, random.randrange(5))}

    metrics: dict[str, MetricSummary] = {}
    for key in random.sample(KEYS, random.randrange(5)):
        points = [random.choice((*map(float, NUMBERS), math.nan, math.inf)) for _ in range(3)]
        known = [point for point in points if not math.isnan(point)] or [math.nan]
        metrics[key] = MetricSummary(3, random.choice((None, 0, 7)), 5, points[-1], min(known), max(known))
    start = random.choice(TIMES)
    return RunDocument(
        run_id=random.choice("abc"),
        name=random.choice(TEXTS),
        status=random.choice(("RUNNING", "FINISHED")),
        params=some(VALUES),
        tags=some(VALUES),
        metrics={"w": metrics},
        created=3,
        start_time=start,
        end_time=None if start is None else random.choice((None, start, start + 90_000)),
        parent=random.choice((None, "a", "x")),
    )


def like(value: str, pattern: str) -> bool:
    if not pattern:
        return not value
    if pattern[0] == "%":
        return any(like(value[i:], pattern[1:]) for i in range(len(value) + 1))
    return bool(value) and pattern[0] in ("_", value[0]) and like(value[1:], pattern[1:])


def compare(value: Any, sign: str, wanted: Any) -> bool:
    """Return what a comparison of a value that is there means."""
    if isinstance(wanted, str):
        value = str(value)
    elif isinstance(wanted, bool):
        if type(value) is not bool:
            return sign == "!="
    elif type(value) not in (int, float):
        return sign == "!="
    match sign:
        case "=":
            return bool(value == wanted)
        case "!=":
            return not value == wanted  # noqa: SIM201 - the negation of the case above
        case ">":
            return bool(value > wanted)
        case ">=":
            return bool(value >= wanted)
        case "<":
            return bool(value < wanted)
        case "<=":
            return bool(value <= wanted)
    raise AssertionError(sign)


class _Writer:
    def __init__(self, random: Random) -> None:
        self.random = random

    def gap(self) -> str:
        return self.random.choice(("", " ", "\n\t "))

    def word(self, word: str) -> str:
        return self.random.choice((word, word.lower(), word.title()))

    def words(self, *words: str) -> str:
        return " ".join(map(self.word, words))

    def quoted(self, text: str, quotes: str = "'\"") -> str:
        quote = self.random.choice([quote for quote in quotes if quote not in text])
        return f"{quote}{text}{quote}"

    def key(self) -> tuple[str, str, Callable[[RunDocument], Any]]:
        """Return a key's text, what it is compared with, and what it reads."""
        random = self.random
        kind = random.choice(("metrics", "access", "params", "params", "tags", "text", "time", "duration"))
        if kind == "text":
            field, shown = random.choice(
                (
                    ("name", "run_name"),
                    ("status", "attributes.status"),
                    ("run_id", "run_id"),
                    ("parent", "parent"),
                )
            )
            return shown, "text", lambda doc: MISSING if (found := getattr(doc, field)) is None else found
        if kind == "time":
            field = random.choice(("start_time", "end_time"))
            return field, "time", lambda doc: MISSING if (found := getattr(doc, field)) is None else found
        if kind == "duration":
            return "duration", "duration", _duration
        name = random.choice(KEYS)
        bare = re.fullmatch(r"[\w.]+", name) and random.random() < 0.5
        shown = name if bare else self.quoted(name, "`\"'")
        if kind == "access":
            access = random.choice(("last", "min", "max", "count", "step"))
            text = f"{self.word(access)}{self.gap()}({self.gap()}metrics.{shown}{self.gap()})"
            return text, "number", lambda doc: _figure(doc, name, access)
        if kind == "metrics":
            return f"metric.{shown}", "number", lambda doc: _figure(doc, name, "last")
        if kind == "params":
            return f"params.{shown}", "any", lambda doc: doc.params.get(name, MISSING)
        return f"tag.{shown}", "text", lambda doc: doc.tags.get(name, MISSING)

    def value(self, kind: str) -> tuple[str, Any]:
        """Return a value's text and what it is."""
        random = self.random
        if kind == "any":
            kind = random.choice(("text", "exact", "truth"))
        if kind == "truth":
            truth = random.random() < 0.5
            return self.word(str(truth)), truth
        if kind == "time" and random.random() < 0.7:
            text, moment = random.choice(
                (
                    ("7 days ago", NOW - 7 * DAY),
                    ("1.5 h ago", NOW - 5_400_000),
                    ("now", NOW),
                    ("1970-01-01", 0),
                    ("1970-01-01T01:00:00.005+01:00", 5),
                    ("today", NOW - NOW % DAY),
                )
            )
            return self.quoted(text), moment
        if kind == "duration" and random.random() < 0.7:
            text, seconds = random.choice(
                (("90 s", 90), ("1.5min", 90), ("2 days", 172_800), ("100 ms", 0.1))
            )
            return self.quoted(text), seconds
        if kind == "text":
            text = random.choice(TEXTS)
            return self.quoted(text), text
        number = random.choice(NUMBERS)
        # Metrics are float64, and so is what they are compared with.
        return repr(number), float(number) if kind == "number" else number

    def clause(self) -> tuple[str, Judge]:
        random = self.random
        key, kind, read = self.key()

        def there(judge: Callable[[Any], bool]) -> Judge:
            return lambda doc: (value := read(doc)) is not MISSING and judge(value)

        negated = random.random() < 0.5
        prefix = (self.word("NOT"),) if negated else ()
        form = random.randrange(5)
        if form == 0:
            null = " ".join((self.word("IS"), *prefix, self.word("NULL")))
            return f"{key} {null}", lambda doc: (read(doc) is MISSING) is not negated
        if form == 1:
            items = [self.value(kind) for _ in range(random.randrange(1, 4))]
            listed = f"{self.gap()},{self.gap()}".join(text for text, _ in items)
            end = random.choice(("", ","))
            word = " ".join((*prefix, self.word("IN")))
            wanted = [value for _, value in items]
            return (
                f"{key} {word}{self.gap()}({self.gap()}{listed}{end})",
                there(lambda value: any(compare(value, "=", one) for one in wanted) is not negated),
            )
        if form == 2:
            bounds = random.choice(("text", "exact")) if kind == "any" else kind
            (low, least), (high, most) = self.value(bounds), self.value(bounds)
            word = " ".join((*prefix, self.word("BETWEEN")))
            return (
                f"{key} {word} {low} {self.word('AND')} {high}",
                there(
                    (lambda value: compare(value, "<", least) or compare(value, ">", most))
                    if negated
                    else (lambda value: compare(value, ">=", least) and compare(value, "<=", most))
                ),
            )
        if form == 3 and kind in {"any", "text"}:
            pattern = random.choice(("LIKE", "ILIKE", "RLIKE"))
            word = " ".join((*prefix, self.word(pattern)))
            if pattern == "RLIKE":
                wish = random.choice(REGEXES)
                search = re.compile(wish, 0).search
                return (
                    f"{key} {word} {self.quoted(wish)}",
                    there(lambda value: bool(search(str(value))) is not negated),
                )
            wish = "".join(random.choice("xX_%1é") for _ in range(random.randrange(4)))
            fold: Callable[[str], str] = str.lower if pattern == "ILIKE" else str
            return (
                f"{key} {word}{self.gap()}{self.quoted(wish)}",
                there(lambda value: like(fold(str(value)), fold(wish)) is not negated),
            )
        text, wanted_value = self.value(kind)
        equality = isinstance(wanted_value, str | bool)
        sign = random.choice(COMPARE[:2] if equality else COMPARE)
        return f"{key}{self.gap()}{sign}{self.gap()}{text}", there(
            lambda value: compare(value, sign, wanted_value)
        )

    def unary(self, depth: int) -> tuple[str, Judge]:
        random = self.random
        if depth and random.random() < 0.25:
            text, judge = self.unary(depth - 1)
            return f"{self.word('NOT')} {text}", lambda doc: not judge(doc)
        if depth and random.random() < 0.35:
            text, judge = self.either(depth - 1)
            return f"({self.gap()}{text}{self.gap()})", judge
        return self.clause()

    def either(self, depth: int) -> tuple[str, Judge]:
        random = self.random
        alternatives: list[tuple[str, list[Judge]]] = []
        for _ in range(random.choice((1, 1, 2, 3))):
            parts = [self.unary(depth) for _ in range(random.choice((1, 1, 2, 3)))]
            alternatives.append(
                (f" {self.word('AND')} ".join(text for text, _ in parts), [judge for _, judge in parts])
            )
        text = f" {self.word('OR')}\n".join(text for text, _ in alternatives)
        return text, lambda doc: any(all(judge(doc) for judge in judges) for _, judges in alternatives)


def _figure(doc: RunDocument, name: str, access: str) -> Any:
    found = doc.metrics["w"].get(name)
    if found is None:
        return MISSING
    figures = {
        "last": found.value,
        "min": found.minimum,
        "max": found.maximum,
        "count": found.count,
        "step": found.step,
    }
    return MISSING if figures[access] is None else figures[access]


def _duration(doc: RunDocument) -> Any:
    if doc.start_time is None:
        return MISSING
    return ((NOW if doc.end_time is None else doc.end_time) - doc.start_time) / 1000


def expression(random: Random, depth: int = 2) -> tuple[str, Judge]:
    """Return a filter and its judge."""
    return _Writer(random).either(depth)


PIECES = (
    *(
        "AND",
        "OR",
        "NOT",
        "IN",
        "IS",
        "NULL",
        "LIKE",
        "RLIKE",
        "BETWEEN",
        "true",
        "metrics.",
        "params",
        ".",
        "tags.a",
    ),
    *(
        "run_id",
        "start_time",
        "duration",
        "min",
        "min(",
        "(",
        ")",
        ",",
        "'",
        '"',
        "`",
        "\\",
        "=",
        "!=",
        ">",
        "<",
    ),
    *(
        "1",
        "-",
        ".5",
        "e5",
        "'7 days ago'",
        " ",
        "\n",
        ";",
        "--",
        "\0",
        "\ud800",
        "%",
        "é",
        "²",
        "9" * 400,
        "[",
        "{",
    ),
)


def mutated(random: Random, text: str) -> str:
    """Return a text with a few pieces put in, taken out or doubled."""
    for _ in range(random.randrange(1, 4)):
        at, other = sorted((random.randrange(len(text) + 1), random.randrange(len(text) + 1)))
        match random.randrange(3):
            case 0:
                text = text[:at] + random.choice(PIECES) + text[at:]
            case 1:
                text = text[:at] + text[min(other, at + 8) :]
            case _:
                text = text[:other] + text[at : min(other, at + 12)] + text[other:]
    return text
