"""
An unchanged backend is unchanged, however it is written: compared with what Terraform 1.11.4 was seen to make of it.

tfguard is asked in every run, Terraform itself in `make soak`, where `TFGUARD_TEST_ASK` names the program.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.eventually import patience
from tests.support.middle import middle
from tfguard.terraform.backend_block import Declared, read_backend_file
from tfguard.terraform.backend_values import differing_backend_config
from tfguard.terraform.workdir import BackendCache

#: Read now: tests see no variable of tfguard's.
PROGRAM = os.environ.get("TFGUARD_TEST_ASK", "")
#: What a file of `-backend-config` says, and what `init` has then in its cache.
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ('key = "k"', {"key": "k"}),
    "byte-order-mark": ('\ufeffkey = "k"', {"key": "k"}),
    "escapes": (r'key = "\u00e9\U0001F600\t\"\\"', {"key": 'é😀\t"\\'}),
    "no-template": ('key = "$${a}%%{b}"', {"key": "${a}%{b}"}),
    "heredoc": ("key = <<EOT\nk\nEOT\n", {"key": "k\n"}),
    "heredoc-indented": ("key = <<-EOT\n    a\n      b\n    EOT\n", {"key": "a\n  b\n"}),
    "heredoc-end-at-left": ("key = <<-EOT\n    a\n  EOT\n", {"key": "a\n"}),
    "heredoc-tabs": ("key = <<-EOT\n\ta\n\t\tb\nEOT\n", {"key": "a\n\tb\n"}),
    "heredoc-blank-line": ("key = <<-EOT\n  a\n\n  b\n  EOT\n", {"key": "a\n\nb\n"}),
    "heredoc-templates": ('key = <<EOT\n${"k"}x\\n$${y}\nEOT\n', {"key": "kx\\n${y}\n"}),
    "heredoc-windows": ("key = <<EOT\r\nk\r\nEOT\r\n", {"key": "k\r\n"}),
    "windows": ('key = "k"\r\nacl = "private"\r\n', {"key": "k", "acl": "private"}),
    "parentheses": ('key = (\n ("k")\n)', {"key": "k"}),
    "template-alone": ('key = "${"a"}"', {"key": "a"}),
    "templates-inside": ('key = "x${1}y${true}z${"${"w"}"}"', {"key": "x1ytruezw"}),
    "template-trims": ('key = "a ${~ "b" ~} c"', {"key": "abc"}),
    "comments": ('key = /* x */ "k" // y', {"key": "k"}),
    "text-of-number": ("key = 10", {"key": "10"}),
    "text-of-exponent": ("key = 1e1", {"key": "10"}),
    "text-of-fraction": ("key = 0.50", {"key": "0.5"}),
    "text-of-small": ("key = 1.1e-3", {"key": "0.0011"}),
    "text-of-large": ("key = 1e21", {"key": "1000000000000000000000"}),
    "text-of-long": ("key = 123456789012345678901234567890", {"key": "123456789012345678901234567890"}),
    "text-of-negative": ("key = - 5", {"key": "-5"}),
    "text-of-flag": ("key = true", {"key": "true"}),
    "number-of-exponent": ('key = "k"\nmax_retries = 1e1', {"key": "k", "max_retries": 10}),
    "number-of-fraction": ('key = "k"\nmax_retries = 5.0', {"key": "k", "max_retries": 5}),
    "number-of-text": ('key = "k"\nmax_retries = "7"', {"key": "k", "max_retries": 7}),
    "number-of-text-exponent": ('key = "k"\nmax_retries = "1e1"', {"key": "k", "max_retries": 10}),
    "flag-of-text": ('key = "k"\nuse_path_style = "true"', {"key": "k", "use_path_style": True}),
    "flag-of-text-1": ('key = "k"\nuse_path_style = "1"', {"key": "k", "use_path_style": True}),
    "flag-of-template": ('key = "k"\nuse_path_style = "${true}"', {"key": "k", "use_path_style": True}),
    "nothing": ('key = "k"\nprofile = null', {"key": "k"}),
    "empty": ('key = "k"\nacl = ""', {"key": "k", "acl": ""}),
    "set-twice": (
        'key = "k"\nallowed_account_ids = ["210987654321", "123456789012", "210987654321"]',
        {"key": "k", "allowed_account_ids": ["123456789012", "210987654321"]},
    ),
    "set-of-numbers": (
        'key = "k"\nallowed_account_ids = [123456789012]',
        {"key": "k", "allowed_account_ids": ["123456789012"]},
    ),
    "set-in-lines": (
        'key = "k"\nforbidden_account_ids = [\n  # one\n  ("210987654321"),\n]',
        {"key": "k", "forbidden_account_ids": ["210987654321"]},
    ),
    "map": (
        'key = "k"\nendpoints = { "sts" : ("http://a"), (("iam")) = "http://b"\n}',
        {"key": "k", "endpoints": {"sts": "http://a", "iam": "http://b", "s3": None}},
    ),
}
UNCHANGED = [pytest.param(*row, id=name) for name, row in ROWS.items()]


def read(folder: Path, text: str) -> Declared:
    path = folder / "prod.tfbackend"
    path.write_bytes(text.encode())
    return read_backend_file(str(path))


def differences(config: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    cache = BackendCache("s3", config, Path("cache"))
    return [name for name, _, _ in differing_backend_config(cache, Declared("", wanted))]


@pytest.mark.parametrize(("text", "config"), UNCHANGED)
def test_what_has_not_changed_needs_no_init(tmp_path: Path, text: str, config: dict[str, Any]) -> None:
    wanted = read(tmp_path, text)

    assert differing_backend_config(BackendCache("s3", config, tmp_path), wanted) == []
    assert wanted.config.keys() >= config.keys()


@pytest.mark.skipif(not PROGRAM, reason="Terraform is asked in make soak")
@pytest.mark.parametrize(("text", "config"), UNCHANGED)
def test_terraform_makes_that_of_it(tmp_path: Path, text: str, config: dict[str, Any]) -> None:
    with middle(tmp_path) as server:
        backend = {
            "bucket": "bucket",
            "region": "eu-west-1",
            "http_proxy": f"http://127.0.0.1:{server.port}",
            **{f"skip_{what}": True for what in ("credentials_validation", "metadata_api_check")},
            "skip_requesting_account_id": "account_ids" not in text,
        }
        (tmp_path / "main.tf.json").write_text(json.dumps({"terraform": {"backend": {"s3": backend}}}))
        (tmp_path / "prod.tfbackend").write_bytes(text.encode())
        environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "AWS_ENDPOINT_URL": "http://aws.example.test"}
        environ |= {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
        done = subprocess.run(
            [PROGRAM, "init", "-input=false", "-backend-config=prod.tfbackend"],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            timeout=patience(120),
        )

    cache = tmp_path / ".terraform" / "terraform.tfstate"
    assert cache.exists(), done.stdout + done.stderr
    cached = json.loads(cache.read_text())["backend"]["config"]
    assert {name: cached[name] for name in config if name != "endpoints"} == {
        name: value for name, value in config.items() if name != "endpoints"
    }


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ({"key": "10"}, {"key": 11}),
        ({"key": "true"}, {"key": False}),
        ({"key": "k"}, {"key": "k\n"}),
        ({"key": "1"}, {"key": "1.0"}),
        ({"use_path_style": True}, {"use_path_style": "false"}),
        ({"use_path_style": True}, {"use_path_style": "yes"}),
        ({"use_path_style": True}, {"use_path_style": 1}),
        ({"max_retries": 5}, {"max_retries": "five"}),
        ({"max_retries": 5}, {"max_retries": True}),
        ({"max_retries": None}, {"max_retries": 0}),
        ({"allowed_account_ids": ["1"]}, {"allowed_account_ids": ["1", "2"]}),
        ({"allowed_account_ids": ["1"]}, {"allowed_account_ids": "1"}),
        ({"config_paths": ["a", "b"]}, {"config_paths": ["b", "a"]}),
        ({"profile": "ops"}, {"profile": None}),
    ],
)
def test_what_has_changed_is_told(config: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert differences(config, wanted) == list(wanted)


def test_what_is_taken_out_of_a_map_is_a_change() -> None:
    config = {"tags": {"a": "1", "b": "2"}, "assume_role": {"role_arn": "arn", "duration": "1h", "policy": None}}

    assert differences(config, {"tags": {"a": 1}, "assume_role": {"role_arn": "arn"}}) == [
        "tags.b",
        "assume_role.duration",
    ]


@pytest.mark.parametrize("name", ["/dev/zero", "pipe", "folder", "large"])
def test_a_file_that_never_ends_is_not_read(tmp_path: Path, name: str) -> None:
    from tfguard.errors import ConfigError

    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "large").write_bytes(b" " * (1024 * 1024 + 1))

    with pytest.raises(ConfigError, match="cannot be read"):
        read_backend_file(str(tmp_path / name))


def test_differences_show_both_values_and_no_secret(tmp_path: Path) -> None:
    config = {"bucket": "dev", "encrypt": True, "secret_key": "s3cret", "endpoints": [{"s3": "http://u:pw@a"}], "n": 5}
    cache = BackendCache("s3", config, tmp_path)
    wanted = {
        "bucket": "prod",
        "encrypt": "true",
        "secret_key": "other",
        "endpoints": {"s3": "http://u:pw2@b"},
        "n": "5",
        "key": "k",
        "profile": None,
    }

    assert differing_backend_config(cache, Declared("", wanted)) == [
        ("bucket", "dev", "prod"),
        ("secret_key", "***", "***"),
        ("endpoints.s3", "http://***@a", "http://***@b"),
        ("key", "unset", "k"),
    ]
    assert differing_backend_config(None, Declared("", {"bucket": "prod"})) == [("bucket", "unset", "prod")]
    assert "s3cret" not in repr(cache)


@pytest.mark.parametrize("wanted", [{"s3": "http://a"}, [{"s3": "http://a"}]], ids=["block", "JSON"])
@pytest.mark.parametrize("cached", [{"s3": "http://a", "sts": None}, [{"s3": "http://a"}]], ids=["object", "list"])
def test_a_block_is_equal_however_it_is_written(tmp_path: Path, cached: object, wanted: object) -> None:
    cache = BackendCache("s3", {"endpoints": cached}, tmp_path)

    assert differing_backend_config(cache, Declared("", {"endpoints": wanted})) == []


def test_what_only_init_can_work_out_is_a_difference(tmp_path: Path) -> None:
    cache = BackendCache("s3", {"bucket": "dev", "endpoints": [{"s3": "http://a"}]}, tmp_path)
    wanted = Declared("", {}, frozenset({"bucket", "endpoints.s3", "token"}))

    assert differing_backend_config(cache, wanted) == [
        ("bucket", "dev", "an expression"),
        ("endpoints.s3", "http://a", "an expression"),
        ("token", "unset", "an expression"),
    ]
