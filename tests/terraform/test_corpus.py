"""
Backend blocks as people write them: the shapes of 107 in public code, found in November 2026, and our reader.

A shape is facts, not text: which keys a block has, what kind of value each has, what stands around it. The values are
ours. A shape that was found several times says how often.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tfguard.terraform.backend_block import Declared, find_block, read_backend_file

#: Kinds of values: t text, b true or false, tb one of them as text, e empty text, u URL, $ template, o object of texts.
VALUES = {"t": '"value"', "b": "true", "tb": '"true"', "e": '""', "u": '"postgres://a:b@h:1/d?x=y"', "$": '"${v}"'}
MEANT = {"t": "value", "b": True, "tb": "true", "e": "", "u": "postgres://a:b@h:1/d?x=y"}


@dataclass(frozen=True)
class Shape:
    """One way to write a block. `around` is what stands before and after it, and between its lines."""

    found: int
    backend: str
    keys: str
    around: str = "plain"


SHAPES = [
    Shape(6, "s3", "bucket:t key:t region:t dynamodb_table:t encrypt:b"),
    Shape(1, "s3", "bucket:t key:t region:t"),
    Shape(1, "s3", "bucket:t key:t region:t", "blanks"),
    Shape(1, "s3", "bucket:t key:t region:t", "comments"),
    Shape(3, "s3", "bucket:t key:t region:t use_lockfile:b encrypt:b", "trailing"),
    Shape(2, "s3", "key:t region:t encrypt:b use_lockfile:b"),
    Shape(2, "s3", "key:t encrypt:b use_lockfile:b", "providers"),
    Shape(1, "s3", "", "comments"),
    Shape(1, "s3", "bucket:$ key:$ region:$ dynamodb_table:$"),
    Shape(1, "s3", "bucket:t region:t encrypt:tb key:t dynamodb_table:t"),
    Shape(1, "s3", "bucket:t region:t key:t encrypt:b profile:t", "commented-twin"),
    Shape(1, "s3", "bucket:e key:t dynamodb_table:t", "blanks"),
    Shape(1, "s3", "bucket:t key:t region:t dynamodb_table:t"),
    Shape(1, "s3", "bucket:t key:t region:t encrypt:b use_lockfile:b dynamodb_table:t"),
    Shape(1, "s3", "bucket:t key:t region:t encrypt:b use_lockfile:b assume_role:o"),
    Shape(1, "s3", "bucket:t key:t region:t use_lockfile:b"),
    Shape(2, "s3", "bucket:t key:t profile:t region:t endpoint:t skip_region_validation:b force_path_style:b"),
    Shape(4, "s3", "bucket:t key:t region:t endpoints:o skip_region_validation:b skip_s3_checksum:b", "trailing"),
    Shape(1, "s3", "region:t skip_region_validation:b skip_s3_checksum:b use_path_style:b", "comments"),
    Shape(1, "s3", "skip_credentials_validation:b skip_metadata_api_check:b skip_region_validation:b"),
    Shape(1, "s3", "region:t key:t profile:t bucket:t dynamodb_table:t", "file"),
    Shape(7, "gcs", "bucket:t prefix:t", "trailing"),
    Shape(1, "gcs", "bucket:t"),
    Shape(1, "gcs", "", "commented-twin"),
    Shape(1, "gcs", "bucket:$ prefix:$"),
    Shape(7, "azurerm", "resource_group_name:t storage_account_name:t container_name:t key:t", "commented-twin"),
    Shape(3, "azurerm", "", "comments"),
    Shape(6, "http", "", "providers"),
    Shape(2, "http", "address:u lock_address:u unlock_address:u lock_method:t", "providers"),
    Shape(1, "http", "address:u lock_address:u unlock_address:u username:t password:t lock_method:t"),
    Shape(3, "consul", "address:t scheme:t path:t", "providers"),
    Shape(1, "consul", "path:t lock:b", "tabs"),
    Shape(2, "consul", "address:t path:t"),
    Shape(1, "consul", "address:t path:t token:t", "trailing"),
    Shape(1, "consul", "", "comments"),
    Shape(8, "remote", "hostname:t organization:t workspaces:n"),
    Shape(1, "remote", "hostname:t organization:e workspaces:n", "comments"),
    Shape(3, "kubernetes", "secret_suffix:t config_path:t", "comments"),
    Shape(3, "kubernetes", "namespace:t secret_suffix:t config_path:t", "trailing"),
    Shape(1, "kubernetes", "secret_suffix:t namespace:t", "comments"),
    Shape(1, "kubernetes", "config_path:t secret_suffix:t labels:q"),
    Shape(1, "kubernetes", "", "providers"),
    Shape(3, "local", "path:t", "comments"),
    Shape(6, "local", "", "providers"),
    Shape(3, "pg", "conn_str:u", "providers"),
    Shape(2, "pg", "schema_name:t", "providers"),
    Shape(4, "pg", "", "comments"),
]
NESTED = {
    "o": ('{ name = "value" }', " = "),
    "n": ('{\n      name = "value"\n    }', " "),
    "q": ('{ "name" = "value" }', " = "),
}

PROVIDERS = """\
  required_version = ">= 1.0"
  required_providers {
    aws = { source = "a/b", version = "~> 6.0" }
  }
"""


def written(shape: Shape) -> str:
    body = []
    for key, kind in (pair.split(":") for pair in shape.keys.split()):
        value, sign = NESTED.get(kind) or (VALUES[kind], " = ")
        body.append(f"{key}{sign}{value}" + (' # backend "gcs" {' if shape.around == "trailing" else ""))
    if shape.around == "comments":
        body = ['# bucket = "commented"', *(line for each in body for line in (each, "// prefix = {"))]
    if shape.around == "file":
        return "\n".join(body) + "\n"
    indent = "\t" if shape.around == "tabs" else "    "
    gap = "\n\n" if shape.around == "blanks" else "\n"
    block = f'  backend "{shape.backend}" {{   {gap}' + gap.join(indent + line for line in body) + gap + "  }\n"
    twin = "\n".join(f"# {line}" for line in f"terraform {{\n{block}}}".splitlines())
    before = PROVIDERS if shape.around == "providers" else ""
    outside = f"/* {block} */\n{twin}\n" if shape.around == "commented-twin" else ""
    after = 'output "x" {\n  value = <<-EOT\n    terraform {\n      backend "pg" {}\n    }\n  EOT\n}\n'
    return f"{outside}terraform {{\n{before}{block}}}\n{after}"


def meant(shape: Shape) -> Declared:
    pairs = [pair.split(":") for pair in shape.keys.split()]
    plain = {key: {"name": "value"} if kind in NESTED else MEANT[kind] for key, kind in pairs if kind != "$"}
    unread = frozenset(key for key, kind in pairs if kind == "$")
    return Declared("" if shape.around == "file" else shape.backend, plain, unread)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape.backend} {shape.keys} {shape.around}")
def test_a_block_is_read_as_it_is_meant(shape: Shape, tmp_path: Path) -> None:
    text = written(shape)
    path = tmp_path / "prod.tfbackend"
    path.write_text(text)

    found = read_backend_file(str(path)) if shape.around == "file" else find_block(iter([(Path("main.tf"), text)]))

    assert found == meant(shape)


def test_a_hundred_blocks_stand_behind_the_shapes() -> None:
    assert sum(shape.found for shape in SHAPES) >= 100
