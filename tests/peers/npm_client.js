// Run a program under a lock of dynamodb-lock-client (FailOpen), as its documentation advises:
//
//     node npm_client.js ENDPOINT TABLE LEASE_SECONDS PROGRAM ARGUMENT…
//
// The work is interrupted when the client says that its heartbeat has failed.
"use strict";

process.env.AWS_SDK_JS_SUPPRESS_MAINTENANCE_MODE_MESSAGE = "1";
const { spawn } = require("child_process");
const AWS = require("aws-sdk");
const { FailOpen } = require("dynamodb-lock-client");

const [endpoint, lockTable, lease, program, ...argv] = process.argv.slice(2);
const client = new FailOpen({
  dynamodb: new AWS.DynamoDB.DocumentClient({ endpoint, region: "us-east-1" }),
  lockTable,
  partitionKey: "id",
  heartbeatPeriodMs: (lease * 1000) / 6,
  leaseDurationMs: lease * 1000,
  retryCount: 20,
});

client.acquireLock("lock", (error, lock) => {
  if (error) {
    console.error(error);
    process.exit(1);
  }
  const work = spawn(program, argv, { stdio: "inherit" });
  lock.on("error", () => work.kill("SIGINT"));
  work.on("exit", (code) => lock.release(() => process.exit(code === null ? 1 : code)));
});
