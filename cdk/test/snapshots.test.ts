/**
 * One snapshot a stack: a change of a template is seen in review.
 *
 * `UPDATE_SNAPSHOTS=1 make cdk` writes them again. Hashes of assets are left out, because they change with the code that is
 * deployed and with the library.
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { json } from './synthesized';

const DIRECTORY = resolve(__dirname, '../../test/snapshots');

const SNAPSHOTS = { App: 'prod', Platform: 'prod', Traffic: 'prod', BackupCopy: 'prod', Probe: 'dev' } as const;

for (const [stack, environment] of Object.entries(SNAPSHOTS)) {
  test(`the template of ${stack} is the one that was reviewed`, () => {
    const file = resolve(DIRECTORY, `${stack}.json`);
    const now = `${JSON.stringify(json(environment, stack), undefined, 1).replaceAll(/[0-9a-f]{64}/g, '{hash}')}\n`;
    if (process.env.UPDATE_SNAPSHOTS === '1') {
      writeFileSync(file, now);
    }
    assert.ok(existsSync(file), `${file} is missing: UPDATE_SNAPSHOTS=1 make cdk`);
    assert.deepEqual(JSON.parse(now), JSON.parse(readFileSync(file, 'utf8')), 'UPDATE_SNAPSHOTS=1 make cdk accepts it');
  });
}
