"""State in S3, its lock in DynamoDB or beside it in S3."""
