/**
 * Code of the functions: one archive per function, built by `make lambda`.
 *
 * A missing archive fails the synthesis, so a function is never deployed without code.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Code } from 'aws-cdk-lib/aws-lambda';
import { FUNCTION_NAMES, type FunctionName, PROBE } from '../names';

/** Returns the code of a function. */
export type FunctionCode = (name: FunctionName) => Code;

/** The archives `{name}-arm64.zip` of `directory`. Throws an error that names all missing archives. */
export function archives(directory: string): FunctionCode {
  const path = (name: FunctionName) => join(directory, `${name}-arm64.zip`);
  requireFiles(FUNCTION_NAMES.map(path), 'make lambda');
  return (name) => Code.fromAsset(path(name));
}

/** The archive of the conformance suite's probe in `directory`. Throws if it is missing. */
export function probeArchive(directory: string): Code {
  const path = join(directory, PROBE.archive);
  requireFiles([path], 'make lambda ARGS="probe arm64"');
  return Code.fromAsset(path);
}

function requireFiles(files: readonly string[], command: string): void {
  const missing = files.filter((file) => !existsSync(file));
  if (missing.length > 0) {
    throw new Error(
      `missing archives: ${missing.join(', ')}: run '${command}', or set their directory with -c lambda=DIR`,
    );
  }
}
