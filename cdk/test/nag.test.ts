/** cdk-nag: the synthesis has no finding, and every rule that is set aside has a sentence that says why. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { all, OUTPUT } from './synthesized';

/** Shorter than this is no reason. */
const REASON_LENGTH = 25;

test('every rule that is set aside says why', () => {
  const suppressions = all().flatMap(([stack, template]) =>
    Object.entries(template.Resources).flatMap(([id, resource]) =>
      (resource.Metadata?.cdk_nag?.rules_to_suppress ?? []).map((rule) => ({ where: `${stack} ${id}`, ...rule })),
    ),
  );
  assert.ok(suppressions.length > 0);
  for (const { where, id, reason } of suppressions) {
    assert.ok(reason.length >= REASON_LENGTH && reason.endsWith('.'), `${where} sets ${id} aside: '${reason}'`);
  }
});

test('the rules have looked at the resources of every large stack', () => {
  for (const stack of ['App', 'Platform']) {
    const report = readFileSync(join(OUTPUT, 'prod', `AwsSolutions--Twinway-prod-${stack}-NagReport.csv`), 'utf8');
    assert.match(report, /"Compliant","N\/A"/);
  }
});

test('no resource breaks a rule without a reason', () => {
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
