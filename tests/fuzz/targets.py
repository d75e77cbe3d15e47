"""
What strangers' bytes are read by, a target each: whom to give them to, what they are made of, what may be raised.

A target promises two things. Whatever it is given, it gives a value or one of its own errors. And its work grows in
proportion to what it is given: no megabyte takes minutes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tfguard import durations, hcl, redaction
from tfguard.backends import urls
from tfguard.backends.aws import dynamodb, dynamodb_wire, profiles, s3, s3_wire
from tfguard.backends.aws.answers import AwsError, NotAws
from tfguard.backends.net.transport import Response
from tfguard.clock import parse_created
from tfguard.config import file, globs, values, variables
from tfguard.errors import ConfigError, TfguardError
from tfguard.guard import messages
from tfguard.lock import lockinfo, queue_record
from tfguard.terraform import backend_block, command_line, modules, plan_json, workdir

_FOLDER = tempfile.TemporaryDirectory(prefix="tfguard-fuzz-")
_PLACE = Path(_FOLDER.name)
_JSON = ("{", "}", "[", "]", ":", ",", '"', '"a":', "null", "1", "-", "1e9", "\\u0041", "\\ud800", "true", " ", "\n")
_HCL = (
    *("a", " = ", '"', "{", "}", "[", "]", "(", ")", "\n", "${", "%{", "$${", "\\", "\\u0041", "<<A", "<<-A\n", "A\n"),
    *(
        'terraform {\n backend "s3" {\n',
        'module "a" {\n source = "./b"\n}\n',
        "#",
        "//",
        "/*",
        "*/",
        "1",
        "-1",
        "1e400",
    ),
)


@dataclass(frozen=True)
class Target:
    """One parser. `pieces` are what its input is made of; `errors` are its own, all others are defects."""

    name: str
    read: Callable[[str], object]
    pieces: tuple[str, ...]
    errors: tuple[type[Exception], ...] = ()

    def corpus(self) -> list[str]:
        """What has once been a fault, or is like what is read in earnest."""
        folder = CORPUS / self.name
        return [path.read_bytes().decode("utf-8", "surrogateescape") for path in sorted(folder.glob("*"))]


CORPUS = Path(__file__).parent / "corpus"


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _configuration(text: str) -> object:
    path = _PLACE / "tfguard.yml"
    path.write_bytes(_bytes(text))
    return file.inspect(path, {})


def _cache(text: str) -> object:
    return workdir._parse_cache(text, _PLACE / "terraform.tfstate")


def _variables(text: str) -> object:
    return variables.malformed_reference(text) or variables.expand(text, {"A": "${A}"})


def _dynamodb(text: str) -> object:
    body = _bytes(text)
    for status in (200, 400):
        response = Response(status, {"content-type": "application/x-amz-json-1.0"}, body)
        try:
            item = dynamodb_wire.read(response, "locks", is_aws=False).get("Item", {})
        except (AwsError, NotAws):
            continue
        dynamodb._record(item)
        queue_record.decode(dynamodb._queue(item).text)
    return None


def _s3(text: str) -> object:
    for method, status in (("list_objects_v2", 200), ("get_object", 404), ("get_object", 200)):
        try:
            s3_wire.read(method, Response(status, {"etag": "1"}, _bytes(text)))
        except (AwsError, NotAws):
            continue
    return None


def _wire(text: str) -> object:
    for side in (messages.ToKeeper, messages.ToFront):
        try:
            msgspec.json.decode(_bytes(text), type=side)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            continue
    return None


def _arguments(text: str) -> object:
    return command_line.parse(("plan",), {"TF_CLI_ARGS": text})


TARGETS: tuple[Target, ...] = (
    Target("duration", durations.parse_duration, ("1", ".", "h", "m", "s", "ms", "µs", "-", "+", "0"), (ValueError,)),
    Target(
        "tfguard.yml",
        _configuration,
        (
            *("version: 1\n", "pipelines:\n", "  p:\n", "    dir: .\n", "    lock: {lease: 1h}\n", "    env: {A: b}\n"),
            *("defaults:\n", "&a ", "*a", "<<: *a\n", "- ", "? ", "{", "}", "[", "]", "'", '"', "|\n", "#", ": ", "\t"),
            *(
                "    retry: {init: {patterns: ['(?i)a']}}\n",
                "!x ",
                "---\n",
                "${A",
                "$",
                "\\",
                "\x00",
                "é",
                "%TAG ! a\n",
            ),
        ),
        (ConfigError,),
    ),
    Target(
        "glob", lambda text: globs.Glob(text).matches("/" + "a/b" * 40), ("*", "**", "**/", "/", "a", "b", "?", "[")
    ),
    Target("variable", _variables, ("${", "}", "A", ":-", "$$", "$", "{"), (variables.UnsetVariable,)),
    Target("environment", values.environment_name, ("A", "_", "BASH_", "ASDF_", "VERSION", "x", "=")),
    Target("hcl", lambda text: list(hcl.tokens(text)), _HCL),
    Target("backend-block", backend_block._in_hcl, _HCL),
    Target("backend-values", lambda text: backend_block._body(list(hcl.tokens(text))), _HCL),
    Target("backend-json", backend_block._in_json, (*_JSON, '"terraform":', '"backend":', '"s3":')),
    Target("modules", lambda text: list(modules._in_hcl(text)), _HCL),
    Target("modules-json", lambda text: list(modules._in_json(text)), (*_JSON, '"module":', '"source":"./a"')),
    Target("blocks", lambda text: list(workdir._scan(text)), _HCL),
    Target("backend-cache", _cache, (*_JSON, '"version":3', '"backend":', '"type":"s3"', '"config":'), (TfguardError,)),
    Target(
        "arguments",
        _arguments,
        ("-lock", "=", "false", " ", "'", '"', "\\", "-var", "$", ";", "\n", "-chdir="),
        (TfguardError,),
    ),
    Target("plan", lambda text: plan_json.read_changes(_bytes(text)), (*_JSON, '"resource_changes":', '"actions":')),
    Target(
        "closing",
        plan_json.read_closing,
        (
            *(
                "Plan: ",
                "1 to add, ",
                "0 to change, ",
                "0 to destroy",
                "1 to import, ",
                "1 to forget, ",
                "\n",
                "9" * 20,
            ),
            *("Apply complete! Resources: ", "1 added, 0 changed, 0 destroyed", "Outputs:\n", '{"change_summary"'),
        ),
    ),
    Target("lock-info", lockinfo.decode, (*_JSON, '"ID":', '"Who":', '"Created":')),
    Target("lock-object", s3._split, (*_JSON, '"ID":', '"tfguard":', '"beat":')),
    Target(
        "queue", queue_record.decode, (*_JSON, '"token":', '"tickets":', '"holder":{"who":"x"}', '"id":"a"', '"runs":')
    ),
    Target("dynamodb-answer", _dynamodb, (*_JSON, '"Item":', '"Info":{"S":"', '"Queue":', '"__type":', '"N":', '"B":')),
    Target(
        "s3-answer",
        _s3,
        (
            "<",
            ">",
            "/",
            "Error",
            "Code",
            "ListBucketResult",
            "Contents",
            "Key",
            "&amp;",
            "&",
            "<!DOCTYPE a>",
            "x",
            "'",
            '"',
            "=",
        ),
    ),
    Target(
        "profiles",
        lambda text: profiles.parse(text, "c"),
        ("[", "]", "profile ", "a", "=", "\n", " ", "#", ";", ":", "role_arn", "\t"),
        (TfguardError,),
    ),
    Target(
        "store-url",
        lambda text: urls.parse_store_url(text, "n", {}),
        ("dynamodb://", "s3://", "file:", "/", "?", "a=b", "&", "#", "%", "[", "]", "@", ":"),
        (ConfigError,),
    ),
    Target("time", parse_created, ("2026-", "11-", "21", "T", "00:", "Z", "+", ".", "9", " ")),
    Target("message", _wire, (*_JSON, '"type":"Acquire"', '"type":"Spawn"', '"argv":')),
    Target("redaction", redaction.redact, ("token", "=", " ", "password", "://", ":", "@", "a", "-", "_key", '"')),
)
