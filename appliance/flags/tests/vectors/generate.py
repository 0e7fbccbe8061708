#!/usr/bin/env python3
"""Writes flagd-v3.json beside this file: what flagd's own evaluation for Python answers.

    python3 -m venv target/oracle/flagd
    target/oracle/flagd/bin/pip install openfeature-flagd-core==2.0.0
    target/oracle/flagd/bin/python appliance/flags/tests/vectors/generate.py [--check]

With --check nothing is written; the exit code says whether the file is what would be written.
With --random SEED FLAGS a random document with its answers goes to standard output in the same form.

Left out is what implementations of JSON Logic do not agree on: whether true is one for `===`, the order of a text and null,
null and booleans in `cat`, the sign of a negative remainder, division by zero, and whole weights written as 50.0.
"""

import json
import pathlib
import random
import struct
import sys
import time

import cbor2
import mmh3
from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.contrib.tools.flagd.core.targeting.custom_ops import normalize_numbers
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import OpenFeatureError

NOW = 1_767_225_600
FILE = pathlib.Path(__file__).with_name("flagd-v3.json")


def var(path, *default):
    return {"var": [path, *default]} if default else {"var": path}


def shares(*weighted):
    return {"fractional": list(weighted)}


TEXTS = {"a": "alpha", "b": "beta", "c": "gamma", "none": "nothing"}


def flag(targeting=None, default="none", variants=None, state="ENABLED"):
    written = {"state": state, "variants": variants or TEXTS, "defaultVariant": default}
    if targeting is not None:
        written["targeting"] = targeting
    return written


def choice(condition):
    return flag({"if": [condition, "a", "b"]})


EVALUATORS = {
    "internal": {"ends_with": [var("email"), "@example.org"]},
    "new enough": {"sem_ver": [var("version"), ">=", "1.2.0"]},
    "who": {"cat": [var("$flagd.flagKey"), var("email", "nobody")]},
}


# What a rule can yield that is no name, or no name of a variant.
YIELDED = [False, True, None, 0, "", "nosuch", []]


def yielding():
    """Flags whose rule yields each of these, where no variant has that name, where one has, and without a default."""
    words = {"true": "x", "false": "y", "0": "z", "[]": "l", "null": "n"}
    made = {}
    for value in YIELDED:
        for kind, more in {"": {}, ", a variant": {"variants": words, "default": "true"}, ", no default": {"default": None}}.items():
            made[f"yields {json.dumps(value)}{kind}"] = flag({"if": [True, value]}, **more)
            made[f"yields {json.dumps(value)} in part{kind}"] = flag({"if": [{"==": [var("tier"), "gold"]}, value, "true"]}, **more)
    return made


def flags():
    """Flags of every kind, by name."""
    third = [["a", 1], ["b", 1], ["c", 1]]
    made = {
        "static": flag(),
        "static empty rule": flag({}),
        "static no default": flag(default=None),
        "static boolean": flag(variants={"on": True, "off": False}, default="on"),
        "static number": flag(variants={"few": 1, "many": 2.5, "debt": -3}, default="many"),
        "static object": flag(variants={"x": {"k": [1, {"z": None}]}, "y": {}}, default="x"),
        "disabled": flag(state="DISABLED"),
        "disabled with rule": flag({"if": [True, "a"]}, state="DISABLED"),
        "rule null": flag({"if": [False, "a", None]}),
        "rule null no default": flag({"if": [False, "a", None]}, default=None),
        "rule unknown variant": flag({"if": [True, "zzz"]}),
        "rule sometimes unknown": flag({"if": [{"==": [var("tier"), "gold"]}, "zzz", "a"]}),
        "rule true": flag({"==": [var("tier"), "gold"]}, variants={"true": True, "false": False}, default="false"),
        "rule boolean unknown": flag({"==": [var("tier"), "gold"]}),
        "rule number": flag({"+": [var("age", 0), 1]}, variants={"1": "one", "42": "x", "none": "y"}),
        "rule object value": flag(
            {"if": [{"in": ["beta", var("groups")]}, "new", "old"]},
            variants={"new": {"colour": "gr\u00fcn", "steps": [1, 2.5]}, "old": {}},
            default="old",
        ),
        "rule from context": flag(var("wish"), variants=TEXTS),
        "share shorthand": flag(shares(["a", 50], ["b", 30], ["c", 20])),
        "share thirds": flag(shares(*third)),
        "share without weights": flag(shares(["a"], ["b"], ["c", 2])),
        "share zero inside": flag(shares(["a", 0], ["b", 70], ["c", 30], ["none", 0])),
        "share all zero": flag(shares(["a", 0], ["b", 0])),
        "share one": flag(shares(["a", 1])),
        "share large weights": flag(shares(["a", 2147483646], ["b", 1])),
        "share half of all weights": flag(shares(["a", 1073741823], ["b", 1073741824])),
        "share nested rule": flag(shares(["a", 50], [{"if": [{"==": [var("tier"), "gold"]}, "b", "c"]}, 50])),
        "share nested share": flag(shares([shares(var("email"), ["a", 1], ["b", 1]), 1], ["c", 1])),
        "share of null": flag(shares(["a", 50], [None, 50])),
        "share of booleans": flag(shares([True, 1], [False, 1]), variants={"true": True, "false": False}, default="false"),
        "share weight calculated": flag(shares(["a", var("age", 10)], ["b", {"-": [100, var("age", 10)]}])),
        "share weight falls below": flag(shares(var("email", "x"), ["a", {"-": [20, var("age", 0)]}], ["b", 5])),
        "share weight is text": flag(shares(["a", var("tier", "x")], ["b", 1])),
        "share rollout by time": flag(shares(["a", {"-": [var("$flagd.timestamp"), NOW - 30]}], ["b", 70])),
        "Schl\u00fcssel \u2603 \U0001f600": flag(shares(["a", 50], ["b", 50])),
        "share in if": flag({"if": [{"$ref": "internal"}, shares(["a", 1], ["b", 1]), shares(["b", 1], ["c", 3])]}),
        "share by reference": flag(shares({"$ref": "who"}, *third)),
        "reference": choice({"$ref": "internal"}),
        "references": choice({"or": [{"$ref": "internal"}, {"$ref": "new enough"}]}),
        "starts": choice({"starts_with": [var("email"), "a"]}),
        "starts other": choice({"starts_with": [var("any"), var("prefix")]}),
        "ends": choice({"ends_with": [var("email"), "\u00e4.org"]}),
        "ends empty": choice({"ends_with": [var("email"), ""]}),
        "in list": choice({"in": [var("tier"), ["gold", "silver", 7, None]]}),
        "in numbers": choice({"in": [var("age"), [1, 2.5, 41, 100]]}),
        "in text": choice({"in": ["@", var("email")]}),
        "in context list": choice({"in": ["beta", var("groups")]}),
        "if chain": flag({"if": [
            {"<": [var("age"), 18]}, "a", {"<": [18, var("age"), 65]}, "b", {"!": [var("age")]}, "none", "c"]}),
        "if short": flag({"if": [{"!!": [var("tier")]}, "a"]}),
        "if nested": flag({"if": [var("tier"), {"if": [var("age"), {"if": [var("email"), "a", "b"]}, "c"]}]}),
        "and value": flag({"and": [var("tier"), "a"]}),
        "or value": flag({"or": [var("wish"), "c"]}),
        "missing": choice({"missing": ["tier", "nested.deep.er"]}),
        "missing some": choice({"missing_some": [2, ["tier", "age", "email", "targetingKey"]]}),
        "equal loose": choice({"==": [var("any"), "1"]}),
        "equal strict": choice({"===": [var("any"), "1"]}),
        "equal to zero": choice({"==": [var("any"), 0]}),
        "equal to one": choice({"==": [1, var("any")]}),
        "equal to false": choice({"==": [var("any"), False]}),
        "equal in a context": choice({"==": [var("any"), var("prefix")]}),
        "unequal": choice({"!=": [var("any"), 1.5]}),
        "unequal strict": choice({"!==": [var("any"), 2]}),
        "between": choice({"<=": [1, var("any"), 41]}),
        "greater": choice({">": [var("age"), 40.5]}),
        "greater or equal": choice({">=": [var("age"), 41]}),
        "sum": choice({"==": [{"+": [var("age", 0), 1, 2.5]}, 44.5]}),
        "product": choice({">": [{"*": [var("age", 1), -2]}, -80]}),
        "remainder": choice({"==": [{"%": [var("count", 3), 2]}, 1]}),
        "quotient": choice({"<": [{"/": [var("count", 3), 4]}, 1]}),
        "least and most": choice({"<": [{"min": [var("age", 5), 30]}, {"max": [7, 20]}]}),
        "cat": flag({"cat": [var("letter", "n"), {"if": [{"==": [var("letter", "n"), "n"]}, "one", ""]}]}),
        "substr": choice({"==": [{"substr": [var("email", ""), -4]}, ".org"]}),
        "substr inside": choice({"==": [{"substr": [var("email", "abc"), 1, -1]}, "b"]}),
        "merge": choice({"in": ["beta", {"merge": [var("groups"), var("tier"), ["x"]]}]}),
        "map": choice({"in": [4, {"map": [var("numbers"), {"*": [var(""), 2]}]}]}),
        "filter": choice({"filter": [var("numbers"), {">": [var(""), 2]}]}),
        "reduce": choice({">": [{"reduce": [var("numbers"), {"+": [var("current"), var("accumulator")]}, 0]}, 5]}),
        "all": choice({"all": [var("numbers"), {">": [var(""), 0]}]}),
        "some": choice({"some": [var("things"), {"==": [var("size"), 3]}]}),
        "none": choice({"none": [var("things"), {"==": [var("size"), 3]}]}),
        "deep": choice({"==": [var("nested.deep.er"), "yes"]}),
        "place in list": choice({"==": [var("things.1.size"), 3]}),
        "unicode key": choice({"==": [var("gr\u00f6\u00dfe.\u2603"), "\U0001f600"]}),
        "whole context": choice(var("")),
        "key of the flag": choice({"==": [var("$flagd.flagKey"), "key of the flag"]}),
        "time": choice({">=": [var("$flagd.timestamp"), NOW]}),
        "key": choice({"==": [var("targetingKey"), "user-3"]}),
        "truth": choice({"!!": [var("any")]}),
    }
    for name, sign in {"same": "=", "other": "!=", "below": "<", "most": "<=", "above": ">", "least": ">=",
                       "major": "^", "minor": "~"}.items():
        made[f"version {name}"] = choice({"sem_ver": [var("version"), sign, "1.2.3-rc.1"]})
        made[f"version {name}, short"] = choice({"sem_ver": [var("version"), sign, "v1.2"]})
    made.update(yielding())
    for weight in [1, 10, 33]:
        made[f"share by any, {weight}"] = flag(shares(var("any"), ["a", weight], ["b", 100 - weight]))
    return made


ANY = [
    None, True, False, 0, 1, -1, 2, 24, 255, 256, 65535, 65536, 2**32, 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1, 41,
    0.0, -0.0, 1.0, 1.5, -1.5, 0.1, 1e-7, 5.960464477539063e-08, 65504.0, 65505.5, 3.4028234663852886e38, 1e300, 2.0**64,
    -(2.0**63), 0.333251953125, 1 / 3, "", "1", " 1 ", "1.5", "a", "user-0", "\u00e4\u00f6\u00fc\u2603\U0001f600",
    "x" * 23, "x" * 24, "x" * 300, [], ["a", 1], ["a", "b"], {}, {"b": 1, "aa": 2.0, "a": [None, {"z": "y"}]},
    {"\u00e4": 1, "zz": 2, "b": {"c": 1.25}}, {str(number): number for number in range(30)},
]
VERSIONS = [None, "1.2.3", "1.2.3-rc.1", "1.2.3-rc.2", "1.2.3-alpha", "1.2", "1", "v1.2.4", "V2", "2.0.0", "1.3.0+build.7",
            "1.2.3+x", "0.9.9", "1.2.3.4", "not a version", "01.2.3", "", 1, 1.2, "1.10.0", "1.2.3-rc.1+y", "1.2.0-0"]
EMAILS = [None, "ann@example.org", "a@\u00e4.org", "bob@example.com", "", "abc", "\u00e4rger@example.org"]


def contexts():
    """Contexts of every kind. What is None at the top is left out every second time."""
    made = [{}, {"targetingKey": ""}, {"targetingKey": 7}, {"targetingKey": None}, {"$flagd": {"flagKey": "mine"}}]
    draw = random.Random(3)
    for at, value in enumerate(ANY):
        context = {
            "targetingKey": f"user-{at}" if at % 7 else "\u00fcser \u2603",
            "any": value,
            "email": EMAILS[at % len(EMAILS)],
            "version": VERSIONS[at % len(VERSIONS)],
            "tier": draw.choice([None, "gold", "silver", "", "7"]),
            "age": draw.choice([None, 0, 17, 18, 40, 41, 42, 65, 66.5]),
            "count": draw.choice([None, 0, 1, 2, 3, 8, 9]),
            "letter": draw.choice([None, "a", "b", "n", "c"]),
            "prefix": draw.choice([None, "x", "1", "us", ""]),
            "wish": draw.choice([None, "a", "b", "zzz", True, 1]),
            "groups": draw.choice([None, ["beta"], ["alpha", "beta"], [], "beta", "beta, gamma"]),
            "numbers": draw.choice([None, [], [1, 2, 3], [0.5, 7], [-1], [2]]),
            "things": draw.choice([None, [], [{"size": 3}], [{"size": 1}, {"size": 3}], [{}], [{"size": "3"}]]),
            "nested": draw.choice([None, {"deep": {"er": "yes"}}, {"deep": None}, {"deep": {"er": None}}]),
            "gr\u00f6\u00dfe": draw.choice([None, {"\u2603": "\U0001f600"}]),
        }
        made.append({key: given for key, given in context.items() if given is not None or at % 2})
    return made


def resolved(ask):
    try:
        details = ask()
    except OpenFeatureError as error:
        return [None, None, "ERROR", error.error_code.value]
    return [details.variant, details.value, str(details.reason.value if hasattr(details.reason, "value") else details.reason), None]


def evaluation_context(context):
    attributes = {key: value for key, value in context.items() if key != "targetingKey"}
    return EvaluationContext(context.get("targetingKey"), attributes)


def answers(document, asked):
    """Outcomes, and for each flag the outcome's number for each context."""
    core = FlagdCore()
    core.set_flags(json.dumps(document))
    outcomes, numbers, rows = [], {}, {}
    for name in [*document["flags"], "no such flag"]:
        row = []
        for context in asked:
            outcome = resolved(lambda: core._resolve(name, None, evaluation_context(context)))
            key = json.dumps(outcome)
            if key not in numbers:
                numbers[key] = len(outcomes)
                outcomes.append(outcome)
            row.append(numbers[key])
        rows[name] = row
    return {"outcomes": outcomes, "answers": rows}


def keyed(document, names, count):
    """Variants' letters of `user-0` and so on."""
    core = FlagdCore()
    core.set_flags(json.dumps(document))
    pick = lambda name, at: core._resolve(name, None, EvaluationContext(f"user-{at}")).variant
    return {name: "".join(pick(name, at) for at in range(count)) for name in names}


def typed(document):
    """Questions for a value of a type."""
    core = FlagdCore()
    core.set_flags(json.dumps(document))
    asks = {"boolean": (core.resolve_boolean_value, False), "string": (core.resolve_string_value, ""),
            "number": (core.resolve_float_value, 0.0), "object": (core.resolve_object_value, {})}
    rows = []
    for name in ["static", "static boolean", "static number", "static object", "no such flag"]:
        for kind, (ask, default) in asks.items():
            if (name, kind) == ("static boolean", "number"):
                continue  # in Python a bool is a number
            rows.append([name, kind, resolved(lambda: ask(name, default, EvaluationContext("user-0")))[3]])
    return rows


def hashed(value):
    data = cbor2.dumps(normalize_numbers(value), canonical=True)
    return [value, data.hex(), mmh3.hash(data, signed=False)]


def bucket_values():
    draw = random.Random(5)
    floats = []
    while len(floats) < 60:
        number = struct.unpack(*draw.choice([(">e", draw.randbytes(2)), (">f", draw.randbytes(4)), (">d", draw.randbytes(8))]))[0]
        if number == number and abs(number) != float("inf"):
            floats.append(number)
    return ANY + floats + [["split", "user-0"], [[[]], {"k": [1.5]}], {"a" * 24: 1, "b": 2, "": 3}]


def random_rule(draw, depth):
    """A rule that chooses a, b, c or nothing."""
    kind = draw.randrange(5) if depth else draw.randrange(2)
    if kind == 0:
        return draw.choice(["a", "b", "c", None])
    if kind == 1:
        by = draw.choice([[], [var("any")], [{"cat": [var("$flagd.flagKey"), var("targetingKey", "x")]}]])
        return shares(*by, *[[draw.choice("abc"), draw.randrange(0, 100)] for _ in range(draw.randrange(1, 5))])
    below = lambda: random_rule(draw, depth - 1)
    condition = draw.choice([
        lambda: {"starts_with": [var("email"), draw.choice(["a", "bob", ""])]},
        lambda: {"ends_with": [var("email"), draw.choice([".org", "com"])]},
        lambda: {"sem_ver": [var("version"), draw.choice(["=", "!=", "<", "<=", ">", ">=", "^", "~"]), draw.choice(["1.2.3", "2", "v1.2.3-rc.1"])]},
        lambda: {"in": [var("tier"), draw.sample(["gold", "silver", "", "7"], 2)]},
        lambda: {draw.choice(["<", "<=", ">", ">="]): [var("age", 30), draw.randrange(70)]},
        lambda: {draw.choice(["==", "!=", "===", "!=="]): [var("tier"), draw.choice(["gold", "silver"])]},
        lambda: {"missing": draw.sample(["tier", "age", "email"], 2)},
        lambda: {draw.choice(["all", "some", "none"]): [var("numbers"), {">": [var(""), draw.randrange(3)]}]},
    ])
    if kind == 2:
        return {"if": [condition(), below(), condition(), below(), below()]}
    if kind == 3:
        return {"if": [{draw.choice(["and", "or"]): [condition(), {"!": [condition()]}]}, below(), below()]}
    return {"if": [condition(), below(), below()]}


def random_document(seed, count):
    draw = random.Random(seed)
    rule = lambda: {"if": [True, random_rule(draw, 4)]}
    made = {f"flag-{at}": flag(rule(), default=draw.choice(["none", None])) for at in range(count)}
    return {"flags": made | yielding()}


def write_random(seed, count):
    document = random_document(seed, count)
    asked = contexts()
    print(json.dumps({"now": NOW, "document": document, "contexts": asked, **answers(document, asked)}))


def generated():
    document = {"$evaluators": EVALUATORS, "flags": flags()}
    asked = contexts()
    parts = {
        "generation": "flagd v3, openfeature-flagd-core 2.0.0",
        "now": NOW,
        "document": document,
        "contexts": asked,
        **answers(document, asked),
        "keyed": keyed(document, ["share shorthand", "share thirds", "share zero inside"], 1000),
        "typed": typed(document),
        "buckets": [hashed(value) for value in bucket_values()],
    }
    # A line for each part, and for each flag: differences between versions can be read.
    lines = []
    for key, part in parts.items():
        if key in ("answers", "buckets"):
            items = part.items() if isinstance(part, dict) else enumerate(part)
            inner = ",\n".join((json.dumps(name) + ":" if isinstance(part, dict) else "") + json.dumps(row, separators=(",", ":")) for name, row in items)
            opening, closing = "{}" if isinstance(part, dict) else "[]"
            lines.append(f"{json.dumps(key)}: {opening}\n{inner}\n{closing}")
        else:
            lines.append(f"{json.dumps(key)}: {json.dumps(part, separators=(',', ':'))}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main():
    time.time = lambda: float(NOW)
    if sys.argv[1:2] == ["--random"]:
        write_random(int(sys.argv[2]), int(sys.argv[3]))
        return 0
    text = generated()
    if sys.argv[1:] == ["--check"]:
        return 0 if FILE.read_text() == text else 1
    FILE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
