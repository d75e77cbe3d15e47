"""
A blueprint as Terraform code, for those who would rather keep bucket and table in a configuration of their own.

Formatted as `terraform fmt` does it. Names come through escaped: nothing in them is a template.
"""

from __future__ import annotations

import re

from tfguard.bootstrap.blueprint import (
    LIFECYCLE_ID,
    OLD_VERSIONS_DAYS,
    OLD_VERSIONS_KEPT,
    UNFINISHED_UPLOAD_DAYS,
    Blueprint,
)
from tfguard.hcl import hcl


def as_terraform(plan: Blueprint) -> str:
    """Write a configuration that creates what the plan has."""
    values = {
        "<provider>": f"{{\n  region = {hcl(plan.region)}\n}}" if plan.region else "{}",
        "<bucket>": hcl(plan.state.bucket),
        "<key>": hcl(plan.state.kms_key_id),
        "<table>": hcl(plan.table.table) if plan.table else "",
        "<rule>": hcl(LIFECYCLE_ID),
        "<days>": str(OLD_VERSIONS_DAYS),
        "<kept>": str(OLD_VERSIONS_KEPT),
        "<uploads>": str(UNFINISHED_UPLOAD_DAYS),
    }
    encryption = _KMS if plan.encryption == "aws:kms" else _AES
    parts = [_HEAD, _BUCKET, encryption, _POLICY, _LIFECYCLE, *([_TABLE] if plan.table else [])]
    return "\n".join(_PLACE.sub(lambda match: values[match[0]], part) for part in parts)


_PLACE = re.compile(r"<[a-z]+>")

_HEAD = """\
# What tfguard bootstrap creates, as Terraform code. Keep it in a directory with a state of its own:
# a state cannot lie in a bucket that it creates.
terraform {
  required_providers {
    aws = {
      source = "hashicorp/aws"
    }
  }
}

provider "aws" <provider>
"""

_BUCKET = """\
resource "aws_s3_bucket" "state" {
  bucket = <bucket>

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_s3_bucket_versioning" "state" {
  bucket = aws_s3_bucket.state.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_public_access_block" "state" {
  bucket = aws_s3_bucket.state.id

  block_public_acls       = true
  ignore_public_acls      = true
  block_public_policy     = true
  restrict_public_buckets = true
}
"""

_AES = """\
resource "aws_s3_bucket_server_side_encryption_configuration" "state" {
  bucket = aws_s3_bucket.state.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}
"""

_KMS = """\
resource "aws_s3_bucket_server_side_encryption_configuration" "state" {
  bucket = aws_s3_bucket.state.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = <key>
    }

    bucket_key_enabled = true
  }
}
"""

_POLICY = """\
resource "aws_s3_bucket_policy" "state" {
  bucket = aws_s3_bucket.state.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "TlsOnly"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = [aws_s3_bucket.state.arn, "${aws_s3_bucket.state.arn}/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
  })

  depends_on = [aws_s3_bucket_public_access_block.state]
}
"""

_LIFECYCLE = """\
resource "aws_s3_bucket_lifecycle_configuration" "state" {
  bucket = aws_s3_bucket.state.id

  rule {
    id     = <rule>
    status = "Enabled"

    filter {}

    noncurrent_version_expiration {
      noncurrent_days           = <days>
      newer_noncurrent_versions = <kept>
    }

    expiration {
      expired_object_delete_marker = true
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = <uploads>
    }
  }

  depends_on = [aws_s3_bucket_versioning.state]
}
"""

_TABLE = """\
resource "aws_dynamodb_table" "locks" {
  name         = <table>
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "LockID"

  deletion_protection_enabled = true

  attribute {
    name = "LockID"
    type = "S"
  }

  server_side_encryption {
    enabled = true
  }

  point_in_time_recovery {
    enabled = true
  }

  lifecycle {
    prevent_destroy = true
  }
}
"""
