/** Entry point of the CDK CLI: the app of `lib/twinway-app.ts` with the archives that `make lambda` writes. */
import { resolve } from 'node:path';
import { twinwayApp } from '../lib/twinway-app';

twinwayApp(resolve('../dist/lambda')).synth();
