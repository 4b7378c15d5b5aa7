/** Tests of cdk-nag: no findings, and a reason for every suppressed rule. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { all, OUTPUT } from './synthesized';

/** Minimum length of a reason. */
const MIN_REASON_LENGTH = 25;

test('every suppressed rule has a reason', () => {
  const suppressions = all().flatMap(([stack, template]) =>
    Object.entries(template.Resources).flatMap(([logicalId, resource]) =>
      (resource.Metadata?.cdk_nag?.rules_to_suppress ?? []).map((rule) => ({
        resource: `${stack} ${logicalId}`,
        ...rule,
      })),
    ),
  );
  assert.ok(suppressions.length > 0);
  for (const { resource, id, reason } of suppressions) {
    assert.ok(reason.length >= MIN_REASON_LENGTH && reason.endsWith('.'), `${resource} suppresses ${id}: '${reason}'`);
  }
});

test('the rules checked the resources of every large stack', () => {
  for (const stack of ['App', 'Platform']) {
    const report = readFileSync(join(OUTPUT, 'prod', `AwsSolutions--Twinway-prod-${stack}-NagReport.csv`), 'utf8');
    assert.match(report, /"Compliant","N\/A"/);
  }
});

test('no resource violates a rule without a reason', () => {
  const reports = readdirSync(OUTPUT).flatMap((environment) =>
    readdirSync(join(OUTPUT, environment))
      .filter((file) => file.endsWith('-NagReport.csv'))
      .map((file) => join(OUTPUT, environment, file)),
  );
  assert.equal(reports.length, all().length);
  for (const report of reports) {
    const lines = readFileSync(report, 'utf8').split('\n').slice(1);
    const findings = lines.filter((line) => line.includes('"Non-Compliant","N/A"'));
    assert.deepEqual(findings, [], report);
  }
});
