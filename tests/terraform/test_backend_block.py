"""What is read of a backend before `init`: what Terraform would read, or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfguard.errors import ConfigError
from tfguard.terraform.backend_block import Declared, find_block, read_backend_file


def block(text: str, name: str = "main.tf") -> Declared | None:
    return find_block(iter([(Path(name), text)]))


def config(body: str) -> dict[str, object]:
    found = block(f'terraform {{\n  backend "s3" {{\n{body}\n  }}\n}}\n')
    assert found is not None
    return dict(found.config)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ('bucket = "acme"', {"bucket": "acme"}),
        ('bucket = "a\\"b\\\\c\\u00e9\\n"', {"bucket": 'a"b\\cé\n'}),
        ('bucket = "$${HOME} %%{if}"', {"bucket": "${HOME} %{if}"}),
        ("use_lockfile = true # not = false", {"use_lockfile": True}),
        ("max_retries = 5 // times", {"max_retries": 5}),
        ("key = null", {"key": None}),
        (
            'endpoints = { s3 = "http://a", "dynamodb" : "http://b" }',
            {"endpoints": {"s3": "http://a", "dynamodb": "http://b"}},
        ),
        ('files = [\n"a", # one\n"b",\n]', {"files": ["a", "b"]}),
        (
            'assume_role {\n role_arn = "arn"\n tags = { a = "b" }\n}',
            {"assume_role": {"role_arn": "arn", "tags": {"a": "b"}}},
        ),
        ('/* bucket = "no"\n*/ key = "k"', {"key": "k"}),
        ("", {}),
    ],
)
def test_plain_values_are_read_as_terraform_means_them(written, meant):
    assert config(written) == meant


@pytest.mark.parametrize(
    "expression",
    [
        "var.bucket",
        '"acme-${var.env}"',
        'upper("acme")',
        "merge({\n a = 1\n}, {})",
        '1 == 1 ? "a" : "b"',
        '"%{ if true }a%{ endif }"',
        '"${"${var.a}"}"',
        '"a${null}"',
        "(var.a)",
        "1e99999999",
        "-var.a",
        "[<<EOT\n${var.a}\nEOT\n]",
    ],
)
def test_an_expression_is_left_out_and_remembered(expression):
    found = block(f'terraform {{\n backend "s3" {{\n bucket = {expression}\n key = "k"\n}}\n}}\n')

    assert found == Declared("s3", {"key": "k"}, frozenset({"bucket"}))


def test_only_a_block_of_terraforms_own_counts():
    text = """
    # terraform { backend "s3" { bucket = "commented" } }
    resource "x" "y" { backend "gcs" { bucket = "no" } }
    locals { text = "terraform {" }
    variable "v" { default = "${"{"}" }
    terraform {
      required_version = ">= 1.0"
      backend "s3" { bucket = "yes" }
    }
    """

    assert block(text) == Declared("s3", {"bucket": "yes"})


def test_the_first_file_that_has_a_block_counts():
    sources = [(Path("a.tf"), "locals {}"), (Path("b.tf"), 'terraform {\n backend "s3" {}\n}'), (Path("c.tf"), "")]

    assert find_block(iter(sources)) == Declared("s3", {})


@pytest.mark.parametrize("backend", ['{"s3": {"bucket": "acme"}}', '[{"s3": [{"bucket": "acme"}]}]'])
def test_json_is_read_too(backend):
    assert block(f'{{"terraform": {{"backend": {backend}}}}}', "main.tf.json") == Declared("s3", {"bucket": "acme"})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "terraform {",
        'terraform {\n backend "s3" {',
        'terraform {\n backend "s3" {\n a = [ "',
        "}}}}",
        '"',
        "\0",
        "{" * 5000,
        'terraform {\n backend "s3" {\n a = ' + "[" * 5000,
        'terraform {\n backend "s3" {\n' + "a {" * 5000,
        '"' + "${a}" * 5000,
        '"' + '${"' * 5000,
    ],
)
def test_what_is_broken_is_left_for_terraform_to_complain_of(text):
    found = block(text)

    assert found is None or not found.config


def test_a_backend_file_is_the_inside_of_a_block(tmp_path):
    path = tmp_path / "prod.tfbackend"
    path.write_text('bucket = "acme"\nendpoints = { s3 = "http://a" }\n')

    assert read_backend_file(str(path)).config == {"bucket": "acme", "endpoints": {"s3": "http://a"}}


def test_a_backend_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_backend_file(str(tmp_path / "no.tfbackend"))
