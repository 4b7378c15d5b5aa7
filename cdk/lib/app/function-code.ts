/**
 * Where the code of the functions comes from: one archive each, made by `make lambda`.
 *
 * A missing archive is an error at synthesis, never an empty function on AWS.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Code } from 'aws-cdk-lib/aws-lambda';
import { FUNCTION_NAMES, type FunctionName, PROBE } from '../names';

/** The code of each function. */
export type FunctionCode = (name: FunctionName) => Code;

/** The archives `{name}-arm64.zip` of `directory`. Throws when one is missing, and names all that are. */
export function archives(directory: string): FunctionCode {
  const path = (name: FunctionName) => join(directory, `${name}-arm64.zip`);
  demand(FUNCTION_NAMES.map(path), 'make lambda');
  return (name) => Code.fromAsset(path(name));
}

/** The archive of the conformance suite's probe in `directory`. Throws when it is missing. */
export function probeArchive(directory: string): Code {
  const path = join(directory, PROBE.archive);
  demand([path], 'make lambda ARGS="probe arm64"');
  return Code.fromAsset(path);
}

function demand(files: readonly string[], command: string): void {
  const missing = files.filter((file) => !existsSync(file));
  if (missing.length > 0) {
    throw new Error(
      `these archives are missing: ${missing.join(', ')}: run '${command}', or point -c lambda=DIR at them`,
    );
  }
}
