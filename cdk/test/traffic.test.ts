/** Tests of the weighted records. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { json, resources } from './synthesized';

test('each name has a record for API Gateway and one for the pods, and their weights add up to 100', () => {
  const records = resources(json('prod', 'Traffic'), 'AWS::Route53::RecordSet').map(
    (record) => record.Properties ?? {},
  );
  for (const name of ['ws.example.com.', 'api.example.com.']) {
    const weights = records.filter((record) => record.Name === name).map((record) => Number(record.Weight));
    assert.deepEqual(weights.sort(), [25, 75], name);
  }
  assert.equal(new Set(records.map((record) => record.SetIdentifier)).size, records.length);
});

test('a load balancer without a ready pod gets no traffic, regardless of its weight', () => {
  const toPods = resources(json('prod', 'Traffic'), 'AWS::Route53::RecordSet')
    .map((record) => record.Properties ?? {})
    .filter((record) => Number(record.Weight) === 25);
  for (const record of toPods) {
    assert.equal((record.AliasTarget as { EvaluateTargetHealth?: boolean }).EvaluateTargetHealth, true);
  }
});
