/**
 * One snapshot per stack, so that a review shows changes of templates.
 *
 * `UPDATE_SNAPSHOTS=1 make cdk` updates them. Hashes of assets are replaced, because they change with the deployed code
 * and with the library.
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { json } from './synthesized';

const DIRECTORY = resolve(__dirname, '../../test/snapshots');

const SNAPSHOTS = {
  App: 'prod',
  Platform: 'prod',
  Traffic: 'prod',
  Edge: 'prod',
  BackupCopy: 'prod',
  Probe: 'dev',
} as const;

for (const [stack, environment] of Object.entries(SNAPSHOTS)) {
  test(`the template of ${stack} equals its snapshot`, () => {
    const file = resolve(DIRECTORY, `${stack}.json`);
    const current = `${JSON.stringify(json(environment, stack), undefined, 1).replaceAll(/[0-9a-f]{64}/g, '{hash}')}\n`;
    if (process.env.UPDATE_SNAPSHOTS === '1') {
      writeFileSync(file, current);
    }
    assert.ok(existsSync(file), `${file} is missing: UPDATE_SNAPSHOTS=1 make cdk`);
    assert.deepEqual(
      JSON.parse(current),
      JSON.parse(readFileSync(file, 'utf8')),
      'accept with UPDATE_SNAPSHOTS=1 make cdk',
    );
  });
}
